"""Plain: the forty lines that everybody writes, configured as Celery's documentation advises for work not to be lost.

https://docs.celeryq.dev/en/stable/userguide/tasks.html#Task.acks_late and
https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html#visibility-timeout
"""

import os
from pathlib import Path
from typing import Any

from celery import Celery, chord
from sendgrid import SendGridAPIClient

#: Seconds until a message that nobody has acknowledged is delivered again. The default is an hour.
VISIBILITY = float(os.environ["CONTROL_VISIBILITY_SECONDS"])

app = Celery("plain", broker=os.environ["CONTROL_REDIS_URL"], backend=os.environ["CONTROL_REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": VISIBILITY, "retry_on_timeout": True},
    result_backend_transport_options={"visibility_timeout": VISIBILITY},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
)

# No retry waits for longer than the visibility timeout, as the documentation demands.
retrying: dict[str, Any] = {
    "autoretry_for": (Exception,),
    "retry_backoff": True,
    "retry_backoff_max": 8,
    "retry_jitter": True,
    "max_retries": 10,
}


@app.task(**retrying)
def send_email(mail: dict[str, Any]) -> str:
    client = SendGridAPIClient("SG.control", host=os.environ["CONTROL_SENDGRID_URL"])
    return str(client.send(mail).headers["X-Message-Id"])


@app.task(**retrying)
def report(receipts: list[str], batch: str) -> None:
    with Path(os.environ["CONTROL_REPORTS"]).open("a") as reports:
        reports.write(f"{batch} {len(receipts)}\n")


def send_batch(batch: str, mails: list[dict[str, Any]]) -> None:
    chord([send_email.s(mail) for mail in mails], report.s(batch)).delay()
