"""Doubting: mail that SendGrid may or may not have accepted."""

from collections.abc import Iterator
from typing import Any

import pytest

from postroom.names import State
from tests.ledger_driver import HOUR, REJECTED, RELEASED, RETRY, TIMEOUT, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def doubted(driver: Driver, **terms: Any) -> str:
    """A single in doubt."""
    id = driver.enqueue(**terms)
    driver.attempt("transactional", TIMEOUT)
    assert driver.state(id) == State.IN_DOUBT
    return id


def grace_passes(driver: Driver) -> None:
    driver.later(driver.settings.grace)
    driver.sweep()


def test_a_mail_in_doubt_is_not_sent_before_its_grace_is_over(driver: Driver) -> None:
    id = doubted(driver)

    driver.later(driver.settings.grace - 0.001)
    driver.sweep()

    assert driver.state(id) == State.IN_DOUBT
    assert driver.claim("transactional")[1].verdict == "idle"


def test_after_the_grace_resend_makes_one_more_copy(driver: Driver) -> None:
    id = doubted(driver, policy="resend")

    grace_passes(driver)

    assert driver.claim("transactional")[1].groups == [(id, [(0, 2)])]
    assert driver.stats()["resends"] == 1


def test_a_second_doubt_is_the_last(driver: Driver) -> None:
    id = doubted(driver, policy="resend")
    grace_passes(driver)
    driver.attempt("transactional", TIMEOUT)
    assert driver.state(id) == State.IN_DOUBT

    grace_passes(driver)

    assert driver.state(id) == State.UNRESOLVED
    assert driver.status(id).reason == "timeout"
    assert driver.stats()["resends"] == 1


def test_hold_never_sends_again(driver: Driver) -> None:
    id = doubted(driver, policy="hold")

    grace_passes(driver)

    assert driver.state(id) == State.UNRESOLVED
    assert driver.claim("transactional")[1].verdict == "idle"


def test_a_refusal_after_a_doubt_is_no_proof_that_it_was_not_sent(driver: Driver) -> None:
    id = doubted(driver)
    grace_passes(driver)

    driver.attempt("transactional", REJECTED)

    status = driver.status(id)
    assert (status.state, status.reason, status.errors) == (State.UNRESOLVED, "http_400", REJECTED.errors)


def test_a_deadline_after_a_doubt_leaves_it_unresolved(driver: Driver) -> None:
    id = doubted(driver, expires_in=60)

    grace_passes(driver)

    assert driver.state(id) == State.UNRESOLVED
    assert driver.status(id).reason == "expired"


def test_exhaustion_after_a_doubt_leaves_it_unresolved(driver: Driver) -> None:
    id = doubted(driver)
    grace_passes(driver)

    for _ in range(driver.settings.max_attempts - 1):
        driver.attempt("transactional", RETRY, delay=1)
        driver.later(1)
        driver.sweep()

    assert driver.state(id) == State.UNRESOLVED
    assert driver.status(id).reason == "http_500"


def test_a_doubt_of_the_last_attempt_is_not_sent_again(driver: Driver) -> None:
    id = driver.enqueue()
    for _ in range(driver.settings.max_attempts - 1):
        driver.attempt("transactional", RETRY, delay=1)
        driver.later(1)
        driver.sweep()
    driver.attempt("transactional", TIMEOUT)

    grace_passes(driver)

    assert driver.state(id) == State.UNRESOLVED


def test_evidence_within_the_grace_ends_the_doubt(driver: Driver) -> None:
    id = doubted(driver)

    driver.evidence(id)
    grace_passes(driver)

    assert driver.state(id) == State.ACCEPTED
    assert driver.claim("transactional")[1].verdict == "idle"


def test_a_doubted_mail_cannot_be_cancelled_even_when_it_is_queued_again(driver: Driver) -> None:
    id = doubted(driver)
    assert driver.cancel(id) == ("done", 0, 1)

    grace_passes(driver)

    assert driver.cancel(id) == ("done", 0, 1)
    assert driver.state(id) == State.QUEUED


def test_an_outcome_that_comes_late_ends_the_doubt_that_its_delay_had_raised(driver: Driver) -> None:
    batch = driver.batch(3)
    driver.watched()
    nonce, _ = driver.claim(f"{batch}.0", owner="slow")
    driver.sweeps(41, alive=["slow"])
    assert driver.counts(batch) == {"in_doubt": 3}

    driver.settle(nonce, {f"{batch}.0": [(0, accepted(), 0.0), (1, REJECTED, 0.0), (2, RELEASED, 0.0)]})

    assert driver.counts(batch) == {"accepted": 1, "rejected": 1, "queued": 1}
    assert driver.status(f"{batch}.0.1").attempt == 1
    assert driver.status(f"{batch}.0.2").attempt == 0
    assert driver.cancel(f"{batch}.0.2") == ("done", 1, 0)


def test_an_outcome_that_comes_after_the_mail_was_sent_again_counts_no_more(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.watched()
    nonce, claimed = driver.claim(f"{batch}.0", owner="slow")
    driver.sweeps(6)
    grace_passes(driver)
    driver.claim(f"{batch}.0", owner="quick")

    assert driver.settle_all(nonce, claimed, REJECTED).stale == 1
    assert driver.counts(batch) == {"sending": 1}

    driver.settle_all(nonce, claimed, accepted())
    assert driver.counts(batch) == {"accepted": 1}


def test_a_mail_whose_worker_died_twice_is_unresolved(driver: Driver) -> None:
    id = driver.enqueue()
    for owner in ("first-victim", "second-victim"):
        driver.watched()
        assert driver.claim("transactional", owner=owner)[1].verdict == "claimed"
        driver.sweeps(6)
        assert driver.state(id) == State.IN_DOUBT
        grace_passes(driver)

    assert driver.state(id) == State.UNRESOLVED
    assert driver.status(id).reason == "worker_died"


def test_a_worker_that_was_only_slow_has_not_died(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.watched()
    nonce, claimed = driver.claim(f"{batch}.0", owner="slow")
    driver.sweeps(6)
    assert driver.counts(batch) == {"in_doubt": 2}

    driver.settle_all(nonce, claimed, RELEASED)

    assert len(driver.claim(f"{batch}.0")[1].groups[0][1]) == 2  # not alone


def test_a_doubt_said_again_is_one_doubt(driver: Driver) -> None:
    id = driver.enqueue(expires_in=HOUR)
    nonce, claimed = driver.claim("transactional")

    for _ in range(3):
        driver.settle_all(nonce, claimed, TIMEOUT)

    assert driver.stats()["doubts"] == 1
    assert driver.status(id).attempt == 1
    grace_passes(driver)
    assert driver.state(id) == State.QUEUED
