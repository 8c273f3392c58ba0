"""Pausing: when SendGrid wants no mail, or cannot be reached, the whole fleet waits, and tries one mail at a time."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from postroom.outcome import Outcome
from tests.ledger_driver import (
    HOUR,
    REFUSED,
    REJECTED,
    RELEASED,
    TIMEOUT,
    UNAVAILABLE,
    UNSENT,
    Driver,
    accepted,
    limited,
)


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def waits(driver: Driver, source: str) -> float:
    """How many seconds a claim is told to wait; 0 if it gets something, which is given back."""
    nonce, claimed = driver.claim(source, owner="asks")
    if claimed.verdict == "wait":
        return claimed.wait / 1000
    driver.settle_all(nonce, claimed, RELEASED)
    return 0


def sent_at_once(driver: Driver, source: str) -> int:
    """How many mails a claim gets; they are given back."""
    nonce, claimed = driver.claim(source, owner="asks")
    driver.settle_all(nonce, claimed, RELEASED)
    return sum(len(mails) for _, mails in claimed.groups)


def test_a_429_holds_everybody_until_the_time_that_sendgrid_named(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.enqueue()
    driver.attempt("transactional", limited(30))

    assert driver.claim(f"{batch}.0", owner="bob")[1].reason == "http_429"
    driver.later(10)
    assert waits(driver, f"{batch}.0") == 20
    assert waits(driver, "transactional") == 20

    driver.later(20)
    assert sent_at_once(driver, f"{batch}.0") == 4


def test_a_429_uses_no_attempt(driver: Driver) -> None:
    id = driver.enqueue()

    for _ in range(20):
        driver.attempt("transactional", limited(30))
        driver.later(30)

    assert driver.status(id).attempt == 0
    assert driver.state(id) == State.QUEUED


def test_of_several_limits_the_longest_holds(driver: Driver) -> None:
    batch = driver.batch(2)
    nonce, _ = driver.claim(f"{batch}.0")

    driver.settle(nonce, {f"{batch}.0": [(0, limited(60), 0.0), (1, limited(30), 0.0)]})

    assert waits(driver, f"{batch}.0") == 60


def test_a_shorter_limit_does_not_end_a_longer_one(driver: Driver) -> None:
    batch = driver.batch(2)
    one, _ = driver.claim(f"{batch}.0", limit=1)
    other, _ = driver.claim(f"{batch}.0", limit=1)
    driver.settle(one, {f"{batch}.0": [(0, limited(60), 0.0)]})
    driver.settle(other, {f"{batch}.0": [(1, limited(30), 0.0)]})

    assert waits(driver, f"{batch}.0") == 60


def test_a_429_without_a_time_holds_for_twice_as_long_each_time(driver: Driver) -> None:
    driver.enqueue()

    pauses = []
    for _ in range(8):
        driver.attempt("transactional", limited(), delay=500)
        pauses.append(waits(driver, "transactional"))
        driver.later(pauses[-1])

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_many_429s_at_once_are_one_reason_to_wait(driver: Driver) -> None:
    batch = driver.batch(8)
    windows = [driver.claim(f"{batch}.0", limit=1) for _ in range(8)]

    for nonce, claimed in windows:
        driver.settle_all(nonce, claimed, limited())

    assert waits(driver, f"{batch}.0") == 1


def test_a_mail_that_goes_well_after_a_limit_ends_it(driver: Driver) -> None:
    driver.enqueue(), driver.enqueue()
    driver.attempt("transactional", limited(), limit=1)
    driver.later(1)
    driver.attempt("transactional", accepted(), limit=1)

    driver.attempt("transactional", limited(), limit=1)

    assert waits(driver, "transactional") == 1


def test_a_refused_account_is_tried_with_one_mail_at_a_time(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.attempt(f"{batch}.0", REFUSED, limit=2)
    assert waits(driver, f"{batch}.0") == 1
    driver.later(1)

    _, probe = driver.claim(f"{batch}.0", owner="ann")

    assert probe.groups == [(f"{batch}.0", [(0, 1)])]
    assert waits(driver, f"{batch}.0") == 40  # as long as the probe may take
    assert driver.counts(batch) == {"queued": 3, "sending": 1}


def test_probes_are_1_to_60_seconds_apart(driver: Driver) -> None:
    driver.enqueue()

    pauses = []
    for _ in range(8):
        driver.attempt("transactional", REFUSED)
        pauses.append(waits(driver, "transactional"))
        driver.later(pauses[-1])

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("outcome", [accepted(), REJECTED])
def test_a_probe_that_goes_well_ends_the_pause(driver: Driver, outcome: Outcome) -> None:
    batch = driver.batch(4)
    driver.attempt(f"{batch}.0", REFUSED)
    driver.later(1)

    driver.attempt(f"{batch}.0", outcome)

    assert sent_at_once(driver, f"{batch}.0") == 3
    assert driver.run(driver.ledger.account("default")) == {}


def test_a_probe_in_doubt_is_not_followed_by_the_next_at_once(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.attempt(f"{batch}.0", REFUSED)
    driver.later(1)

    driver.attempt(f"{batch}.0", TIMEOUT)

    assert waits(driver, f"{batch}.0") == 2


def test_a_probe_that_was_not_started_makes_way_for_another(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.attempt(f"{batch}.0", REFUSED)
    driver.later(1)

    driver.attempt(f"{batch}.0", RELEASED)

    assert sent_at_once(driver, f"{batch}.0") == 1


def test_the_probe_of_a_dead_worker_makes_way_when_its_time_is_over(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.attempt(f"{batch}.0", REFUSED)
    driver.later(1)
    driver.claim(f"{batch}.0", owner="victim")

    driver.later(39.999)
    assert waits(driver, f"{batch}.0") == 0.001
    driver.later(0.001)
    assert sent_at_once(driver, f"{batch}.0") == 1


def test_what_was_on_its_way_before_the_pause_does_not_end_it(driver: Driver) -> None:
    batch = driver.batch(4)
    earlier, claimed = driver.claim(f"{batch}.0", limit=1)
    driver.attempt(f"{batch}.0", REFUSED, limit=1)

    driver.settle_all(earlier, claimed, accepted())

    assert waits(driver, f"{batch}.0") == 1


@pytest.mark.parametrize("outcome", [UNSENT, UNAVAILABLE])
def test_five_failures_in_a_row_are_an_outage(driver: Driver, outcome: Outcome) -> None:
    batch = driver.batch(6)
    for _ in range(4):
        driver.attempt(f"{batch}.0", outcome, limit=1)
    assert waits(driver, f"{batch}.0") == 0

    driver.attempt(f"{batch}.0", outcome, limit=1)

    _, claimed = driver.claim(f"{batch}.0")
    assert (claimed.verdict, claimed.wait, claimed.reason) == ("wait", 1000, outcome.reason)
    driver.later(1)
    assert sent_at_once(driver, f"{batch}.0") == 1


def test_failures_of_all_workers_and_lanes_count_together(driver: Driver) -> None:
    batch = driver.batch(4)
    for _ in range(3):
        driver.enqueue()

    driver.attempt(f"{batch}.0", UNSENT, limit=3, owner="ann")
    driver.attempt("transactional", UNSENT, limit=2, owner="bob")

    assert waits(driver, "transactional") == 1


def test_one_mail_that_goes_well_ends_the_row(driver: Driver) -> None:
    batch = driver.batch(10)
    driver.attempt(f"{batch}.0", UNSENT, limit=4)
    driver.attempt(f"{batch}.0", accepted(), limit=1)

    driver.attempt(f"{batch}.0", UNSENT, limit=4)

    assert waits(driver, f"{batch}.0") == 0


def test_evidence_of_earlier_mail_says_nothing_of_now(driver: Driver) -> None:
    batch = driver.batch(10)
    driver.attempt(f"{batch}.0", TIMEOUT, limit=1)
    driver.attempt(f"{batch}.0", UNSENT, limit=4)
    driver.evidence(f"{batch}.0.0")

    driver.attempt(f"{batch}.0", UNSENT, limit=1)

    assert waits(driver, f"{batch}.0") == 1


def test_an_outage_burns_no_attempts(driver: Driver) -> None:
    batch = driver.batch(5, expires_in=100 * HOUR)
    driver.attempt(f"{batch}.0", UNAVAILABLE, limit=5, delay=1)
    assert [driver.status(f"{batch}.0.{row}").attempt for row in range(5)] == [1] * 5

    for _ in range(50):
        driver.later(60)
        driver.sweep()
        driver.attempt(f"{batch}.0", UNAVAILABLE, delay=1)

    assert [driver.status(f"{batch}.0.{row}").attempt for row in range(5)] == [1] * 5
    assert driver.counts(batch) == {"queued": 5}


def test_mail_expires_during_a_pause_too(driver: Driver) -> None:
    batch = driver.batch(2, expires_in=60)
    driver.attempt(f"{batch}.0", limited(600))

    driver.later(60)

    assert driver.claim(f"{batch}.0")[1].verdict == "finished"
    assert driver.counts(batch) == {"expired": 2}


def test_lanes_with_a_key_of_their_own_do_not_wait_for_each_other(redis_url: str) -> None:
    with Driver(redis_url, account="bulk") as bulk, Driver(redis_url, account="transactional") as transactional:
        bulk.enqueue(lane="bulk")
        transactional.enqueue()
        bulk.attempt("bulk", limited(60))

        assert waits(bulk, "bulk") == 60
        assert sent_at_once(transactional, "transactional") == 1


def test_a_settle_tells_its_worker_of_the_pause(driver: Driver) -> None:
    driver.enqueue()
    nonce, claimed = driver.claim("transactional")
    assert driver.settle_all(nonce, claimed, REFUSED).paused == "http_401"

    driver.later(1)
    nonce, claimed = driver.claim("transactional")
    assert driver.settle_all(nonce, claimed, limited(1)).paused == "http_401"  # a probe is still due

    driver.later(2)
    nonce, claimed = driver.claim("transactional")
    assert driver.settle_all(nonce, claimed, accepted()).paused is None
