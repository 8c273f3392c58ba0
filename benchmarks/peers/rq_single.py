"""rq 3.0, one job for each mail, SendGrid's own client.

After https://python-rq.org/docs/ and https://python-rq.org/docs/workers/ (a pool of workers, which fork for each job).
"""

import os
from typing import Any

from redis import Redis
from rq import Queue, Retry
from sendgrid import SendGridAPIClient

queue = Queue(connection=Redis.from_url(os.environ["REDIS_URL"]))
client = SendGridAPIClient(os.environ["SENDGRID_API_KEY"], host=os.environ["SENDGRID_URL"])


def send(mail: dict[str, Any]) -> None:
    client.send(mail)


def enqueue(mail: dict[str, Any]) -> None:
    queue.enqueue(send, mail, retry=Retry(max=3))
