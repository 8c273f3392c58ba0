"""Reporting: a batch's report is recorded once, when every mail of it is finished, and is of that moment."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import DAY, HOUR, REJECTED, TIMEOUT, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def reported(driver: Driver, batch: str, by: str = "body") -> bool:
    """Whether this call recorded the report."""
    return driver.run(driver.ledger.record_report(batch, by))


def test_a_report_is_recorded_once(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", accepted())

    assert reported(driver, batch)
    assert not reported(driver, batch)

    driver.sweep()
    driver.sweeps(60)
    assert driver.record(batch).reported_by == "body"
    assert driver.stats()["reported_by_body"] == 1


def test_a_batch_that_is_not_finished_is_not_reported(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", accepted(), limit=1)

    assert not reported(driver, batch)
    assert driver.record(batch).final_at is None


def test_a_caretaker_reports_what_nobody_has_for_ten_seconds(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.attempt(f"{batch}.0", accepted())

    driver.later(9.999)
    driver.sweep()
    assert driver.record(batch).reported_at is None

    driver.later(1)
    driver.sweep()
    assert driver.record(batch).reported_by == "caretaker"


def test_an_empty_batch_is_reported_with_zeros(driver: Driver) -> None:
    batch = driver.batch()
    assert driver.wake_ups("bulk") == [batch]  # a chord without a header is its body

    assert reported(driver, batch)

    assert driver.report(batch) == {}
    assert driver.failures(batch) == []


def test_a_report_counts_every_mail_and_names_those_that_failed(driver: Driver) -> None:
    batch = driver.batch(2, 2)
    driver.attempt(f"{batch}.0", accepted(), limit=1)
    driver.attempt(f"{batch}.0", REJECTED, limit=1)
    driver.cancel(f"{batch}.2.1")
    driver.attempt(f"{batch}.2", accepted())

    reported(driver, batch)

    assert driver.report(batch) == {"accepted": 2, "rejected": 1, "cancelled": 1}
    assert [(failure.row, failure.state, failure.reason) for failure in driver.failures(batch)] == [
        (1, State.REJECTED, "http_400"),
        (3, State.CANCELLED, "cancelled"),
    ]


def test_failures_come_in_pages_of_20_chunks(driver: Driver) -> None:
    batch = driver.batch(*[1] * 41)
    for row in range(41):
        driver.attempt(f"{batch}.{row}", REJECTED)

    pages = [driver.run(driver.ledger.failed(batch, start)) for start in (0, 20, 40)]

    assert [len(page.failures) for page in pages] == [20, 20, 1]
    assert [page.next for page in pages] == [20, 40, None]
    assert [failure.row for failure in driver.failures(batch)] == list(range(41))


def test_what_comes_later_shows_in_the_status_and_not_in_the_report(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", REJECTED)
    reported(driver, batch)
    before = driver.report(batch), driver.failures(batch)
    assert driver.record(batch).changed_since is None

    driver.later(60)
    driver.evidence(f"{batch}.0.1")

    assert driver.state(f"{batch}.0.1") == State.ACCEPTED
    assert (driver.report(batch), driver.failures(batch)) == before
    assert driver.record(batch).changed_since == driver.now_ms


def test_only_the_first_change_dates_the_report(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", REJECTED)
    reported(driver, batch)
    driver.evidence(f"{batch}.0.0")
    first = driver.now_ms

    driver.later(60)
    driver.evidence(f"{batch}.0.1")

    assert driver.record(batch).changed_since == first


def test_what_came_before_the_report_is_in_it(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", REJECTED, limit=1)
    driver.evidence(f"{batch}.0.0")
    driver.attempt(f"{batch}.0", accepted())

    reported(driver, batch)

    assert driver.report(batch) == {"accepted": 2}
    assert driver.failures(batch) == []


def test_a_window_that_ends_after_the_report_changes_nothing_of_it(driver: Driver) -> None:
    batch = driver.batch(1)
    nonce, claimed = driver.claim(f"{batch}.0")
    driver.evidence(f"{batch}.0.0")
    reported(driver, batch)

    driver.settle_all(nonce, claimed, TIMEOUT)

    assert driver.record(batch).changed_since is None


def test_evidence_after_the_batch_has_gone_brings_nothing_back(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.attempt(f"{batch}.0", REJECTED)
    driver.redis.delete(f"postroom:batch:{batch}")  # as Redis does, a little before it drops the chunks

    driver.evidence(f"{batch}.0.0")

    assert driver.redis.exists(f"postroom:batch:{batch}") == 0
    assert driver.state(f"{batch}.0.0") == State.ACCEPTED


def test_a_follow_up_waits_until_it_is_published(driver: Driver) -> None:
    batch = driver.batch(1, then="signature")
    driver.attempt(f"{batch}.0", accepted())
    assert [sweep.thens for sweep in driver.sweeps(5)] == [[]] * 5
    reported(driver, batch)

    thens = [sweep.thens for sweep in driver.sweeps(25)]
    assert [second for second, found in enumerate(thens, 1) if found] == [10, 20]
    assert thens[9] == [(batch, "signature")]

    assert driver.run(driver.ledger.then_published(batch))
    assert [sweep.thens for sweep in driver.sweeps(25)] == [[]] * 25


def test_a_caretaker_that_reports_has_the_follow_up_published_at_once(driver: Driver) -> None:
    batch = driver.batch(1, then="signature")
    driver.attempt(f"{batch}.0", accepted())

    driver.later(10)

    assert driver.sweep().thens == [(batch, "signature")]


def test_a_follow_up_that_nobody_could_publish_is_forgotten_with_its_batch(driver: Driver) -> None:
    batch = driver.batch(1, then="signature")
    driver.attempt(f"{batch}.0", accepted())
    reported(driver, batch)
    driver.redis.delete(f"postroom:batch:{batch}")

    assert [sweep.thens for sweep in driver.sweeps(20)] == [[]] * 20
    assert driver.redis.zcard("postroom:then") == 0


def test_a_batch_is_kept_for_a_week_after_its_deadline_and_its_mails_a_little_longer(driver: Driver) -> None:
    batch = driver.batch(1, expires_in=HOUR)
    driver.attempt(f"{batch}.0", REJECTED)

    ends = driver.now_ms + round((HOUR + 7 * DAY) * 1000)
    assert driver.redis.pexpiretime(f"postroom:batch:{batch}") == ends
    assert driver.redis.pexpiretime(f"postroom:batch:{batch}:chunks") == ends
    for kind in ("chunk", "records", "notes"):
        assert driver.redis.pexpiretime(f"postroom:{kind}:{batch}.0") == ends + 3_600_000
