"""Trimming: content goes when it is not needed, outcomes a week later, and nothing goes before it is finished."""

from collections.abc import Iterator

import pytest

from tests.ledger_driver import DAY, REJECTED, RETRY, TIMEOUT, Driver, accepted

#: Keys that are there for good, whatever mail there is; none grows but by work in hand.
LASTING = {
    "postroom:account:default",
    "postroom:lane:bulk",
    "postroom:lane:transactional",
    "postroom:owners",
    "postroom:dead",
    "postroom:stats",
    "postroom:step",
    "postroom:swept_at",
    "postroom:judge_from",
    "postroom:pace:account:default",
    "postroom:pace:lane:bulk",
    "postroom:pace:lane:transactional",
}


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def lasting(driver: Driver) -> set[str]:
    """The keys that Redis will not drop."""
    return {key for key in driver.redis.keys("*") if driver.redis.ttl(key) == -1}


def test_the_content_of_accepted_mail_goes_at_once(driver: Driver) -> None:
    single, batch = driver.enqueue(), driver.batch(2)
    driver.attempt("transactional", accepted())
    driver.attempt(f"{batch}.0", accepted(), limit=1)
    assert driver.redis.exists(f"postroom:payload:{batch}.0")

    driver.attempt(f"{batch}.0", accepted())

    assert driver.redis.keys("postroom:payload:*") == []
    assert driver.run(driver.ledger.payload(single)) is None


def test_the_content_of_failed_mail_is_kept_for_a_week(driver: Driver) -> None:
    single, batch = driver.enqueue(), driver.batch(1)

    driver.attempt("transactional", REJECTED)
    driver.attempt(f"{batch}.0", REJECTED)

    for chunk in (single, f"{batch}.0"):
        assert driver.redis.ttl(f"postroom:payload:{chunk}") == pytest.approx(7 * DAY, abs=60)


def test_a_chunk_with_failed_mail_is_to_be_trimmed_by_whoever_finishes_it(driver: Driver) -> None:
    batch = driver.batch(2)
    nonce, _ = driver.claim(f"{batch}.0")

    settled = driver.settle(nonce, {f"{batch}.0": [(0, accepted(), 0.0), (1, REJECTED, 0.0)]})

    assert settled.trims == [f"{batch}.0"]
    assert driver.run(driver.ledger.trim(f"{batch}.0", "-k", b"trimmed"))
    assert driver.run(driver.ledger.payload(f"{batch}.0")) == b"trimmed"
    assert driver.redis.ttl(f"postroom:payload:{batch}.0") == pytest.approx(7 * DAY, abs=60)


def test_a_chunk_that_has_changed_meanwhile_is_not_trimmed(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", REJECTED)
    driver.evidence(f"{batch}.0.0")

    assert not driver.run(driver.ledger.trim(f"{batch}.0", "kk", b"trimmed"))

    assert driver.run(driver.ledger.payload(f"{batch}.0")) == b"payload"
    assert driver.run(driver.ledger.trim(f"{batch}.0", "-k", b"trimmed"))


def test_a_window_that_ends_later_calls_for_no_trimming(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", REJECTED, limit=1)
    nonce, claimed = driver.claim(f"{batch}.0")
    driver.evidence(f"{batch}.0.1")
    driver.run(driver.ledger.trim(f"{batch}.0", "k-", b"trimmed"))

    assert driver.settle_all(nonce, claimed, TIMEOUT).trims == []


def test_a_caretaker_is_told_of_what_nobody_has_trimmed(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.attempt(f"{batch}.0", REJECTED)
    driver.sweep()

    assert driver.sweeps(1)[0].trims == [f"{batch}.0"]

    driver.run(driver.ledger.trim(f"{batch}.0", "k", b""))
    assert driver.sweeps(1)[0].trims == []
    assert driver.run(driver.ledger.payload(f"{batch}.0")) is None


def test_evidence_for_the_last_failed_mail_drops_the_content(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.attempt(f"{batch}.0", REJECTED)

    driver.evidence(f"{batch}.0.0")

    assert driver.run(driver.ledger.payload(f"{batch}.0")) is None
    driver.sweep()
    assert driver.sweeps(1)[0].trims == []


def test_the_content_of_a_chunk_that_has_gone_goes_too(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.attempt(f"{batch}.0", REJECTED)
    driver.redis.delete(f"postroom:chunk:{batch}.0")

    assert driver.run(driver.ledger.trim(f"{batch}.0", "k", b"trimmed"))

    assert driver.run(driver.ledger.payload(f"{batch}.0")) is None


def test_nothing_that_is_not_finished_ever_goes(driver: Driver) -> None:
    single = driver.enqueue(key="welcome")
    queued, waiting, sending, in_doubt, partly = (driver.batch(2, key=f"key{number}") for number in range(5))
    unsealed = driver.open_batch(key="unsealed").id
    driver.store(unsealed, 0, 2)
    driver.attempt(f"{waiting}.0", RETRY)
    driver.claim(f"{sending}.0")
    driver.attempt(f"{in_doubt}.0", TIMEOUT)
    driver.attempt(f"{partly}.0", REJECTED, limit=1)

    for batch in (queued, waiting, sending, in_doubt, partly, unsealed):
        keys = driver.redis.keys(f"postroom:*{batch}*")
        assert len(keys) >= 4
        assert set(keys) <= lasting(driver)
    assert set(driver.redis.keys(f"postroom:*{single}*")) <= lasting(driver)
    assert set(driver.redis.keys("postroom:key:*")) <= lasting(driver)


def test_of_finished_mail_nothing_stays_for_ever(driver: Driver) -> None:
    for key in ("accepted", "rejected", "cancelled"):
        driver.enqueue(key=key)
    driver.attempt("transactional", accepted(), limit=1)
    driver.attempt("transactional", REJECTED, limit=1)
    driver.cancel(driver.take(key="cancelled").id)
    driver.claim("transactional")
    batch = driver.batch(3, 2, key="newsletter", then="signature")
    driver.attempt(f"{batch}.0", accepted("a receipt that is longer than all that were ever seen"), limit=1)
    driver.attempt(f"{batch}.0", TIMEOUT, limit=1)
    driver.cancel(f"{batch}.0.2")
    driver.cancel(f"{batch}.3")
    driver.later(driver.settings.grace)
    driver.sweep()
    driver.attempt(f"{batch}.0", REJECTED)
    driver.run(driver.ledger.record_report(batch, "body"))
    driver.run(driver.ledger.then_published(batch))
    driver.evidence(f"{batch}.0.1", "receipt-of-first-copy.")
    driver.evidence(f"{batch}.0.1", "receipt-of-second-one.")
    for chunk, kept in ((f"{batch}.0", "---"), (f"{batch}.3", "--")):
        driver.run(driver.ledger.trim(chunk, kept, b"trimmed"))
    driver.sweeps(1)
    driver.redis.delete("bulk", "transactional")

    assert lasting(driver) <= LASTING
