"""AsyncPostroom: the same as `Postroom`, in an event loop that it never holds for long."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from postroom.names import State
from postroom.settings import Settings
from producers import (
    AsyncPostroom,
    Cancellation,
    InvalidMail,
    KeyConflict,
    Postroom,
    UnknownId,
)
from tests.mails import mail, mails
from tests.servers import ROOT, SandboxServer, Worker, clean_environment
from tests.stack import batch_ids, copies
from tests.ticker import ticking

#: Uses one client, made at import, in one event loop after another.
LOOPS = """
import asyncio, gc
from producers import AsyncPostroom
from tests.mails import mail, mails
postroom = AsyncPostroom()

async def enqueue():
    batch = await postroom.enqueue_batch(mails(3))
    return [await postroom.enqueue(mail()), *await asyncio.gather(*[postroom.enqueue(mail()) for _ in range(20)])]

async def look(ids):
    print([str((await postroom.status(id)).state) for id in ids])
    {close}

ids = asyncio.run(enqueue())
gc.collect()
asyncio.run(look(ids))
gc.collect()
"""

#: Makes a client, uses it for the first time, and prints for how long (seconds) that kept the event loop busy at most.
FIRST_CALLS = """
import asyncio
from producers import AsyncPostroom
from tests.mails import mail, mails
from tests.ticker import ticking
postroom = AsyncPostroom()

async def use():
    async with postroom, ticking() as holds:
        await postroom.enqueue(mail())
        await postroom.enqueue_batch(mails(3))
    print(max(hold.busy for hold in holds))

asyncio.run(use())
"""


@pytest.fixture
async def postroom(redis_url: str) -> AsyncIterator[AsyncPostroom]:
    async with AsyncPostroom(Settings(redis_url=redis_url, chunk_mails=10)) as client:
        yield client


async def some(count: int) -> AsyncIterator[dict[str, Any]]:
    for body in mails(count):
        await asyncio.sleep(0)
        yield body


async def test_every_call_gives_what_the_blocking_one_gives(
    postroom: AsyncPostroom, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    single = await postroom.enqueue(mail("single@example.com"), key="order-1", expires_in=600, on_doubt="hold")
    batch = await postroom.enqueue_batch([*mails(25), mail("reject@sandbox.test")], key="letter")
    later = await postroom.enqueue_batch(some(5), send_at=time.time() + 3600)
    assert (await batch.progress()).queued == 26
    worker_process()
    report = await batch.wait(20)
    assert await later.cancel() == await postroom.cancel(later.id) == Cancellation(5, 0)
    with Postroom(Settings(redis_url=redis_url)) as blocking:
        assert await postroom.status(single) == blocking.status(single)
        assert await batch.progress() == blocking.progress(batch.id)
        assert await report.to_json() == blocking.report(batch.id).to_json()
        assert await (await later.report()).to_json() == blocking.report(later.id).to_json()
        assert [failure async for failure in (await batch.report()).failed] == list(blocking.report(batch.id).failed)
        assert blocking.enqueue(mail("single@example.com"), key="order-1", expires_in=600, on_doubt="hold") == single
        assert blocking.enqueue_batch([*mails(25), mail("reject@sandbox.test")], key="letter").id == batch.id
    assert repr(batch) == f"AsyncBatch({batch.id!r})"
    assert set(copies(sandbox_server).values()) == {1}
    assert copies(sandbox_server).total() == 26


@pytest.mark.parametrize("source", [list(mails(95)), mails(95), some(95)], ids=["list", "iterator", "async"])
async def test_a_batch_comes_from_any_iterable(postroom: AsyncPostroom, redis_url: str, source: Any) -> None:
    batch = await postroom.enqueue_batch(source)
    assert len(batch_ids(redis_url, batch.id)) == 95


async def test_errors_are_those_of_the_blocking_client(postroom: AsyncPostroom) -> None:
    with pytest.raises(InvalidMail):
        await postroom.enqueue(mail("nobody"))
    with pytest.raises(InvalidMail, match=r"^row 1: "):
        await postroom.enqueue_batch([mail(), mail("nobody")])
    await postroom.enqueue(mail(), key="order-1")
    with pytest.raises(KeyConflict):
        await postroom.enqueue(mail("bob@example.com"), key="order-1")
    with pytest.raises(UnknownId):
        await postroom.status("a" * 20)
    with pytest.raises(ValueError, match="lane must be"):
        await postroom.enqueue(mail(), lane="urgent")


async def test_a_wait_ends_with_a_timeout_error(postroom: AsyncPostroom) -> None:
    batch = await postroom.enqueue_batch(mails(3))
    with pytest.raises(TimeoutError, match="is not finished after"):
        await batch.wait(0.05)


async def test_an_async_generator_that_fails_leaves_its_error_and_nothing_else(
    postroom: AsyncPostroom, redis_url: str
) -> None:
    async def rows() -> AsyncIterator[dict[str, Any]]:
        async for body in some(25):
            yield body
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        await postroom.enqueue_batch(rows(), key="letter")
    batch = await postroom.enqueue_batch(some(40), key="letter")
    assert len(batch_ids(redis_url, batch.id)) == 40


@pytest.mark.alone
async def test_many_may_enqueue_at_once(postroom: AsyncPostroom) -> None:
    ids = await asyncio.gather(*[postroom.enqueue(mail(f"reader{number}@example.com")) for number in range(5000)])
    assert len(set(ids)) == 5000


async def test_a_call_that_is_cancelled_leaves_no_reply_behind_for_another(postroom: AsyncPostroom) -> None:
    first = await postroom.enqueue(mail())
    for delay in (0, 0.0001, 0.0002, 0.0005, 0.001):
        calls = [asyncio.create_task(postroom.enqueue(mail())) for _ in range(5)]
        await asyncio.sleep(delay)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (await postroom.status(first)).id == first
        assert (await postroom.status(first)).state is State.QUEUED


async def test_no_thread_is_started(postroom: AsyncPostroom) -> None:
    before = threading.enumerate()
    await postroom.enqueue(mail())
    await postroom.enqueue_batch(mails(300))
    assert threading.enumerate() == before


@pytest.mark.parametrize("close", ["await postroom.close()", "pass"], ids=["closed", "left open"])
def test_a_client_made_at_import_works_in_one_event_loop_after_another(redis_url: str, close: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOOPS.format(close=close)],
        cwd=ROOT,
        env=clean_environment() | {"POSTROOM_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{['queued'] * 21}\n"


@pytest.mark.alone
async def test_the_event_loop_is_never_held_for_10_ms(redis_url: str) -> None:
    async with AsyncPostroom(Settings(redis_url=redis_url)) as postroom:
        await postroom.enqueue_batch(mails(1))
        bodies = list(mails(20_000))
        async with ticking() as holds:
            batch = await postroom.enqueue_batch(bodies)
        assert (await batch.progress()).total == 20_000
    late, busy = max(hold.late for hold in holds), max(hold.busy for hold in holds)
    print(f"20,000 mails: the event loop was {late * 1000:.1f} ms late at most, {busy * 1000:.1f} ms busy")
    assert len(holds) > 100
    assert busy < 0.01
    assert late < 0.1


@pytest.mark.alone
def test_the_first_calls_do_not_hold_the_event_loop_either(redis_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FIRST_CALLS],
        cwd=ROOT,
        env=clean_environment() | {"POSTROOM_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 0.02
