"""Ten mails, sent as the usual recipe has it: SendGrid's client in threads. What fails is printed, and lost."""

import asyncio

import sendgrid
from python_http_client.exceptions import HTTPError
from sendgrid.helpers.mail import Mail

client = sendgrid.SendGridAPIClient()

emails = [
    Mail("news@example.com", f"reader{n}@example.com", f"News for reader {n}", f"Hello, reader {n}!") for n in range(10)
]


async def send_email(n, email):
    loop = asyncio.get_running_loop()
    try:
        response = await loop.run_in_executor(None, client.send, email)
    except (HTTPError, OSError) as error:
        print(f"email {n} failed: {error}")
        return False
    print(f"email {n} sent: {response.status_code}")
    return response.status_code == 202


async def main():
    results = await asyncio.gather(*[send_email(n, email) for n, email in enumerate(emails)])
    print(f"{sum(results)} of {len(emails)} emails are sent")


asyncio.run(main())
