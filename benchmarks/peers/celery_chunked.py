"""Celery 5.7, mails chunked by hand, and aiohttp: the strongest that a skilled user writes in an afternoon.

A task carries 100 mails and posts them at once over connections that its process keeps open. Retries are by mail.
After https://docs.celeryq.dev/en/stable/userguide/canvas.html#chunks and
https://docs.aiohttp.org/en/stable/http_request_lifecycle.html (one session for the life of the program).
"""

import asyncio
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import aiohttp
from celery import Celery

CHUNK = 100
CONNECTIONS = 32
URL = f"{os.environ['SENDGRID_URL']}/v3/mail/send"
HEADERS = {"Authorization": f"Bearer {os.environ['SENDGRID_API_KEY']}"}

app = Celery("mail", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@cache
def loop() -> asyncio.AbstractEventLoop:
    """Of this process, kept over its tasks, and the session with it."""
    return asyncio.new_event_loop()


@cache
def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=CONNECTIONS))


async def post(mail: dict[str, Any]) -> bool:
    try:
        async with session().post(URL, json=mail) as response:
            return response.status == 202
    except aiohttp.ClientError:
        return False


async def post_all(mails: Sequence[dict[str, Any]]) -> list[bool]:
    return await asyncio.gather(*map(post, mails))


@app.task(bind=True, max_retries=8)
def send_chunk(self: Any, mails: list[dict[str, Any]]) -> None:
    accepted = loop().run_until_complete(post_all(mails))
    if failed := [mail for mail, done in zip(mails, accepted, strict=True) if not done]:
        raise self.retry(args=(failed,), countdown=2**self.request.retries)


def enqueue_all(mails: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(mails), CHUNK):
        send_chunk.delay(mails[start : start + CHUNK])
