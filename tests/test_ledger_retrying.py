"""Retrying: what ended badly is found, queued again under its id, and knows how it ended before."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import DAY, HOUR, REJECTED, RETRY, TIMEOUT, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def left_unresolved(driver: Driver, source: str, **arguments: int) -> None:
    """Have a mail of a chunk or lane end unresolved, under hold."""
    driver.attempt(source, TIMEOUT, **arguments)
    driver.later(driver.settings.grace)
    driver.sweep()


def test_dead_letters_are_found_newest_first_and_others_are_not(driver: Driver) -> None:
    batch = driver.batch(3)
    driver.attempt(f"{batch}.0", REJECTED, limit=1)
    driver.attempt(f"{batch}.0", accepted(), limit=1)
    driver.later(1)
    expired = driver.enqueue(expires_in=10)
    held = driver.enqueue(policy="hold", lane="bulk")
    cancelled = driver.enqueue()
    driver.cancel(cancelled)
    driver.later(10)
    driver.sweep()
    left_unresolved(driver, "bulk")

    letters = driver.dead_letters()

    assert [(letter.id, letter.state, letter.reason) for letter in letters] == [
        (held, State.UNRESOLVED, "timeout"),
        (expired, State.EXPIRED, "expired"),
        (f"{batch}.0.0", State.REJECTED, "http_400"),
    ]
    assert letters[2].errors == REJECTED.errors
    assert all(letter.has_content for letter in letters)
    assert [letter.id for letter in driver.dead_letters(batch)] == [f"{batch}.0.0"]


def test_many_dead_letters_of_one_moment_are_all_found_once(driver: Driver) -> None:
    singles = [driver.enqueue(expires_in=10) for _ in range(70)]
    driver.later(10)
    driver.sweep()
    for _ in range(3):
        driver.sweep(again=True)

    assert sorted(letter.id for letter in driver.dead_letters()) == sorted(singles)


def test_a_retried_single_is_sent_under_its_id_and_keeps_its_history(driver: Driver) -> None:
    id = driver.enqueue(payload=b"content", key="welcome")
    driver.attempt("transactional", REJECTED)
    driver.take_wake_up("transactional")
    driver.later(60)

    assert driver.retry(id) == ("queued", "rejected")

    assert driver.take_wake_up("transactional") is not None
    assert driver.state(id) is State.QUEUED
    assert driver.dead_letters() == []
    assert {driver.redis.ttl(f"postroom:{kind}:{id}") for kind in ("chunk", "records", "notes", "payload")} == {-1}
    assert driver.redis.ttl("postroom:key:welcome") == -1
    nonce, claimed = driver.claim("transactional")
    assert (claimed.groups, claimed.payloads) == ([(id, [(0, 2)])], [b"content"])
    driver.settle_all(nonce, claimed, accepted())
    status = driver.status(id)
    assert (status.state, status.attempt, status.reason) == (State.ACCEPTED, 2, None)
    assert [(end.state, end.reason) for end in status.past] == [(State.REJECTED, "http_400")]
    assert driver.redis.ttl(f"postroom:chunk:{id}") > 0
    assert driver.redis.ttl("postroom:key:welcome") > 0


def test_a_retried_mail_of_a_batch_shows_beside_its_report(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.take_wake_up("bulk")
    driver.attempt(f"{batch}.0", REJECTED, limit=1)
    driver.attempt(f"{batch}.0", accepted(), limit=1)
    driver.run(driver.ledger.record_report(batch, "body"))
    driver.run(driver.ledger.trim(f"{batch}.0", "k-", b"trimmed"))
    driver.later(60)

    assert driver.retry(f"{batch}.0.0") == ("queued", "rejected")

    assert driver.take_wake_up("bulk") == f"{batch}.0"
    assert driver.counts(batch) == {"queued": 1, "accepted": 1}
    driver.attempt(f"{batch}.0", accepted())
    assert driver.counts(batch) == {"accepted": 2}
    assert driver.report(batch) == {"accepted": 1, "rejected": 1}
    assert driver.record(batch).changed_since is not None
    failures = [(failure.row, failure.state, failure.reason, failure.errors) for failure in driver.failures(batch)]
    assert failures == [(0, State.REJECTED, "http_400", REJECTED.errors)]


def test_a_batch_that_is_final_is_reported_before_a_mail_of_it_is_retried(driver: Driver) -> None:
    batch = driver.batch(1, then="signature")
    driver.attempt(f"{batch}.0", REJECTED)

    driver.retry(f"{batch}.0.0")

    assert driver.report(batch) == {"rejected": 1}
    driver.attempt(f"{batch}.0", accepted())
    assert not driver.run(driver.ledger.record_report(batch, "body"))
    assert [swept.thens for swept in driver.sweeps(11) if swept.thens] == [[(batch, "signature")]]


def test_a_retried_mail_has_all_its_attempts_again(driver: Driver) -> None:
    id = driver.enqueue()
    for _ in range(driver.settings.max_attempts):
        driver.attempt("transactional", RETRY)
        driver.later(5)
        driver.sweep()
    assert driver.state(id) is State.EXHAUSTED

    driver.retry(id)

    for _ in range(driver.settings.max_attempts):
        assert driver.state(id) is State.QUEUED
        driver.attempt("transactional", RETRY)
        driver.later(5)
        driver.sweep()
    assert driver.state(id) is State.EXHAUSTED
    assert driver.status(id).attempt == 2 * driver.settings.max_attempts


def test_retried_again_and_again_a_mail_still_ends(driver: Driver) -> None:
    id = driver.enqueue(expires_in=30 * DAY)
    for _ in range(40):
        for _ in range(driver.settings.max_attempts):
            driver.attempt("transactional", RETRY, delay=0.001)
            driver.later(1)
            driver.sweep()
        assert driver.retry(id)[0] == "queued", driver.status(id)
    assert len(driver.status(id).past) == 5


def test_an_expired_mail_gets_time_once_its_chunk_is_through(driver: Driver) -> None:
    batch = driver.batch(2, expires_in=HOUR)
    driver.claim(f"{batch}.0", limit=1)
    driver.later(HOUR)
    driver.sweep()
    assert driver.state(f"{batch}.0.1") is State.EXPIRED

    assert driver.retry(f"{batch}.0.1") == ("busy", "expired")

    driver.evidence(f"{batch}.0.0")
    assert driver.retry(f"{batch}.0.1", expires_in=60) == ("queued", "expired")
    driver.sweeps(50)
    assert driver.state(f"{batch}.0.1") is State.QUEUED
    driver.sweeps(10)
    assert driver.state(f"{batch}.0.1") is State.EXPIRED


def test_the_deadline_of_others_is_not_moved(driver: Driver) -> None:
    batch = driver.batch(2, expires_in=HOUR)
    driver.attempt(f"{batch}.0", REJECTED, limit=1)

    assert driver.retry(f"{batch}.0.0", expires_in=DAY) == ("queued", "rejected")

    driver.later(HOUR)
    assert driver.claim(f"{batch}.0")[1].verdict == "finished"
    assert driver.counts(batch) == {"expired": 2}


def test_an_unresolved_mail_is_retried_only_by_who_accepts_a_second_copy(driver: Driver) -> None:
    id = driver.enqueue(policy="hold")
    left_unresolved(driver, "transactional")

    assert driver.retry(id) == ("unresolved", "unresolved")
    assert driver.state(id) is State.UNRESOLVED
    assert driver.retry(id, may_repeat=True) == ("queued", "unresolved")

    driver.attempt("transactional", REJECTED)
    assert driver.state(id) is State.UNRESOLVED, "nobody knows of the first copy"


def test_what_is_known_not_to_be_accepted_is_sent_at_once(driver: Driver) -> None:
    unresolved = driver.enqueue(policy="hold", lane="bulk")
    left_unresolved(driver, "bulk")
    in_doubt = driver.enqueue(policy="hold")
    driver.attempt("transactional", TIMEOUT)

    assert driver.retry(in_doubt) == ("not_dead", "in_doubt")
    assert driver.retry(in_doubt, not_accepted=True) == ("queued", "in_doubt")
    assert driver.retry(unresolved, not_accepted=True) == ("queued", "unresolved")

    assert driver.redis.zcard("postroom:doubts") == 0
    for id, lane in ((in_doubt, "transactional"), (unresolved, "bulk")):
        driver.attempt(lane, REJECTED)
        assert driver.state(id) is State.REJECTED, "it was never accepted"


def test_a_worker_that_was_given_up_says_nothing_of_a_retried_mail(driver: Driver) -> None:
    id = driver.enqueue(policy="hold")
    driver.watched()
    nonce, claimed = driver.claim("transactional", owner="ann")
    driver.sweeps(6)
    assert driver.state(id) is State.IN_DOUBT
    driver.retry(id, not_accepted=True)
    driver.claim("transactional", owner="bob")

    driver.settle_all(nonce, claimed, REJECTED)

    assert driver.state(id) is State.SENDING


@pytest.mark.parametrize("state", ["queued", "sending", "accepted", "cancelled"])
def test_what_is_no_dead_letter_is_neither_retried_nor_purged(driver: Driver, state: str) -> None:
    id = driver.enqueue()
    if state == "cancelled":
        driver.cancel(id)
    elif state == "sending":
        driver.claim("transactional")
    elif state == "accepted":
        driver.attempt("transactional", accepted())

    assert driver.retry(id, may_repeat=True) == ("not_dead", state)
    assert driver.run(driver.ledger.purge(id)) == ("not_dead", state)
    assert driver.state(id) == state


def test_without_its_content_a_mail_is_not_retried(driver: Driver) -> None:
    id = driver.enqueue()
    driver.attempt("transactional", REJECTED)
    driver.redis.delete(f"postroom:payload:{id}")

    assert driver.retry(id) == ("content_gone", "rejected")
    assert [letter.has_content for letter in driver.dead_letters()] == [False]


def test_unknown_ids_are_unknown(driver: Driver) -> None:
    batch = driver.batch(1)

    for id in ("unknown", f"{batch}.0.1", f"{batch}.7.0"):
        assert driver.retry(id) == ("unknown", "")
        assert driver.run(driver.ledger.purge(id)) == ("unknown", "")


def test_purging_deletes_content_and_errors_and_keeps_the_outcome(driver: Driver) -> None:
    single, batch = driver.enqueue(), driver.batch(2)
    driver.attempt("transactional", REJECTED)
    driver.attempt(f"{batch}.0", REJECTED)
    driver.run(driver.ledger.trim(f"{batch}.0", "kk", b"both"))

    for id in (single, f"{batch}.0.0"):
        assert driver.run(driver.ledger.purge(id)) == ("purged", "rejected")

    assert driver.run(driver.ledger.payload(single)) is None
    assert driver.sweeps(1)[0].trims == [f"{batch}.0"], "its content stands beside another mail's"
    assert driver.run(driver.ledger.kept(f"{batch}.0")) == "-k"
    for id in (single, f"{batch}.0.0"):
        assert driver.retry(id) == ("content_gone", "rejected")
        assert (driver.state(id), driver.status(id).reason) == (State.REJECTED, "http_400")
        assert driver.status(id).errors == []
    assert [letter.id for letter in driver.dead_letters()] == [f"{batch}.0.1"]


def test_what_was_purged_while_its_chunk_was_at_work_goes_when_that_is_through(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", REJECTED, limit=1)
    driver.run(driver.ledger.purge(f"{batch}.0.0"))

    driver.attempt(f"{batch}.0", accepted())

    assert driver.run(driver.ledger.payload(f"{batch}.0")) is None


def test_the_list_forgets_what_the_ledger_has_forgotten(driver: Driver) -> None:
    id, kept = driver.enqueue(), driver.enqueue()
    driver.attempt("transactional", REJECTED)
    driver.redis.delete(f"postroom:chunk:{id}")
    assert [letter.id for letter in driver.dead_letters()] == [kept]

    driver.later(7 * DAY)
    driver.sweep()

    assert driver.redis.zrange("postroom:dead", 0, -1) == [kept]


def test_the_copies_that_a_batch_has_cost_are_counted(driver: Driver) -> None:
    batch = driver.batch(1)
    driver.attempt(f"{batch}.0", TIMEOUT)
    driver.later(driver.settings.grace)
    driver.sweep()
    assert driver.record(batch).resends == 1

    driver.attempt(f"{batch}.0", accepted("receipt-of-second-one."))
    driver.evidence(f"{batch}.0.0", "receipt-of-first-copy.")
    driver.evidence(f"{batch}.0.0", "receipt-of-first-copy.")

    assert driver.record(batch).extra_copies == 1
    assert driver.stats()["extra_copies"] == 1
