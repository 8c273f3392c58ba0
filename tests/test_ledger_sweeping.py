"""Sweeping: what the caretaker finds, by the clock alone."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import RETRY, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_the_mails_of_a_dead_worker_are_in_doubt_when_its_life_is_over(driver: Driver) -> None:
    id = driver.enqueue()
    driver.watched()
    driver.claim("transactional", owner="victim")

    assert [sweep.dead for sweep in driver.sweeps(4)] == [[]] * 4
    assert driver.state(id) == State.SENDING

    assert driver.sweeps(1)[0].dead == ["victim"]
    assert driver.state(id) == State.IN_DOUBT
    assert driver.status(id).reason == "worker_died"


def test_a_worker_that_is_heard_of_keeps_its_mail(driver: Driver) -> None:
    id = driver.enqueue()
    driver.watched()
    driver.claim("transactional", owner="ann")

    driver.sweeps(30, alive=["ann"])

    assert driver.state(id) == State.SENDING


def test_what_nobody_had_claimed_is_not_in_doubt(driver: Driver) -> None:
    batch = driver.batch(3)
    driver.watched()
    driver.claim(f"{batch}.0", owner="victim", limit=1)

    driver.sweeps(6)

    assert driver.counts(batch) == {"queued": 2, "in_doubt": 1}


def test_after_a_gap_between_sweeps_nobody_is_judged_for_a_life(driver: Driver) -> None:
    id = driver.enqueue()
    driver.watched()
    driver.claim("transactional", owner="victim")

    driver.later(2.001)
    driver.sweep()
    assert [sweep.dead for sweep in driver.sweeps(4)] == [[]] * 4
    assert driver.state(id) == State.SENDING

    assert driver.sweeps(1)[0].dead == ["victim"]


def test_a_gap_of_two_seconds_is_no_gap(driver: Driver) -> None:
    driver.watched()
    driver.enqueue()
    driver.claim("transactional", owner="victim")
    driver.later(1)
    driver.sweep()

    for _ in range(2):
        driver.later(2)
        dead = driver.sweep().dead

    assert dead == ["victim"]


def test_the_first_caretaker_of_all_judges_nobody_for_a_life(driver: Driver) -> None:
    driver.enqueue()
    driver.claim("transactional", owner="victim")
    driver.later(60)

    assert driver.sweep().dead == []
    assert [sweep.dead for sweep in driver.sweeps(5)] == [[]] * 4 + [["victim"]]


def test_a_window_past_its_time_is_in_doubt_although_its_worker_lives(driver: Driver) -> None:
    id = driver.enqueue()
    driver.watched()
    driver.claim("transactional", owner="ann")

    driver.sweeps(39, alive=["ann"])
    assert driver.state(id) == State.SENDING

    driver.sweeps(1, alive=["ann"])
    assert driver.state(id) == State.IN_DOUBT
    assert driver.status(id).reason == "overdue"


def test_one_caretaker_sweeps_each_second_for_all(driver: Driver) -> None:
    assert driver.sweep("ann").swept
    assert not driver.sweep("bob").swept
    driver.later(0.899)
    assert not driver.sweep("eve").swept
    driver.later(0.001)
    assert driver.sweep("bob").swept


def test_a_caretaker_that_comes_too_early_is_heard_of_all_the_same(driver: Driver) -> None:
    driver.sweep("ann")
    driver.sweep("bob")

    assert driver.run(driver.ledger.owners()) == {"ann": driver.now_ms, "bob": driver.now_ms}


def test_a_worker_that_has_left_is_not_found_dead(driver: Driver) -> None:
    driver.watched()
    driver.sweep("ann")

    driver.run(driver.ledger.leave("ann"))

    assert [sweep.dead for sweep in driver.sweeps(10)] == [[]] * 10


def test_many_windows_of_a_dead_worker_are_judged_step_by_step(driver: Driver) -> None:
    batch = driver.batch(50)
    driver.watched()
    for _ in range(50):
        driver.claim(f"{batch}.0", owner="victim", limit=1)
    assert not driver.sweeps(4)[-1].more

    assert driver.sweeps(1)[0].more
    assert driver.counts(batch) == {"sending": 30, "in_doubt": 20}

    assert driver.sweep(again=True).more
    assert not driver.sweep(again=True).more
    assert driver.counts(batch) == {"in_doubt": 50}


def test_the_windows_of_many_dead_workers_are_judged_step_by_step(driver: Driver) -> None:
    batch = driver.batch(30)
    driver.watched()
    for _ in range(10):
        for owner in ("first-victim", "second-victim", "third-victim"):
            driver.claim(f"{batch}.0", owner=owner, limit=1)

    assert driver.sweeps(5)[-1].more
    assert driver.counts(batch) == {"sending": 10, "in_doubt": 20}

    assert driver.sweep(again=True).dead == ["third-victim"]
    assert driver.counts(batch) == {"in_doubt": 30}


def test_many_retries_are_queued_step_by_step(driver: Driver) -> None:
    batch = driver.batch(250)
    driver.attempt(f"{batch}.0", RETRY, limit=250, delay=60)

    driver.later(60)

    assert driver.sweep().more
    assert len(driver.claim(f"{batch}.0", limit=500)[1].groups[0][1]) == 200
    assert not driver.sweep(again=True).more
    assert len(driver.claim(f"{batch}.0", limit=500)[1].groups[0][1]) == 50


def test_a_dead_worker_that_wakes_up_can_claim_again(driver: Driver) -> None:
    first, second = driver.enqueue(), driver.enqueue()
    driver.watched()
    driver.claim("transactional", owner="zombie", limit=1)
    driver.sweeps(6)

    driver.attempt("transactional", accepted(), owner="zombie")

    assert driver.state(first) == State.IN_DOUBT
    assert driver.state(second) == State.ACCEPTED
