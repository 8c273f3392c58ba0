"""Stopping: a ledger that has forgotten what it acknowledged sends nothing until somebody says what to make of it."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import REJECTED, RETRY, TIMEOUT, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def restored(driver: Driver, copy: dict[str, bytes]) -> None:
    driver.redis.flushall()
    for key, value in copy.items():
        driver.raw.restore(key, 0, value)


def copied(driver: Driver) -> dict[str, bytes]:
    return {key: driver.raw.dump(key) for key in driver.redis.keys("*")}


def test_each_claim_and_sweep_takes_a_step(driver: Driver) -> None:
    driver.enqueue()
    first = driver.sweep().step
    _, claimed = driver.claim("transactional", seen=first or 0)
    driver.later(1)

    assert (first, claimed.step, driver.sweep(seen=2).step) == (1, 2, 3)


def test_a_claim_that_finds_nothing_takes_none(driver: Driver) -> None:
    driver.sweep()
    driver.claim("transactional")

    assert driver.redis.get("postroom:step") == "1"


def test_a_ledger_behind_what_a_worker_has_seen_stops_everybody(driver: Driver) -> None:
    id, batch = driver.enqueue(), driver.batch(1)
    driver.sweep()
    copy = copied(driver)
    _, claimed = driver.claim("transactional", seen=1)
    assert claimed.step == 2
    restored(driver, copy)

    assert driver.claim("transactional", seen=2)[1].verdict == "stopped"

    driver.later(1)
    assert driver.claim("transactional", seen=0)[1].verdict == "stopped", "a worker that was started since"
    assert driver.claim(f"{batch}.0", seen=0)[1].verdict == "stopped"
    assert driver.sweep().stopped
    assert driver.state(id) is State.QUEUED
    stopped = driver.run(driver.ledger.stopped())
    assert (stopped["why"], stopped["step"], stopped["seen"]) == ("behind", "1", "2")


def test_an_emptied_ledger_stops_everybody_too(driver: Driver) -> None:
    step = driver.sweep().step or 0
    driver.redis.flushall()
    driver.enqueue()
    driver.later(1)

    assert driver.sweep(seen=step).stopped
    assert driver.claim("transactional")[1].verdict == "stopped"
    assert driver.recover() == (1, 0)
    driver.later(1)
    assert not driver.sweep(seen=step).stopped


def test_what_is_known_of_mails_on_the_wire_counts_while_all_is_stopped(driver: Driver) -> None:
    id = driver.enqueue()
    nonce, claimed = driver.claim("transactional")
    driver.redis.hset("postroom:stopped", "why", "behind")

    driver.settle_all(nonce, claimed, accepted())

    assert driver.state(id) is State.ACCEPTED


def test_recovering_puts_in_doubt_whatever_may_have_been_sent(driver: Driver) -> None:
    queued = driver.enqueue()
    driver.attempt("transactional", accepted(), limit=1)
    done, queued = queued, driver.enqueue()
    scheduled = driver.enqueue(send_in=3600)
    batch = driver.batch(5)
    chunk = f"{batch}.0"
    driver.attempt(chunk, REJECTED, limit=1)
    driver.attempt(chunk, RETRY, limit=1, delay=1)
    driver.attempt(chunk, RETRY, limit=1, delay=3600)
    driver.attempt(chunk, TIMEOUT, limit=1)
    driver.claim(chunk, limit=1)
    unsealed = driver.open_batch().id
    driver.store(unsealed, 0, 2)
    driver.later(2)

    assert driver.recover() == (4, 1)

    states = [driver.state(id) for id in (done, queued, scheduled, *(f"{chunk}.{row}" for row in range(5)))]
    assert states == ["accepted", "in_doubt", "queued", "rejected", "in_doubt", "queued", "in_doubt", "in_doubt"]
    assert driver.counts(batch) == {"rejected": 1, "in_doubt": 3, "queued": 1}
    assert driver.redis.exists("postroom:windows", "postroom:overdue", "postroom:owners", "postroom:stopped") == 0
    assert driver.status(f"{chunk}.0").state is State.REJECTED
    assert driver.recover() == (0, 1), "what is in doubt by it is left alone"


def test_after_recovering_resend_sends_once_more_and_hold_does_not(driver: Driver) -> None:
    resent, held = driver.enqueue(), driver.enqueue(policy="hold")
    doubted = driver.batch(1)
    driver.attempt(f"{doubted}.0", TIMEOUT)
    driver.recover()
    driver.later(driver.settings.grace)
    driver.sweep()

    assert driver.state(resent) is State.QUEUED
    assert driver.state(held) is State.UNRESOLVED
    assert driver.state(f"{doubted}.0.0") is State.UNRESOLVED, "the second copy may have gone out since"
    _, claimed = driver.claim("transactional")
    assert [id for id, _ in claimed.groups] == [resent]


def test_a_worker_that_has_seen_more_goes_on_after_recovering(driver: Driver) -> None:
    driver.enqueue()
    driver.redis.set("postroom:step", 5)
    assert driver.claim("transactional", seen=77)[1].verdict == "stopped"
    driver.recover()
    driver.later(1)

    assert not driver.sweep(seen=77).stopped
    swept = driver.redis.get("postroom:step")
    driver.later(1)
    driver.recover()
    assert int(driver.redis.get("postroom:step")) > int(swept), "a second recovery is ahead of the first"


def test_until_recovering_is_through_nothing_is_sent(driver: Driver) -> None:
    for _ in range(500):
        driver.enqueue()
    page = driver.run(driver.ledger.recover("0"))
    assert page.cursor != "0"

    assert driver.claim("transactional")[1].verdict == "stopped"

    assert driver.recover()[0] + page.mails == 500
    assert driver.claim("transactional")[1].verdict == "idle", "all is in doubt"


def test_a_zombie_of_before_says_nothing_but_that_a_mail_was_accepted(driver: Driver) -> None:
    first, second = driver.enqueue(), driver.enqueue()
    nonce, _ = driver.claim("transactional")
    driver.recover()

    driver.settle(nonce, {first: [(0, REJECTED, 0.0)], second: [(0, accepted(), 0.0)]})

    assert (driver.state(first), driver.state(second)) == (State.IN_DOUBT, State.ACCEPTED)
