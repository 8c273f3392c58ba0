"""saq 0.26, one job for each mail, aiohttp.

After https://saq-py.readthedocs.io/en/latest/ (settings, `startup`, 10 jobs at a time in each worker, the default).
"""

import os
from typing import Any

import aiohttp
from saq import Queue

URL = f"{os.environ['SENDGRID_URL']}/v3/mail/send"
HEADERS = {"Authorization": f"Bearer {os.environ['SENDGRID_API_KEY']}"}

queue = Queue.from_url(os.environ["REDIS_URL"])


async def startup(context: dict[str, Any]) -> None:
    context["session"] = aiohttp.ClientSession(headers=HEADERS, raise_for_status=True)


async def shutdown(context: dict[str, Any]) -> None:
    await context["session"].close()


async def send(context: dict[str, Any], *, mail: dict[str, Any]) -> None:
    async with context["session"].post(URL, json=mail):
        pass


settings = {"queue": queue, "functions": [send], "startup": startup, "shutdown": shutdown}


async def start() -> None:
    await queue.connect()


async def enqueue(mail: dict[str, Any]) -> None:
    await queue.enqueue("send", mail=mail, retries=3)
