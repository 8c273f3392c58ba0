"""Django's own mail, by the backend that is the first argument. Prints the ids, or what went wrong."""

import json
import os
import sys
import warnings

import django
from anymail.exceptions import AnymailAPIError
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from python_http_client.exceptions import HTTPError

key, gateway = os.environ["SENDGRID_API_KEY"], os.environ["GATEWAY"]
settings.configure(
    EMAIL_BACKEND=sys.argv[1],
    ANYMAIL={"SENDGRID_API_URL": f"{gateway}/v3/"},
    SENDGRID_API_KEY=key,
    SENDGRID_HOST_URL=gateway,
    SENDGRID_SANDBOX_MODE_IN_DEBUG=False,
)
django.setup()
warnings.simplefilter("ignore")


def mail(sender="shop@example.com", to=("Ann <ann@example.com>", "bob@example.com")):
    message = EmailMultiAlternatives("Héllo", "Hello", sender, list(to), reply_to=["help@example.com"])
    message.attach_alternative("<p>Hello ☃</p>", "text/html")
    message.extra_headers = {"X-Order": "1234"}
    return message


def attached(type):
    message = mail()
    message.attach("a.bin", b"Hello", type)
    return message


def sent(message):
    try:
        message.send()
    except (AnymailAPIError, HTTPError) as error:
        return {"status": error.status_code}
    if hasattr(message, "anymail_status"):
        return {"status": 202, "id": message.anymail_status.esp_response.headers["X-Message-Id"]}
    return {"status": 202, "id": message.extra_headers["message_id"]}


mails = {
    "single": mail(),
    "attached": attached("application/pdf"),
    "invitation": attached("text/calendar; method=REQUEST"),
    "foreign": mail("shop@example.net"),
}
print(json.dumps({name: sent(message) for name, message in mails.items()}))
