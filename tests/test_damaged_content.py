"""Content that Redis has lost or damaged: its mails are reported, and nobody else is hurt."""

from collections.abc import Callable

from postroom.ids import chunk_id
from postroom.settings import Settings
from producers import Postroom, State
from tests.mails import mail, mails
from tests.servers import RedisServer, SandboxServer, Worker, eventually


def test_mails_whose_content_is_damaged_are_rejected_and_the_others_sent(
    redis_url: str, redis_server: RedisServer, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    with Postroom(Settings.of(redis_url=redis_url, chunk_mails=10)) as postroom, redis_server.client() as redis:
        batch = postroom.enqueue_batch(mails(30))
        single = postroom.enqueue(mail("gone@example.com"))
        redis.setrange(f"postroom:payload:{chunk_id(batch.id, 10)}", 20, b"damaged")
        redis.delete(f"postroom:payload:{single}")
        worker_process("--concurrency", "1")

        report = batch.wait(30)
        eventually(lambda: postroom.status(single).state == State.REJECTED, describe="the single without content ends")

        assert (report.counts["accepted"], report.counts["rejected"]) == (20, 10)
        assert {(failure.row // 10, failure.reason) for failure in report.failed} == {(1, "content_gone")}
        assert postroom.status(single).reason == "content_gone"
    assert len(sandbox_server.accepted()) == 20
