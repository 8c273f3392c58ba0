"""Expiring: what was not sent by its deadline is not sent any more."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import RETRY, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_a_mail_is_sent_until_its_deadline_and_not_at_it(driver: Driver) -> None:
    in_time, late = driver.enqueue(expires_in=60.001), driver.enqueue(expires_in=60)

    driver.later(60)

    assert [id for id, _ in driver.claim("transactional")[1].groups] == [in_time]
    assert driver.state(late) == State.EXPIRED
    assert driver.status(late).reason == "expired"


def test_a_chunk_past_its_deadline_is_finished_by_whoever_claims_from_it(driver: Driver) -> None:
    batch = driver.batch(3, expires_in=60)

    driver.later(60)

    assert driver.claim(f"{batch}.0")[1].verdict == "finished"
    assert driver.counts(batch) == {"expired": 3}
    assert driver.record(batch).final_at == driver.now_ms


def test_the_caretaker_finishes_what_nobody_claims(driver: Driver) -> None:
    single, batch = driver.enqueue(expires_in=60), driver.batch(2, expires_in=60)

    driver.later(59.999)
    driver.sweep()
    assert driver.state(single) == State.QUEUED

    driver.later(1)
    driver.sweep()
    assert driver.state(single) == State.EXPIRED
    assert driver.counts(batch) == {"expired": 2}


def test_a_retry_that_is_due_after_the_deadline_expires_at_the_deadline(driver: Driver) -> None:
    batch = driver.batch(1, expires_in=60)
    driver.attempt(f"{batch}.0", RETRY, delay=600)

    driver.later(60)
    driver.sweep()

    assert driver.counts(batch) == {"expired": 1}


def test_the_deadline_counts_from_send_at(driver: Driver) -> None:
    single, batch = driver.enqueue(send_in=600, expires_in=60), driver.batch(1, send_in=600, expires_in=60)

    driver.later(659)
    driver.sweep()
    assert driver.counts(batch) == {"queued": 1}

    driver.later(1)
    driver.sweep()
    driver.later(1)
    driver.sweep()
    assert driver.state(single) == State.EXPIRED
    assert driver.counts(batch) == {"expired": 1}


def test_a_mail_on_the_wire_at_its_deadline_may_still_be_accepted(driver: Driver) -> None:
    id = driver.enqueue(expires_in=60)
    nonce, claimed = driver.claim("transactional")

    driver.later(60)
    driver.sweep()
    assert driver.state(id) == State.SENDING

    driver.settle_all(nonce, claimed, accepted())
    assert driver.state(id) == State.ACCEPTED


def test_a_mail_that_comes_back_from_the_wire_after_its_deadline_expires(driver: Driver) -> None:
    batch = driver.batch(2, expires_in=60)
    nonce, claimed = driver.claim(f"{batch}.0")
    driver.later(60)
    driver.sweep()

    driver.settle_all(nonce, claimed, RETRY)
    driver.later(1)
    driver.sweep()

    assert driver.counts(batch) == {"expired": 2}
