"""Memory: a Redis that is nearly full takes no more mail, and sends and settles what it has."""

import os
from collections.abc import Iterator

import pytest

from postroom.errors import QueueFull
from postroom.names import State
from tests.ledger_driver import Driver, accepted
from tests.servers import RedisServer


@pytest.fixture
def driver(own_redis_server: RedisServer) -> Iterator[Driver]:
    with Driver(own_redis_server.url) as driver:
        yield driver


def use(driver: Driver, share: float) -> None:
    """Set Redis' limit so that this share of it is in use."""
    used = driver.redis.info("memory")["used_memory"]
    driver.redis.config_set("maxmemory", round(used / share))
    driver.redis.delete("postroom:memory")  # what it knew of it a second ago


def test_mail_is_taken_up_to_85_percent(driver: Driver) -> None:
    driver.enqueue(payload=os.urandom(8 * 1024 * 1024))
    batch = driver.open_batch().id

    use(driver, 0.8)
    assert driver.take().what == "enqueued"
    assert driver.store(batch, 0, 1).what == "stored"
    assert driver.open_batch().what == "open"

    use(driver, 0.9)
    assert driver.take().what == "full"
    assert driver.store(batch, 1, 1).what == "full"
    assert driver.open_batch().what == "full"


def test_what_is_known_already_is_known_when_redis_is_full_too(driver: Driver) -> None:
    single = driver.enqueue(key="welcome", payload=os.urandom(8 * 1024 * 1024))
    batch = driver.open_batch(key="newsletter").id
    driver.store(batch, 0, 1, "hash")

    use(driver, 0.9)

    assert driver.take(key="welcome") == ("known", single)
    assert driver.open_batch(key="newsletter") == ("open", batch, 1, "hash", False)
    assert driver.store(batch, 0, 1, "hash").what == "stored"
    assert driver.seal(batch) == ("sealed", 1)


def test_redis_over_its_limit_refuses_new_mail_and_nothing_else(driver: Driver) -> None:
    driver.enqueue(payload=os.urandom(8 * 1024 * 1024))
    single, batch = driver.enqueue(lane="bulk"), driver.batch(2)
    use(driver, 1.1)

    with pytest.raises(QueueFull):
        driver.take()

    driver.attempt("bulk", accepted())
    driver.attempt(f"{batch}.0", accepted())
    driver.sweep()
    assert driver.state(single) == State.ACCEPTED
    assert driver.counts(batch) == {"accepted": 2}
    assert driver.run(driver.ledger.record_report(batch, "body"))


def test_mail_is_taken_again_when_some_has_been_sent(driver: Driver) -> None:
    driver.enqueue(payload=os.urandom(8 * 1024 * 1024))
    use(driver, 0.9)
    assert driver.take().what == "full"

    driver.attempt("transactional", accepted())
    driver.redis.delete("postroom:memory")

    assert driver.take().what == "enqueued"
