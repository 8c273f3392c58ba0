"""Celery 5.7, one task for each mail, SendGrid's own client.

After https://docs.celeryq.dev/en/stable/getting-started/first-steps-with-celery.html and, as "Tips and Best Practices"
of its user guide asks, without results that nobody reads. SendGrid's client as in the README of sendgrid-python.
"""

import os
from typing import Any

from celery import Celery
from sendgrid import SendGridAPIClient

app = Celery("mail", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
client = SendGridAPIClient(os.environ["SENDGRID_API_KEY"], host=os.environ["SENDGRID_URL"])


@app.task(autoretry_for=(Exception,), retry_backoff=True)
def send(mail: dict[str, Any]) -> None:
    client.send(mail)


def enqueue(mail: dict[str, Any]) -> None:
    send.delay(mail)
