"""Turns: bulk work gives its thread back, and a task that ends early loses nothing."""

import threading
from collections.abc import Callable

from postroom.connection import Connection
from postroom.ledger import Ledger
from postroom.settings import Settings
from producers import Postroom, State
from tests.mails import mail, mails
from tests.servers import SandboxServer, Worker, eventually
from worker.owner import Owner


def test_urgent_mail_waits_for_a_turn_of_bulk_and_not_for_all_of_it(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "latency", "latency": 0.4}])
    worker_process("--concurrency", "2", POSTROOM_WINDOW="4")
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        batch = postroom.enqueue_batch(mails(400))  # 20 s of work for two threads
        eventually(lambda: batch.progress().accepted > 0, describe="bulk is under way")
        urgent = postroom.enqueue(mail("urgent@example.com"))
        eventually(lambda: postroom.status(urgent).state == State.ACCEPTED, 8, "the urgent mail is sent")
        assert batch.progress().accepted < 300
        batch.cancel()


def test_mail_is_sent_while_the_key_of_the_other_lane_is_refused(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "status", "status": 401, "match": "bulk"}])
    worker_process("--concurrency", "2", POSTROOM_SENDGRID_KEY_BULK="SG.bulk")
    with Postroom(Settings(redis_url=redis_url, chunk_mails=10)) as postroom:
        postroom.enqueue_batch(mails(40, "bulk"))
        account = Ledger(Settings()).account("bulk")
        connection = Connection(redis_url, timeout=2)
        eventually(lambda: connection.run(account), describe="the bulk key is paused")
        urgent = postroom.enqueue(mail("urgent@example.com"))
        eventually(lambda: postroom.status(urgent).state == State.ACCEPTED, 10, "the urgent mail is sent")
        connection.close()


def test_a_chunk_that_ends_with_its_worker_is_still_counted_by_the_chord(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "latency", "latency": 1.5}])
    worker = worker_process("--concurrency", "1")
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        batch = postroom.enqueue_batch(mails(20))
        eventually(lambda: batch.progress().sending == 20, describe="its only window is on the wire")
        assert worker.stop() == 0
        assert batch.progress().accepted == 20
        worker_process("--concurrency", "1")
        connection = Connection(redis_url, timeout=2)
        eventually(lambda: connection.run(Ledger(Settings()).stats()).get("reported_by_body"), 8, "the body reports")
        connection.close()


def test_threads_share_the_nonces_of_their_worker() -> None:
    owner = Owner("host-1-abc")
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend(owner.nonce() for _ in range(20_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 80_000
