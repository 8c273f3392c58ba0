"""Enqueueing without a Redis: how long until `QueueUnavailable`.

Redis is killed, or stopped in its tracks while both clients have connections, or behind a network that swallows what it
is sent. Each client calls twice, since its second call finds no connection left; the slower one counts.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from benchmarks.mails import mails
from postroom.errors import QueueUnavailable
from postroom.settings import Settings
from producers import AsyncPostroom, Postroom
from tests.servers import RedisServer, running

CALLS = 2

Enqueue = Callable[[], object]
Outage = Callable[[], AbstractContextManager[object]]


@contextmanager
def killed(server: RedisServer) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue of connections is full: further ones get no answer, as from a host that is not there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(3)]
        try:
            for caller in callers:
                caller.settimeout(0.0)
                caller.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]
        finally:
            for caller in callers:
                caller.close()


@contextmanager
def sync_client(url: str) -> Iterator[Enqueue]:
    (mail,) = mails(1)
    with Postroom(Settings(redis_url=url)) as postroom:
        yield lambda: postroom.enqueue(mail)


@contextmanager
def async_client(url: str) -> Iterator[Enqueue]:
    (mail,) = mails(1)
    postroom = AsyncPostroom(Settings(redis_url=url))
    with asyncio.Runner() as runner:
        yield lambda: runner.run(postroom.enqueue(mail))
        runner.run(postroom.close())


CLIENTS = {"sync": sync_client, "async": async_client}


def until_failure(enqueue: Enqueue) -> float:
    started = time.perf_counter()
    try:
        enqueue()
    except QueueUnavailable:
        return time.perf_counter() - started
    raise AssertionError("enqueue has returned, with no Redis to answer it")


def slower_call(enqueue: Enqueue, outage: Outage) -> float:
    with outage():
        return round(max(until_failure(enqueue) for _ in range(CALLS)), 3)


def seconds_to_failure(directory: Path) -> dict[str, dict[str, float]]:
    """Seconds until each client gives up, by outage."""
    seconds: dict[str, dict[str, float]] = {"killed": {}, "stopped": {}, "black hole": {}}
    for name, client in CLIENTS.items():
        with running(RedisServer(directory)) as server, client(server.url) as enqueue:
            for outage in (killed, stopped):
                enqueue()
                seconds[outage.__name__][name] = slower_call(enqueue, partial(outage, server))
        with black_hole() as port, client(f"redis://127.0.0.1:{port}/0") as enqueue:
            seconds["black hole"][name] = slower_call(enqueue, nullcontext)
    return seconds
