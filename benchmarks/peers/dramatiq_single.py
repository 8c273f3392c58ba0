"""dramatiq 2.2, one message for each mail, SendGrid's own client.

After https://dramatiq.io/guide.html and its command line's defaults: a process for each core, 8 threads each.
"""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from sendgrid import SendGridAPIClient

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))
client = SendGridAPIClient(os.environ["SENDGRID_API_KEY"], host=os.environ["SENDGRID_URL"])


@dramatiq.actor
def send(mail: dict[str, Any]) -> None:
    client.send(mail)


def enqueue(mail: dict[str, Any]) -> None:
    send.send(mail)
