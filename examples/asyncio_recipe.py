"""Ten mails, handed over in one call. The program goes on; workers send them, retry, and keep the results."""

import asyncio

from sendgrid.helpers.mail import Mail

from producers import AsyncPostroom

emails = [
    Mail("news@example.com", f"reader{n}@example.com", f"News for reader {n}", f"Hello, reader {n}!") for n in range(10)
]


async def main():
    async with AsyncPostroom() as postroom:
        batch = await postroom.enqueue_batch(emails)
    print(f"{len(emails)} emails are on their way as batch {batch.id}")


asyncio.run(main())
