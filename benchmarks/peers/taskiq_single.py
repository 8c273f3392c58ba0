"""taskiq 0.12 with taskiq-redis 1.2, one task for each mail, aiohttp.

After the README of taskiq-redis (streams, which are acknowledged) and
https://taskiq-python.github.io/guide/state-and-deps.html (a session in the worker's state).
"""

import os
from typing import Annotated, Any

import aiohttp
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

URL = f"{os.environ['SENDGRID_URL']}/v3/mail/send"
HEADERS = {"Authorization": f"Bearer {os.environ['SENDGRID_API_KEY']}"}

broker = RedisStreamBroker(url=os.environ["REDIS_URL"])


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    state.session = aiohttp.ClientSession(headers=HEADERS, raise_for_status=True)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    await state.session.close()


@broker.task
async def send(mail: dict[str, Any], context: Annotated[Context, TaskiqDepends()]) -> None:
    async with context.state.session.post(URL, json=mail):
        pass


async def start() -> None:
    await broker.startup()


async def enqueue(mail: dict[str, Any]) -> None:
    await send.kiq(mail)
