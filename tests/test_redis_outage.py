"""Redis goes away in the middle of a batch: callers hear of it at once, and workers go on by themselves afterwards."""

import time
from collections import Counter
from collections.abc import Callable

import pytest

from postroom.connection import Connection
from postroom.ledger import Ledger
from postroom.settings import Settings
from producers import Postroom, QueueUnavailable
from tests.servers import RedisServer, SandboxServer, Worker, eventually

#: How long Redis is away (seconds). Longer than an owner's life: nobody may be judged for it.
AWAY = 7.0
MAILS = 2500


def mail(number: int) -> dict[str, object]:
    return {
        "personalizations": [{"to": [{"email": f"reader{number}@example.com"}]}],
        "from": {"email": "news@example.com"},
        "subject": f"Number {number}",
        "content": [{"type": "text/plain", "value": f"The news, for reader {number}."}],
    }


def shut_down(server: RedisServer) -> Callable[[], None]:
    server.stop()
    return server.start


def kill(server: RedisServer) -> Callable[[], None]:
    server.kill()
    return server.start


def silence(server: RedisServer) -> Callable[[], None]:
    server.pause()
    return server.resume


def try_to_enqueue(postroom: Postroom) -> float:
    """How long the refusal took, in seconds."""
    started = time.monotonic()
    with pytest.raises(QueueUnavailable):
        postroom.enqueue(mail(0))
    return time.monotonic() - started


@pytest.mark.parametrize("take_away", [shut_down, kill, silence])
def test_a_batch_is_sent_once_over_an_outage_of_redis(
    take_away: Callable[[RedisServer], Callable[[], None]],
    own_redis_server: RedisServer,
    sandbox_server: SandboxServer,
    worker_process: Callable[..., Worker],
) -> None:
    settings = Settings(redis_url=own_redis_server.url)
    sandbox_server.faults([{"fault": "latency", "latency": 0.05}])
    worker = worker_process(POSTROOM_REDIS_URL=own_redis_server.url)
    with Postroom(settings) as postroom:
        batch = postroom.enqueue_batch(mail(number) for number in range(MAILS))
        eventually(lambda: batch.progress().accepted > MAILS / 10, describe="a tenth is sent")

        bring_back = take_away(own_redis_server)
        back_at = time.monotonic() + AWAY
        refusals = [try_to_enqueue(postroom)]
        while time.monotonic() < back_at:
            refusals.append(try_to_enqueue(postroom))
            time.sleep(0.1)
        bring_back()

        report = batch.wait(timeout=60)
        late = postroom.enqueue(mail(MAILS))
        eventually(lambda: postroom.status(late).state == "accepted", describe="a mail of afterwards is sent")
    assert max(refusals) < 1.0
    assert report.counts["accepted"] == MAILS
    copies = Counter(id for entry in sandbox_server.accepted() for id in entry["postroom_ids"])
    assert len(copies) >= MAILS + 1
    assert set(copies.values()) == {1}
    assert Connection(settings.redis_url, timeout=2).run(Ledger(settings).stats()).get("doubts", 0) == 0
    assert worker.running
    assert worker.stop() == 0
