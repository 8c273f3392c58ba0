"""Cancelling: what nobody has begun to send is not sent."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import REJECTED, RETRY, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_a_cancelled_single_is_not_sent(driver: Driver) -> None:
    id = driver.enqueue()

    assert driver.cancel(id) == ("done", 1, 0)

    assert driver.state(id) == State.CANCELLED
    assert driver.claim("transactional")[1].verdict == "idle"


def test_a_cancelled_mail_of_a_batch_is_not_sent(driver: Driver) -> None:
    batch = driver.batch(3)

    assert driver.cancel(f"{batch}.0.1") == ("done", 1, 0)

    assert [place for place, _ in driver.claim(f"{batch}.0")[1].groups[0][1]] == [0, 2]


def test_a_scheduled_single_can_be_cancelled(driver: Driver) -> None:
    id = driver.enqueue(send_in=60)
    assert driver.cancel(id) == ("done", 1, 0)

    driver.later(60)
    driver.sweep()

    assert driver.state(id) == State.CANCELLED


def test_a_retry_that_waits_can_be_cancelled(driver: Driver) -> None:
    id = driver.enqueue()
    driver.attempt("transactional", RETRY)
    assert driver.cancel(id) == ("done", 1, 0)

    driver.later(60)
    driver.sweep()

    assert driver.state(id) == State.CANCELLED


def test_it_is_too_late_for_what_is_on_its_way_or_finished(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.attempt(f"{batch}.0", accepted(), limit=1)
    driver.attempt(f"{batch}.0", REJECTED, limit=1)
    driver.claim(f"{batch}.0", limit=1)

    assert driver.cancel(f"{batch}.0") == ("done", 1, 3)

    assert driver.counts(batch) == {"accepted": 1, "rejected": 1, "sending": 1, "cancelled": 1}


def test_cancelling_again_says_the_same(driver: Driver) -> None:
    batch = driver.batch(2)

    assert driver.cancel(f"{batch}.0") == ("done", 2, 0)
    assert driver.cancel(f"{batch}.0") == ("done", 2, 0)
    assert driver.counts(batch) == {"cancelled": 2}


@pytest.mark.parametrize("id", ["aaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa.0", "aaaaaaaaaaaaaaaaaaaa.0.0"])
def test_what_nobody_has_enqueued_is_unknown(driver: Driver, id: str) -> None:
    assert driver.cancel(id) == ("unknown", 0, 0)


def test_a_place_beyond_the_chunk_is_unknown(driver: Driver) -> None:
    batch = driver.batch(2)

    assert driver.cancel(f"{batch}.0.2") == ("unknown", 0, 0)


def test_a_batch_that_is_not_sealed_cannot_be_cancelled_in_parts(driver: Driver) -> None:
    batch = driver.open_batch().id
    driver.store(batch, 0, 2)

    assert driver.cancel(f"{batch}.0") == ("unknown", 0, 0)

    driver.seal(batch)
    assert driver.counts(batch) == {"queued": 2}


def test_a_batch_that_is_cancelled_is_final(driver: Driver) -> None:
    batch = driver.batch(2, 1)
    for chunk in (f"{batch}.0", f"{batch}.2"):
        driver.cancel(chunk)

    assert driver.record(batch).final_at == driver.now_ms


def test_the_chord_hears_of_a_chunk_that_is_cancelled(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.take_wake_up("bulk")
    driver.claim(f"{batch}.0", limit=1)
    driver.take_wake_up("bulk")

    driver.cancel(f"{batch}.0.1")
    driver.evidence(f"{batch}.0.0")

    assert driver.wake_ups("bulk") == [f"{batch}.0"]
    assert driver.claim(f"{batch}.0")[1].verdict == "finished"


def test_a_batch_cancelled_before_its_time_wakes_nobody_when_it_comes(driver: Driver) -> None:
    batch = driver.batch(2, 2, send_in=600)
    for chunk in (f"{batch}.0", f"{batch}.2"):
        driver.cancel(chunk)
    while driver.take_wake_up("bulk"):
        pass

    driver.later(600)
    driver.sweeps(60)

    assert driver.wake_ups("bulk") == []


def test_a_batch_cancelled_in_part_wakes_nobody_before_its_time(driver: Driver) -> None:
    batch = driver.batch(2, send_in=600)
    driver.cancel(f"{batch}.0.0")

    driver.sweeps(60)

    assert driver.wake_ups("bulk") == []
