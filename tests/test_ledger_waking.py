"""Waking: there is a wake-up for whatever can be sent; a lost one is pushed again, and never are there many."""

import json
from collections.abc import Iterator

import pytest

from postroom.names import Lane, State
from tests.ledger_driver import DRAINS, RELEASED, RETRY, TIMEOUT, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def take_all(driver: Driver, lane: str) -> list[str]:
    """The wake-ups that wait in a lane, taken out: they are lost."""
    taken = driver.wake_ups(lane)
    driver.redis.delete(lane)
    return taken


def test_a_wake_up_carries_ids_and_nothing_else(driver: Driver) -> None:
    batch = driver.batch(200, 100)

    message = json.loads(driver.redis.lindex("bulk", 0))
    args, kwargs, embed = json.loads(message["body"])

    assert (args, kwargs) == ([f"{batch}.200"], {})
    assert (message["headers"]["id"], message["headers"]["group_index"]) == (f"{batch}.200", 200)
    assert embed["chord"]["args"] == [batch]
    assert "payload" not in json.dumps(message)


def test_a_lost_wake_up_is_pushed_again_each_time_after_twice_as_long(driver: Driver) -> None:
    batch = driver.batch(1)
    take_all(driver, "bulk")

    pushed = []
    for second in range(1, 1000):
        driver.later(1)
        driver.sweep()
        if take_all(driver, "bulk") == [f"{batch}.0"]:
            pushed.append(second)

    assert pushed == [5, 15, 35, 75, 155, 315, 615, 915]


def test_a_claim_starts_the_intervals_afresh(driver: Driver) -> None:
    batch = driver.batch(3)
    for _ in range(100):
        take_all(driver, "bulk")
        driver.sweeps(1)

    driver.attempt(f"{batch}.0", accepted(), limit=1)
    take_all(driver, "bulk")
    driver.sweeps(5)

    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_a_wake_up_that_waits_is_not_pushed_again(driver: Driver) -> None:
    batches = [driver.batch(1) for _ in range(3)]

    driver.sweeps(60)

    assert driver.wake_ups("bulk") == [f"{batch}.0" for batch in batches]


def test_a_wake_up_is_lost_when_one_pushed_five_seconds_later_is_next(driver: Driver) -> None:
    lost = driver.batch(1)
    take_all(driver, "bulk")
    driver.later(4.999)
    next_one = driver.batch(1)
    driver.later(0.001)
    after_that = driver.batch(1)
    driver.sweeps(60)
    assert driver.wake_ups("bulk") == [f"{next_one}.0", f"{after_that}.0"]

    driver.take_wake_up("bulk")
    driver.attempt(f"{next_one}.0", accepted())
    driver.sweeps(1)

    assert driver.wake_ups("bulk") == [f"{after_that}.0", f"{lost}.0"]


def test_a_chunk_that_somebody_sends_from_is_not_announced(driver: Driver) -> None:
    batch = driver.batch(4)
    take_all(driver, "bulk")
    driver.claim(f"{batch}.0", limit=1)

    driver.sweeps(30, alive=["ann"])

    assert driver.wake_ups("bulk") == []


def test_a_chunk_is_announced_when_its_retry_is_due(driver: Driver) -> None:
    batch = driver.batch(1)
    take_all(driver, "bulk")
    driver.attempt(f"{batch}.0", RETRY, delay=600)

    driver.later(599)
    driver.sweep()
    assert driver.wake_ups("bulk") == []

    driver.later(1)
    driver.sweep()
    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_a_chunk_is_announced_when_its_grace_is_over(driver: Driver) -> None:
    batch = driver.batch(1)
    take_all(driver, "bulk")
    driver.attempt(f"{batch}.0", TIMEOUT)

    driver.later(driver.settings.grace)
    driver.sweep()

    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_retries_that_come_due_one_after_the_other_have_one_wake_up(driver: Driver) -> None:
    batch = driver.batch(20)
    take_all(driver, "bulk")
    nonce, _ = driver.claim(f"{batch}.0", limit=20)
    driver.settle(nonce, {f"{batch}.0": [(row, RETRY, 1.0 + row) for row in range(20)]})

    driver.sweeps(30)

    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_retries_of_a_chunk_that_is_being_sent_call_for_no_more_tasks(driver: Driver) -> None:
    batch = driver.batch(60)
    take_all(driver, "bulk")

    for _ in range(30):
        nonce, claimed = driver.claim(f"{batch}.0", limit=1)
        driver.sweeps(1, alive=["ann"])
        driver.settle_all(nonce, claimed, RETRY, delay=1)

    assert driver.wake_ups("bulk") == []


def test_turns_and_retries_do_not_multiply_wake_ups(driver: Driver) -> None:
    for _ in range(3):
        driver.batch(30)

    most = 0
    for _ in range(100):
        chunk = driver.take_wake_up("bulk")
        driver.sweeps(1, alive=["ann"])
        if chunk:
            nonce, claimed = driver.claim(chunk, limit=3)
            driver.sweeps(1, alive=["ann"])
            driver.settle_all(nonce, claimed, RETRY, delay=1)
            driver.run(driver.ledger.wake_chunk(chunk, first=False))
        most = max(most, len(driver.wake_ups("bulk")))

    assert most <= 3


def test_a_lane_is_announced_when_a_retry_is_due_even_behind_much_else(driver: Driver) -> None:
    driver.enqueue(lane="bulk")
    take_all(driver, "bulk")
    driver.attempt("bulk", RETRY, delay=600)
    batches = [driver.batch(1) for _ in range(3)]

    driver.later(600)
    driver.sweep()

    assert driver.wake_ups("bulk")[:3] == [f"{batch}.0" for batch in batches]
    assert [id.partition("-")[0] for id in driver.wake_ups("bulk")[3:]] == ["drain"]


def test_a_lane_is_announced_when_a_scheduled_single_is_due(driver: Driver) -> None:
    driver.enqueue(send_in=60)
    assert driver.wake_ups("transactional") == []

    driver.later(60)
    driver.sweep()

    assert len(driver.wake_ups("transactional")) == 1


def test_retries_of_singles_that_nobody_sends_have_a_handful_of_drains(driver: Driver) -> None:
    for _ in range(20):
        driver.enqueue()
    take_all(driver, "transactional")
    nonce, claimed = driver.claim("transactional", limit=20)
    ids = [id for id, _ in claimed.groups]
    driver.settle(nonce, {id: [(0, RETRY, 1.0 + number)] for number, id in enumerate(ids)})

    driver.sweeps(60)

    assert 1 <= len(driver.wake_ups("transactional")) <= 4


def test_the_queued_mails_of_a_dead_worker_are_announced_when_it_is_found_dead(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.watched()
    take_all(driver, "bulk")
    driver.claim(f"{batch}.0", owner="victim", limit=1)

    driver.sweeps(5)

    assert driver.counts(batch) == {"queued": 3, "in_doubt": 1}
    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_singles_are_announced_again_when_the_queue_is_empty(driver: Driver) -> None:
    driver.enqueue()
    take_all(driver, "transactional")

    driver.sweep()

    assert len(driver.wake_ups("transactional")) == 1


def test_singles_are_announced_again_when_their_drain_is_lost_among_other_wake_ups(driver: Driver) -> None:
    driver.enqueue(lane="bulk")
    take_all(driver, "bulk")
    driver.later(5.001)
    batch = driver.batch(1)

    driver.sweep()

    assert driver.wake_ups("bulk")[0] == f"{batch}.0"
    assert len(driver.wake_ups("bulk")) == 2


def test_an_empty_lane_is_not_announced(driver: Driver) -> None:
    id = driver.enqueue()
    driver.attempt("transactional", accepted())
    take_all(driver, "transactional")

    driver.sweeps(30)

    assert driver.wake_ups("transactional") == []
    assert driver.state(id) == State.ACCEPTED


@pytest.mark.parametrize("foreign", ['{"headers": {"task": "postroom.report"}}', "no JSON"])
def test_a_message_that_tells_no_time_is_no_sign_of_lost_wake_ups(driver: Driver, foreign: str) -> None:
    """Workers may be busy, or stopped: a chord's body that waits before all others must not double the others."""
    batches = [driver.batch(1) for _ in range(3)]
    driver.redis.rpush("bulk", foreign)

    driver.sweeps(60)
    assert driver.redis.llen("bulk") == 4

    driver.redis.rpop("bulk")
    driver.sweeps(60)
    assert driver.wake_ups("bulk") == [f"{batch}.0" for batch in batches]


def test_lost_wake_ups_are_noticed_behind_a_message_that_tells_no_time(driver: Driver) -> None:
    lost = driver.batch(1)
    driver.take_wake_up("bulk")
    driver.later(6)
    driver.batch(1)
    driver.redis.rpush("bulk", "no JSON")

    driver.sweep()

    driver.redis.rpop("bulk")
    assert driver.wake_ups("bulk")[-1] == f"{lost}.0"


def test_a_chunk_that_is_given_back_is_announced_at_once(driver: Driver) -> None:
    batch = driver.batch(2)
    take_all(driver, "bulk")
    driver.attempt(f"{batch}.0", accepted(), limit=1)

    assert driver.run(driver.ledger.wake_chunk(f"{batch}.0", first=False)) == 1

    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_a_chunk_that_is_given_back_before_its_first_claim_is_announced_too(driver: Driver) -> None:
    batch = driver.batch(2)
    assert driver.take_wake_up("bulk") == f"{batch}.0"

    assert driver.run(driver.ledger.wake_chunk(f"{batch}.0", first=True)) == 1

    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_a_chunk_whose_wake_up_still_waits_gets_no_other_when_it_is_given_back(driver: Driver) -> None:
    batch = driver.batch(3)
    take_all(driver, "bulk")
    driver.attempt(f"{batch}.0", accepted(), limit=1)
    driver.run(driver.ledger.wake_chunk(f"{batch}.0", first=False))

    driver.claim(f"{batch}.0", limit=1, first=False)
    driver.run(driver.ledger.wake_chunk(f"{batch}.0", first=False))

    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_a_chunk_with_nothing_to_send_is_not_announced(driver: Driver) -> None:
    batch = driver.batch(1)
    take_all(driver, "bulk")
    driver.attempt(f"{batch}.0", RETRY)

    assert driver.run(driver.ledger.wake_chunk(f"{batch}.0", first=False)) == 0

    assert driver.wake_ups("bulk") == []


def test_a_finished_chunk_that_is_given_back_is_announced_for_the_chord_to_count(driver: Driver) -> None:
    batch = driver.batch(1)
    take_all(driver, "bulk")
    driver.attempt(f"{batch}.0", accepted())

    for _ in range(2):
        driver.run(driver.ledger.wake_chunk(f"{batch}.0", first=False))

    assert driver.wake_ups("bulk") == [f"{batch}.0"]


def test_a_lane_that_is_given_back_is_announced_at_once(driver: Driver) -> None:
    driver.enqueue()
    take_all(driver, "transactional")
    ledger = driver.ledger

    driver.run(ledger.wake_lane(Lane.TRANSACTIONAL, id="ann.1", drain=DRAINS["transactional"]))

    assert driver.wake_ups("transactional") == ["drain-ann.1"]


def test_a_lane_that_is_given_back_is_announced_for_mail_that_is_to_be_sent_alone(driver: Driver) -> None:
    driver.enqueue()
    driver.watched()
    driver.claim("transactional", owner="victim")
    driver.sweeps(6)
    driver.later(driver.settings.grace)
    driver.sweep()
    take_all(driver, "transactional")

    driver.run(driver.ledger.wake_lane(Lane.TRANSACTIONAL, id="ann.1", drain=DRAINS["transactional"]))

    assert driver.wake_ups("transactional") == ["drain-ann.1"]


def test_a_drain_that_leaves_something_calls_for_another(driver: Driver) -> None:
    for _ in range(3):
        driver.enqueue()
    take_all(driver, "transactional")

    driver.claim("transactional", limit=2, first=True)

    assert len(driver.wake_ups("transactional")) == 1


def test_what_is_given_back_by_a_task_at_work_is_not_announced(driver: Driver) -> None:
    batch = driver.batch(2)
    take_all(driver, "bulk")

    driver.attempt(f"{batch}.0", RELEASED)

    assert driver.wake_ups("bulk") == []


def test_the_chord_hears_of_a_chunk_that_the_caretaker_has_finished(driver: Driver) -> None:
    batch = driver.batch(2, expires_in=60)
    take_all(driver, "bulk")
    driver.attempt(f"{batch}.0", RETRY, delay=600)

    driver.later(60)
    driver.sweep()

    assert driver.wake_ups("bulk") == [f"{batch}.0"]
