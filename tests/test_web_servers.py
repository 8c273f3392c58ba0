"""Web servers: a client survives forks, threads and a Redis that is away, and keeps nobody waiting."""

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroom.names import Lane, State
from postroom.settings import Settings
from producers import AsyncPostroom, Postroom, QueueUnavailable, UnknownId
from tests.mails import mail, mails
from tests.servers import Program, RedisServer, SandboxServer, Worker, eventually, free_port, running
from tests.stack import ask, copies, ledger

#: What a call may take (seconds) when Redis is away: 1, and half of that for a busy machine.
SOON = 1.5

#: A web app that makes its client when it is imported, uses it at once, and answers with its process and the id.
APP = """
import os
from producers import Postroom
from tests.mails import mail, mails

postroom = Postroom()
first = postroom.enqueue(mail("import@example.com"))

def app(environ, start_response):
    address = environ["QUERY_STRING"] + "@example.com"
    id = postroom.enqueue(mail(address))
    batch = postroom.enqueue_batch(mails(2, environ["QUERY_STRING"]))
    assert postroom.status(id).id == id
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {id} {batch.id}".encode()]
"""


class Gunicorn(Program):
    """A web server that forks its two workers after it has imported the app, `app.py` in a directory."""

    def __init__(self, directory: Path, *words: str, **environment: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--preload", "--pythonpath", str(directory)]
        command = [sys.executable, "-W", "error", "-m", "gunicorn", *options, *words, "app:app"]
        super().__init__("gunicorn", command, directory / "gunicorn.log", environment)

    def is_ready(self) -> bool:
        return self.log().count("Booting worker") == 2


def test_a_client_made_before_a_fork_works_in_every_process(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    worker_process()
    with running(Gunicorn(tmp_path, "--threads", "4", POSTROOM_REDIS_URL=redis_url)) as server:

        def visit(number: int) -> list[str]:
            return (
                httpx.get(f"{server.url}/?visitor{number}", trust_env=False, verify=False)
                .raise_for_status()
                .text.split()
            )

        with ThreadPoolExecutor(8) as visitors:
            pids, ids, batches = zip(*visitors.map(visit, range(40)), strict=True)
        assert len(set(pids)) == 2
        assert len({*ids, *batches}) == 80
        with Postroom(Settings(redis_url=redis_url)) as postroom:
            for batch in batches:
                assert postroom.wait(batch, 20).counts[State.ACCEPTED] == 2
            eventually(lambda: copies(sandbox_server).total() == 1 + 3 * 40)
        assert set(copies(sandbox_server).values()) == {1}
        assert server.stop() == 0
        assert "Traceback" not in server.log()


def test_threads_may_share_a_client(redis_url: str) -> None:
    with Postroom(Settings(redis_url=redis_url)) as postroom:

        def use(number: int) -> set[str]:
            ids = {postroom.enqueue(mail(f"reader{number}@example.com"), key=str(number)) for _ in range(10)}
            assert {postroom.status(id).id for id in ids} == ids
            assert postroom.enqueue_batch(mails(number)).progress().total == number
            return ids

        with ThreadPoolExecutor(20) as threads:
            found = list(threads.map(use, range(100)))
    assert {len(ids) for ids in found} == {1}
    assert len(set.union(*found)) == 100


class AsyncDoor:
    """`AsyncPostroom` in an event loop of its own, with the blocking calls of `Postroom`."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self._postroom = AsyncPostroom(settings)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._postroom, name)
        return lambda *args, **options: self._runner.run(call(*args, **options))

    def close(self) -> None:
        self._runner.run(self._postroom.close())
        self._runner.close()


Door = Callable[[str], Any]


@pytest.fixture(params=[Postroom, AsyncDoor], ids=["blocking", "asyncio"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """Makes clients of either kind for a Redis' address."""
    clients: list[Any] = []

    def make(redis_url: str) -> Any:
        clients.append(request.param(Settings(redis_url=redis_url, chunk_mails=10)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@contextmanager
def unavailable(*, may_be_enqueued: bool) -> Iterator[pytest.ExceptionInfo[QueueUnavailable]]:
    """What happens inside raises `QueueUnavailable`, soon."""
    begun = time.monotonic()
    with pytest.raises(QueueUnavailable) as raised:
        yield raised
    assert time.monotonic() - begun < SOON
    assert raised.value.may_be_enqueued is may_be_enqueued
    assert ("nothing was enqueued" in str(raised.value)) is not may_be_enqueued


@pytest.fixture
def mute_server() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_redis_that_is_down_is_told_at_once(door: Door) -> None:
    postroom = door(f"redis://127.0.0.1:{free_port()}/0")
    with unavailable(may_be_enqueued=False):
        postroom.enqueue(mail())
    with unavailable(may_be_enqueued=False):
        postroom.enqueue_batch(mails(100))
    for ask_for in (postroom.status, postroom.progress, postroom.wait, postroom.report, postroom.cancel):
        with unavailable(may_be_enqueued=False):
            ask_for("a" * 20)


def test_a_redis_that_says_nothing_is_told_within_a_second(door: Door, mute_server: str) -> None:
    postroom = door(mute_server)
    for _ in range(2):
        with unavailable(may_be_enqueued=False):
            postroom.enqueue(mail())


def test_a_redis_that_hangs_is_told_within_a_second_and_nothing_was_sent_to_it_yet(
    door: Door, own_redis_server: RedisServer
) -> None:
    postroom = door(own_redis_server.url)
    own_redis_server.pause()
    with unavailable(may_be_enqueued=False) as raised:
        postroom.enqueue(mail())
    own_redis_server.resume()
    with pytest.raises(UnknownId):
        postroom.status(raised.value.id)
    assert postroom.enqueue(mail(), id=raised.value.id) == raised.value.id


def test_a_mail_that_may_be_enqueued_can_be_enqueued_again_and_again_and_is_one(
    door: Door, own_redis_server: RedisServer
) -> None:
    postroom = door(own_redis_server.url)
    postroom.enqueue(mail("first@example.com"))
    own_redis_server.pause()
    with unavailable(may_be_enqueued=True) as raised:
        postroom.enqueue(mail("second@example.com"))
    own_redis_server.resume()
    id = raised.value.id
    assert {postroom.enqueue(mail("second@example.com"), id=id) for _ in range(3)} == {id}
    assert postroom.status(id).state is State.QUEUED
    assert ask(own_redis_server.url, ledger().lane_length(Lane.TRANSACTIONAL)) == 2


@pytest.mark.parametrize(("rows", "may_be_enqueued"), [(55, False), (100, True)], ids=["storing", "sealing"])
def test_a_batch_may_be_enqueued_only_if_all_of_it_is_stored_and_goes_on_under_its_key(
    door: Door, own_redis_server: RedisServer, rows: int, may_be_enqueued: bool
) -> None:
    postroom = door(own_redis_server.url)

    def pausing() -> Iterator[dict[str, Any]]:
        bodies = mails(100)
        yield from islice(bodies, rows)
        own_redis_server.pause()
        yield from bodies

    with unavailable(may_be_enqueued=may_be_enqueued):
        postroom.enqueue_batch(pausing(), key="letter")
    own_redis_server.resume()
    batch = postroom.enqueue_batch(mails(100), key="letter")
    assert postroom.progress(batch.id).queued == postroom.progress(batch.id).total == 100


def test_a_question_that_redis_does_not_answer_enqueues_nothing(door: Door, own_redis_server: RedisServer) -> None:
    postroom = door(own_redis_server.url)
    id = postroom.enqueue(mail())
    own_redis_server.pause()
    with unavailable(may_be_enqueued=False):
        postroom.status(id)
    own_redis_server.resume()


def test_a_client_works_again_as_soon_as_redis_does(door: Door, own_redis_server: RedisServer) -> None:
    postroom = door(own_redis_server.url)
    first = postroom.enqueue(mail())
    own_redis_server.kill()
    with pytest.raises(QueueUnavailable):
        postroom.enqueue(mail())
    own_redis_server.start()
    assert postroom.status(first).state is State.QUEUED
    assert postroom.enqueue(mail()) != first
