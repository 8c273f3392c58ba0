"""Settling: what became of the mails of a window, each counted once."""

from collections.abc import Callable, Iterator

import pytest

from postroom.names import State
from postroom.outcome import Outcome
from tests.ledger_driver import (
    HOUR,
    REJECTED,
    RELEASED,
    RETRY,
    TIMEOUT,
    UNAVAILABLE,
    UNSENT,
    Driver,
    accepted,
)


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_an_accepted_mail_has_its_receipt(driver: Driver) -> None:
    id = driver.enqueue()

    driver.attempt("transactional", accepted("receipt-of-22-letters."))

    status = driver.status(id)
    assert (status.state, status.attempt, status.receipt) == (State.ACCEPTED, 1, "receipt-of-22-letters.")


@pytest.mark.parametrize("receipt", ["short", "a receipt that is longer than all that were ever seen"])
def test_a_receipt_of_any_length_is_kept_whole(driver: Driver, receipt: str) -> None:
    id = driver.enqueue()

    driver.attempt("transactional", accepted(receipt))

    assert driver.status(id).receipt == receipt


def test_a_settle_said_again_counts_once(driver: Driver) -> None:
    batch = driver.batch(3)
    nonce, claimed = driver.claim(f"{batch}.0")

    for _ in range(3):
        driver.settle_all(nonce, claimed, REJECTED)

    assert driver.counts(batch) == {"rejected": 3}
    assert driver.status(f"{batch}.0.0").attempt == 1


def test_what_is_not_settled_yet_is_still_on_its_way(driver: Driver) -> None:
    batch = driver.batch(3)
    nonce, _ = driver.claim(f"{batch}.0")

    driver.settle(nonce, {f"{batch}.0": [(1, accepted(), 0.0)]})
    assert driver.counts(batch) == {"sending": 2, "accepted": 1}

    driver.settle(nonce, {f"{batch}.0": [(0, accepted(), 0.0), (2, REJECTED, 0.0)]})
    assert driver.counts(batch) == {"accepted": 2, "rejected": 1}


def test_a_rejected_mail_keeps_what_sendgrid_said(driver: Driver) -> None:
    id = driver.enqueue()

    driver.attempt("transactional", REJECTED)

    status = driver.status(id)
    assert (status.state, status.reason, status.errors) == (State.REJECTED, "http_400", REJECTED.errors)


def test_a_retry_waits_as_long_as_asked(driver: Driver) -> None:
    id = driver.enqueue()
    driver.attempt("transactional", RETRY, delay=60)

    driver.later(59.999)
    driver.sweep()
    assert driver.claim("transactional")[1].verdict == "idle"

    driver.later(1)
    driver.sweep()
    assert driver.claim("transactional")[1].groups == [(id, [(0, 2)])]


@pytest.mark.parametrize(("outcome", "attempts"), [(RETRY, 1), (UNAVAILABLE, 1), (UNSENT, 0), (RELEASED, 0)])
def test_only_what_may_be_the_mails_fault_uses_an_attempt(driver: Driver, outcome: Outcome, attempts: int) -> None:
    id = driver.enqueue()

    driver.attempt("transactional", outcome)

    assert driver.status(id).attempt == attempts
    assert driver.state(id) == State.QUEUED


def test_a_mail_has_so_many_attempts_and_no_more(driver: Driver) -> None:
    id = driver.enqueue()

    for _ in range(driver.settings.max_attempts):
        assert driver.state(id) == State.QUEUED
        driver.attempt("transactional", RETRY, delay=1)
        driver.later(1)
        driver.sweep()

    status = driver.status(id)
    assert (status.state, status.attempt, status.reason) == (State.EXHAUSTED, 8, "http_500")


def test_a_retry_never_waits_past_the_deadline(driver: Driver) -> None:
    id = driver.enqueue(expires_in=60)
    driver.attempt("transactional", RETRY, delay=HOUR)

    driver.later(60)
    driver.sweep()

    assert driver.state(id) == State.EXPIRED


def test_an_outcome_of_a_window_that_nobody_has_is_stale(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.claim(f"{batch}.0", owner="ann")

    settled = driver.settle("bob/1", {f"{batch}.0": [(0, REJECTED, 0.0)]})

    assert settled.stale == 1
    assert driver.counts(batch) == {"sending": 1}


def test_an_outcome_of_a_place_that_is_not_there_is_stale(driver: Driver) -> None:
    batch = driver.batch(1)

    assert driver.settle("ann/1", {f"{batch}.0": [(1, accepted(), 0.0)]}).stale == 1
    assert driver.evidence(f"{batch}.0.1") == 0
    assert driver.counts(batch) == {"queued": 1}


def queued(driver: Driver) -> None:
    pass


def waiting(driver: Driver) -> None:
    driver.attempt("transactional", RETRY)


def sending(driver: Driver) -> None:
    driver.claim("transactional")


def in_doubt(driver: Driver) -> None:
    driver.attempt("transactional", TIMEOUT)


def rejected(driver: Driver) -> None:
    driver.attempt("transactional", REJECTED)


def exhausted(driver: Driver) -> None:
    for _ in range(driver.settings.max_attempts):
        driver.attempt("transactional", RETRY, delay=1)
        driver.later(1)
        driver.sweep()


def expired(driver: Driver) -> None:
    driver.later(HOUR)
    driver.sweep()


def unresolved(driver: Driver) -> None:
    in_doubt(driver)
    driver.later(driver.settings.grace)
    driver.sweep()
    driver.attempt("transactional", REJECTED)


@pytest.mark.parametrize("become", [queued, waiting, sending, in_doubt, rejected, exhausted, expired, unresolved])
def test_proof_of_acceptance_settles_a_mail_from_every_state(driver: Driver, become: Callable[[Driver], None]) -> None:
    id = driver.enqueue()
    become(driver)
    assert driver.state(id) == {"waiting": "queued"}.get(become.__name__, become.__name__)

    driver.evidence(id)

    assert driver.state(id) == State.ACCEPTED
    assert driver.status(id).receipt == "receipt-of-22-letters."
    driver.later(HOUR)
    driver.sweep()
    assert driver.state(id) == State.ACCEPTED
    assert driver.claim("transactional")[1].verdict == "idle"


def test_proof_of_acceptance_settles_a_cancelled_mail_too(driver: Driver) -> None:
    id = driver.enqueue()
    driver.cancel(id)

    driver.evidence(id)

    assert driver.state(id) == State.ACCEPTED


@pytest.mark.parametrize("outcome", [REJECTED, RETRY, TIMEOUT, RELEASED])
def test_an_accepted_mail_stays_accepted(driver: Driver, outcome: Outcome) -> None:
    id = driver.enqueue()
    nonce, claimed = driver.claim("transactional")
    driver.evidence(id)

    driver.settle_all(nonce, claimed, outcome)

    assert driver.state(id) == State.ACCEPTED


def test_a_second_copy_is_counted_once(driver: Driver) -> None:
    id = driver.enqueue()
    nonce, claimed = driver.claim("transactional")
    driver.evidence(id, "receipt-of-first-copy.")

    for _ in range(3):
        driver.settle_all(nonce, claimed, accepted("receipt-of-second-one."))

    assert driver.stats()["extra_copies"] == 1
    assert driver.status(id).receipt == "receipt-of-first-copy."


@pytest.mark.parametrize("receipt", ["receipt-of-22-letters.", "a receipt that is longer than all that were ever seen"])
def test_the_same_acceptance_told_again_is_no_second_copy(driver: Driver, receipt: str) -> None:
    id = driver.enqueue()
    nonce, claimed = driver.claim("transactional")

    for _ in range(2):
        driver.settle_all(nonce, claimed, accepted(receipt))
    driver.evidence(id, receipt)
    driver.evidence(id, "")

    assert "extra_copies" not in driver.stats()
