"""Shutdown: a worker that is asked to end finishes what is on the wire, gives the rest back, and loses nothing."""

import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from celery import Celery

from postroom.names import Lane, State
from postroom.settings import Settings
from producers import Batch, Postroom
from tests.mails import addresses, mail, mails
from tests.servers import RedisServer, SandboxServer, Worker, eventually
from tests.stack import ask, batch_ids, copies, ledger, sandbox_stats

#: How long a request takes (seconds), and by when others go on (seconds), on a busy machine.
LATENCY, SOON = 0.2, 4.0


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url)) as client:
        yield client


@pytest.fixture
def slow_batch(postroom: Postroom, sandbox_server: SandboxServer) -> Batch:
    """A batch of one chunk, which takes its worker seconds to send."""
    sandbox_server.faults([{"fault": "latency", "latency": LATENCY}])
    return postroom.enqueue_batch(mails(200))


def in_flight(sandbox: SandboxServer) -> int:
    stats = sandbox_stats(sandbox)
    return int(stats["requests"] - sum(stats["by_status"].values()))


def all_sent_once(batch: Batch, sandbox: SandboxServer, redis_url: str) -> None:
    """Every mail of the batch. Nothing was ever in doubt, and no wake-up was lost."""
    sandbox.faults([])
    assert batch.wait(30).counts[State.ACCEPTED] == 200
    assert copies(sandbox) == dict.fromkeys(batch_ids(redis_url, batch.id), 1)
    assert {line["attempt"] for line in sandbox.accepted()} == {1}
    assert not ask(redis_url, ledger().stats()).keys() & {"doubts", "announced_again"}


def test_what_is_on_the_wire_is_finished_and_the_rest_given_back_at_once(
    slow_batch: Batch, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker = worker_process(POSTROOM_WINDOW="8")
    eventually(lambda: len(sandbox_server.accepted()) >= 16 and in_flight(sandbox_server))
    asked = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - asked < SOON
    progress = slow_batch.progress()
    assert (progress.sending, progress.in_doubt) == (0, 0)
    assert 16 < progress.accepted == len(sandbox_server.accepted()) < 200
    assert progress.queued == 200 - progress.accepted
    assert ask(redis_url, ledger().owners()) == {}

    worker_process()
    ready = time.monotonic()
    eventually(lambda: len(sandbox_server.accepted()) > progress.accepted)
    assert time.monotonic() - ready < SOON
    all_sent_once(slow_batch, sandbox_server, redis_url)


def test_another_worker_takes_over_within_seconds(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    ending = worker_process("--concurrency", "2", POSTROOM_WINDOW="2")
    staying = worker_process("--concurrency", "8", POSTROOM_WINDOW="2")
    sandbox_server.faults([{"fault": "latency", "latency": LATENCY}])
    with Postroom(Settings(redis_url=redis_url, chunk_mails=25)) as postroom:
        batch = postroom.enqueue_batch(mails(200))
        eventually(lambda: received(ending) and len(sandbox_server.accepted()) >= 16)
        assert ending.stop() == 0
        assert batch.progress().queued > 0
        eventually(lambda: received(staying) >= received(ending), SOON)
        all_sent_once(batch, sandbox_server, redis_url)


def received(worker: Worker) -> set[str]:
    """The chunks whose wake-up a worker was given."""
    return set(re.findall(r"postroom\.deliver\[(\S+)\] received", worker.log()))


def interrupt(worker: Worker, redis_url: str) -> None:
    """Ctrl-C, once."""
    worker.process.send_signal(signal.SIGINT)


def by_remote_control(worker: Worker, redis_url: str) -> None:
    """As `celery control shutdown` does, and a button of Flower's."""
    with Celery("operator", broker=redis_url, set_as_current=False) as operator:
        operator.control.shutdown()


@pytest.mark.parametrize("ask_to_end", [interrupt, by_remote_control])
def test_whichever_way_it_is_asked_it_stops_between_windows_and_gives_back_the_rest(
    ask_to_end: Callable[[Worker, str], None],
    slow_batch: Batch,
    redis_server: RedisServer,
    sandbox_server: SandboxServer,
    worker_process: Callable[..., Worker],
) -> None:
    worker = worker_process(POSTROOM_WINDOW="8")
    eventually(lambda: len(sandbox_server.accepted()) >= 16 and in_flight(sandbox_server))
    ask_to_end(worker, redis_server.url)
    worker.process.wait(20)
    progress = slow_batch.progress()
    assert (progress.sending, progress.in_doubt) == (0, 0)
    assert 0 < progress.queued == 200 - len(sandbox_server.accepted())
    assert redis_server.client().llen(Lane.BULK) == 1


def test_singles_that_wait_are_given_back_too(
    postroom: Postroom, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "latency", "latency": LATENCY}])
    ids = [postroom.enqueue(mail(to)) for to in addresses(60)]
    worker = worker_process("--concurrency", "1", POSTROOM_WINDOW="4")
    eventually(lambda: len(sandbox_server.accepted()) >= 8 and in_flight(sandbox_server))
    assert worker.stop() == 0
    sent = len(sandbox_server.accepted())
    assert [postroom.status(id).state for id in ids] == [State.ACCEPTED] * sent + [State.QUEUED] * (60 - sent)
    other = worker_process()
    eventually(lambda: len(sandbox_server.accepted()) > sent, SOON)
    eventually(lambda: all(postroom.status(id).state is State.ACCEPTED for id in ids))
    assert other.stop() == 0
    assert copies(sandbox_server) == dict.fromkeys(ids, 1)
    assert not ask(redis_url, ledger().stats()).keys() & {"doubts", "announced_again"}


def test_a_paused_worker_ends_at_once(
    postroom: Postroom, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "limited", "reset_after": 600}])
    id = postroom.enqueue(mail())
    worker = worker_process()
    eventually(lambda: ask(redis_url, ledger().account("default")))
    asked = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - asked < SOON
    assert postroom.status(id).state is State.QUEUED
