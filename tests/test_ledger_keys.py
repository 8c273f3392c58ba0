"""Keys: the same call twice is one mail, or one batch."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import HOUR, RETRY, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_the_same_key_and_mail_give_the_same_id(driver: Driver) -> None:
    id = driver.enqueue(key="welcome")

    assert driver.take(key="welcome") == ("known", id)

    driver.attempt("transactional", accepted())
    assert driver.take(key="welcome") == ("known", id)
    assert driver.claim("transactional")[1].verdict == "idle"


def test_the_same_key_for_another_mail_is_a_conflict(driver: Driver) -> None:
    id = driver.enqueue(key="welcome")

    assert driver.take(key="welcome", fingerprint="another mail") == ("conflict", id)
    assert driver.redis.llen("postroom:lane:transactional:singles") == 1


def test_a_mail_and_a_batch_cannot_have_the_same_key(driver: Driver) -> None:
    id = driver.enqueue(key="welcome")
    batch = driver.batch(1, key="newsletter")

    assert driver.open_batch(key="welcome")[:2] == ("conflict", id)
    assert driver.take(key="newsletter") == ("conflict", batch)


def test_a_key_lives_as_long_as_its_mail(driver: Driver) -> None:
    id = driver.enqueue(key="welcome")
    driver.attempt("transactional", RETRY)
    assert driver.redis.ttl("postroom:key:welcome") == -1

    driver.sweep()
    driver.later(5)
    driver.sweep()
    driver.attempt("transactional", accepted())

    ends = driver.now_ms + 7 * 24 * 3_600_000
    assert driver.redis.pexpiretime("postroom:key:welcome") == ends
    assert driver.redis.pexpiretime(f"postroom:chunk:{id}") == ends


def test_a_key_lives_as_long_as_its_batch(driver: Driver) -> None:
    batch = driver.batch(1, key="newsletter", expires_in=HOUR)
    assert driver.redis.ttl("postroom:key:newsletter") == -1

    driver.attempt(f"{batch}.0", accepted())

    assert driver.redis.pexpiretime("postroom:key:newsletter") == driver.redis.pexpiretime(f"postroom:batch:{batch}")


def test_a_batch_goes_on_where_its_producer_died(driver: Driver) -> None:
    batch = driver.open_batch(key="newsletter").id
    driver.store(batch, 0, 2, "hash of two")

    assert driver.open_batch(key="newsletter") == ("open", batch, 2, "hash of two", False)

    driver.store(batch, 2, 3, "hash of five")
    driver.seal(batch)
    assert driver.open_batch(key="newsletter") == ("open", batch, 5, "hash of five", True)


def test_the_same_key_with_other_terms_is_a_conflict(driver: Driver) -> None:
    batch = driver.batch(1, key="newsletter")

    assert driver.open_batch(key="newsletter", fingerprint="other-terms")[:2] == ("conflict", batch)


def test_the_key_of_a_dropped_batch_is_free(driver: Driver) -> None:
    batch = driver.open_batch(key="newsletter").id
    driver.store(batch, 0, 2)

    assert driver.run(driver.ledger.drop_batch(batch))

    assert driver.open_batch(key="newsletter").id != batch
    assert driver.redis.keys(f"*{batch}*") == []


def test_a_sealed_batch_is_not_dropped(driver: Driver) -> None:
    batch = driver.batch(2)

    driver.run(driver.ledger.drop_batch(batch))

    assert driver.state(f"{batch}.0.1") == State.QUEUED


def test_nobody_goes_on_with_a_batch_of_which_a_part_is_dropped(driver: Driver) -> None:
    batch = driver.open_batch(key="newsletter").id
    for row in range(201):
        driver.store(batch, row, 1, f"hash of {row}")

    assert not driver.run(driver.ledger.drop_batch(batch))  # a page of 200 chunks; one is left

    assert driver.store(batch, 201, 1) == ("gone", 0)
    assert driver.seal(batch) == ("gone", 0)
    assert driver.run(driver.ledger.batch(batch)) is None
    again = driver.batch(1, key="newsletter")
    assert driver.run(driver.ledger.drop_batch(batch))
    assert driver.open_batch(key="newsletter").id == again
