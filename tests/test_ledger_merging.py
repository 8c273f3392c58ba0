"""Merged chunks: what is claimed of one at once goes in one request."""

from collections.abc import Callable, Iterator

import pytest

from postroom.names import State
from postroom.outcome import Kind, Outcome
from tests.ledger_driver import REJECTED, RELEASED, RETRY, TIMEOUT, UNAVAILABLE, Driver, accepted, limited

Paced = Callable[..., Driver]


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def places(driver: Driver, chunk: str, **how: int) -> list[int]:
    _, claimed = driver.claim(chunk, **how)
    return [place for _, mails in claimed.groups for place, _ in mails]


def test_a_claim_takes_all_of_it_whatever_the_window(driver: Driver) -> None:
    chunk = f"{driver.batch(1000, merged=True)}.0"

    assert places(driver, chunk, limit=32) == list(range(1000))
    assert driver.claim(chunk)[1].verdict == "idle"


def test_a_batch_is_finished_with_its_requests(driver: Driver) -> None:
    batch = driver.batch(1000, 500, merged=True)
    for chunk in (f"{batch}.0", f"{batch}.1000"):
        nonce, claimed = driver.claim(chunk)
        driver.settle(nonce, {chunk: [([place for place, _ in claimed.groups[0][1]], accepted(), 0.0)]})

    assert driver.counts(batch) == {"accepted": 1500}
    assert driver.status(f"{batch}.1000.499").receipt == "receipt-of-22-letters."
    assert driver.record(batch).final_at is not None


def test_one_request_may_end_differently_for_some_of_its_mails(driver: Driver) -> None:
    batch = driver.batch(5, merged=True)
    chunk = f"{batch}.0"
    nonce, _ = driver.claim(chunk)

    driver.settle(nonce, {chunk: [([1], REJECTED, 0.0), ([0, 2, 3, 4], RELEASED, 0.0)]})

    assert driver.counts(batch) == {"rejected": 1, "queued": 4}
    assert places(driver, chunk) == [0, 2, 3, 4]
    assert driver.status(f"{batch}.0.0").attempt == 1


def test_a_settle_that_is_said_again_counts_once(driver: Driver) -> None:
    batch = driver.batch(1000, merged=True)
    chunk = f"{batch}.0"
    nonce, _ = driver.claim(chunk)
    for _ in range(2):
        driver.settle(nonce, {chunk: [(list(range(999)), accepted(), 0.0)]})

    assert driver.counts(batch) == {"accepted": 999, "sending": 1}
    assert driver.settle(nonce, {chunk: [([999, 0], RELEASED, 0.0)]}).stale == 1
    assert driver.counts(batch) == {"accepted": 999, "queued": 1}


def test_a_probe_risks_one_mail(driver: Driver) -> None:
    chunk = f"{driver.batch(50, merged=True)}.0"
    for _ in range(5):
        driver.attempt("transactional" if driver.enqueue() else "", UNAVAILABLE)
    driver.later(60)

    assert places(driver, chunk) == [0]


def test_the_account_hears_of_a_request_once(driver: Driver) -> None:
    """Five failed requests in a row pause it, not one with five mails."""
    chunk = f"{driver.batch(*[50] * 5, merged=True)}"
    for number in range(5):
        assert driver.run(driver.ledger.account("default")).get("kind") is None
        nonce, claimed = driver.claim(f"{chunk}.{50 * number}")
        rows = [place for place, _ in claimed.groups[0][1]]
        driver.settle(nonce, {f"{chunk}.{50 * number}": [(rows, UNAVAILABLE, 1.0)]})

    assert driver.run(driver.ledger.account("default"))["kind"] == "outage"


def test_a_429_gives_all_of_it_back(driver: Driver) -> None:
    batch = driver.batch(50, merged=True)
    chunk = f"{batch}.0"
    nonce, _ = driver.claim(chunk)
    driver.settle(nonce, {chunk: [(list(range(50)), limited(30), 0.0)]})

    assert driver.claim(chunk)[1].verdict == "wait"
    driver.later(30)
    assert places(driver, chunk) == list(range(50))


def test_a_request_whose_worker_died_is_doubted_whole_and_sent_again_whole_and_alone(driver: Driver) -> None:
    batch = driver.batch(1000, merged=True)
    chunk = f"{batch}.0"
    driver.watched()
    nonce, _ = driver.claim(chunk, owner="victim")
    driver.settle(nonce, {chunk: [(list(range(900)), accepted(), 0.0)]})
    driver.sweeps(10)
    assert driver.counts(batch) == {"accepted": 900, "in_doubt": 100}

    driver.sweeps(300)
    assert places(driver, chunk, owner="victim") == list(range(900, 1000))

    driver.sweeps(10)
    driver.sweeps(300)
    assert driver.counts(batch) == {"accepted": 900, "unresolved": 100}
    assert driver.record(batch).resends == 100


def test_what_comes_due_by_and_by_goes_in_one_request(driver: Driver) -> None:
    batch = driver.batch(4, merged=True)
    chunk = f"{batch}.0"
    nonce, _ = driver.claim(chunk)
    driver.settle(nonce, {chunk: [([0, 1], RETRY, 5.0), ([2], TIMEOUT, 0.0), ([3], RETRY, 7.0)]})
    driver.sweeps(8)

    assert places(driver, chunk) == [0, 1, 3]


def test_a_request_is_one_mail_to_the_pace(paced: Paced) -> None:
    driver = paced(rate_bulk="20/s")
    batch = driver.batch(*[1000] * 4, merged=True)

    assert [len(places(driver, f"{batch}.{first}")) for first in (0, 1000, 2000, 3000)] == [1000, 1000, 0, 0]


def test_a_request_has_no_more_recipients_than_the_pace_allows(paced: Paced) -> None:
    driver = paced(rate_bulk="500/s", rate_unit="recipients")
    chunk = f"{driver.batch(1000, merged=True)}.0"

    assert places(driver, chunk) == list(range(50))
    assert driver.claim(chunk)[1].verdict == "wait"
    driver.later(0.1)
    assert places(driver, chunk) == list(range(50, 100))


def test_a_retry_by_hand_goes_by_itself(driver: Driver) -> None:
    batch = driver.batch(3, merged=True)
    chunk = f"{batch}.0"
    nonce, _ = driver.claim(chunk)
    driver.settle(nonce, {chunk: [([0, 2], accepted(), 0.0), ([1], REJECTED, 0.0)]})

    assert driver.retry(f"{batch}.0.1") == ("queued", "rejected")
    assert places(driver, chunk) == [1]


def test_cancelled_mails_are_left_out(driver: Driver) -> None:
    batch = driver.batch(3, merged=True)
    driver.cancel(f"{batch}.0.1")

    assert places(driver, f"{batch}.0") == [0, 2]
    assert driver.state(f"{batch}.0.1") is State.CANCELLED


def test_a_late_outcome_heals_all_of_a_request(driver: Driver) -> None:
    batch = driver.batch(20, merged=True)
    chunk = f"{batch}.0"
    driver.watched()
    nonce, _ = driver.claim(chunk, owner="slow")
    driver.sweeps(10)
    assert driver.counts(batch) == {"in_doubt": 20}

    driver.settle(nonce, {chunk: [(list(range(20)), Outcome(Kind.RETRY, "http_500"), 1.0)]})

    assert driver.counts(batch) == {"queued": 20}
    assert driver.status(f"{batch}.0.7").doubts == 0
