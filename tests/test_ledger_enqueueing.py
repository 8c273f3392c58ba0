"""Enqueueing: singles and batches, from a producer into the ledger."""

import time
from collections.abc import Iterator

import pytest

from postroom.connection import Connection
from postroom.ledger import Ledger
from postroom.names import Lane, OnDoubt, State
from postroom.settings import Settings
from postroom.terms import Terms
from postroom.wakeup import chord_size_key
from tests.ledger_driver import DAY, DRAINS, HOUR, Driver, accepted


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_a_single_waits_in_its_lane(driver: Driver) -> None:
    id = driver.enqueue(lane="bulk")

    assert driver.status(id).state == State.QUEUED
    assert driver.status(id).attempt == 0
    assert driver.claim("transactional")[1].verdict == "idle"
    assert driver.claim("bulk")[1].groups == [(id, [(0, 1)])]


def test_singles_are_sent_in_the_order_in_which_they_came(driver: Driver) -> None:
    first, second, third = (driver.enqueue() for _ in range(3))

    assert [id for id, _ in driver.claim("transactional", limit=2)[1].groups] == [first, second]
    assert [id for id, _ in driver.claim("transactional", limit=2)[1].groups] == [third]


def test_the_same_id_is_enqueued_once(driver: Driver) -> None:
    id = driver.enqueue()

    assert driver.take(id) == ("known", id)

    driver.attempt("transactional", accepted())
    assert driver.take(id) == ("known", id)
    assert driver.claim("transactional")[1].verdict == "idle"


def test_a_scheduled_single_is_not_sent_before_its_time(driver: Driver) -> None:
    id = driver.enqueue(send_in=60)

    driver.later(59.999)
    driver.sweep()
    assert driver.claim("transactional")[1].verdict == "idle"
    assert driver.state(id) == State.QUEUED

    driver.later(1)
    driver.sweep()
    assert driver.claim("transactional")[1].groups == [(id, [(0, 1)])]


def test_a_time_that_has_passed_is_now(driver: Driver) -> None:
    id = driver.enqueue(send_in=-60)

    assert driver.claim("transactional")[1].groups == [(id, [(0, 1)])]


def test_a_few_drains_are_enough_for_many_singles(driver: Driver) -> None:
    for _ in range(20):
        driver.enqueue()

    assert len(driver.wake_ups("transactional")) == 4


def test_a_drain_that_has_begun_makes_place_for_another(driver: Driver) -> None:
    for _ in range(20):
        driver.enqueue()
    for _ in range(2):
        driver.take_wake_up("transactional")
        driver.claim("transactional", limit=1, first=True)

    for _ in range(20):
        driver.enqueue()

    assert len(driver.wake_ups("transactional")) == 4


def test_drains_that_are_lost_are_not_counted_for_ever(driver: Driver) -> None:
    for _ in range(20):
        driver.enqueue()
    while driver.take_wake_up("transactional"):
        pass

    driver.enqueue()

    assert len(driver.wake_ups("transactional")) == 1


def test_nothing_of_a_batch_can_be_claimed_before_it_is_sealed(driver: Driver) -> None:
    batch = driver.open_batch().id
    driver.store(batch, 0, 3)
    assert driver.claim(f"{batch}.0")[1].verdict == "idle"
    assert driver.wake_ups("bulk") == []

    driver.seal(batch)

    assert driver.claim(f"{batch}.0")[1].verdict == "claimed"


def test_a_sealed_batch_counts_all_its_mails(driver: Driver) -> None:
    batch = driver.batch(3, 2)

    assert driver.record(batch).total == 5
    assert driver.counts(batch) == {"queued": 5}


def test_an_empty_batch_is_complete_at_once(driver: Driver) -> None:
    batch = driver.batch()

    assert driver.record(batch).final_at == driver.now_ms
    assert driver.counts(batch) == {}


def test_a_chunk_said_again_after_a_lost_reply_is_stored_once(driver: Driver) -> None:
    batch = driver.open_batch().id

    assert driver.store(batch, 0, 2, "hash") == ("stored", 2)
    assert driver.store(batch, 0, 2, "hash") == ("stored", 2)

    driver.seal(batch)
    assert driver.counts(batch) == {"queued": 2}


def test_a_producer_that_is_elsewhere_is_told_so(driver: Driver) -> None:
    batch = driver.open_batch(key="newsletter").id
    driver.store(batch, 0, 2, "hash of two")

    assert driver.store(batch, 0, 1, "hash of one") == ("behind", 2)
    assert driver.store(batch, 0, 2, "hash of two others") == ("behind", 2)
    assert driver.store(batch, 3, 1, "hash of four") == ("behind", 2)


def test_a_sealed_batch_takes_no_more_mail(driver: Driver) -> None:
    batch = driver.batch(2)

    assert driver.store(batch, 2, 1) == ("behind", 2)
    assert driver.counts(batch) == {"queued": 2}


def test_sealing_tells_celery_the_size_of_the_chord(driver: Driver) -> None:
    batch = driver.batch(2, 2, 1)

    assert driver.redis.get(chord_size_key(batch)) == "3"
    assert 0 < driver.redis.ttl(chord_size_key(batch)) <= DAY


def test_sealing_again_changes_nothing(driver: Driver) -> None:
    batch = driver.batch(2)
    driver.attempt(f"{batch}.0", accepted())

    assert driver.seal(batch) == ("sealed", 1)
    assert driver.announce(batch) == 0
    assert driver.counts(batch) == {"accepted": 2}


def test_wake_ups_are_pushed_in_pages_of_500(driver: Driver) -> None:
    batch = driver.open_batch().id
    for row in range(501):
        driver.store(batch, row, 1)
    driver.seal(batch)

    assert [driver.announce(batch) for _ in range(3)] == [500, 1, 0]
    assert driver.wake_ups("bulk") == [f"{batch}.{row}" for row in range(501)]


def test_a_caretaker_pushes_the_wake_ups_that_the_producer_did_not(driver: Driver) -> None:
    batches = [driver.open_batch().id for _ in range(3)]
    for batch in batches:
        driver.store(batch, 0, 1)
        driver.seal(batch)

    assert driver.sweep().more
    assert not driver.sweep(again=True).more

    assert sorted(driver.wake_ups("bulk")) == sorted(f"{batch}.0" for batch in batches)


def test_a_scheduled_batch_is_announced_when_it_is_due(driver: Driver) -> None:
    batch = driver.batch(2, send_in=60)
    assert driver.wake_ups("bulk") == []
    assert driver.claim(f"{batch}.0")[1].verdict == "idle"

    driver.later(60)
    driver.sweep()

    assert driver.wake_ups("bulk") == [f"{batch}.0"]
    assert driver.claim(f"{batch}.0")[1].verdict == "claimed"


def test_a_chunk_of_500_mails_is_kept_mail_by_mail(driver: Driver) -> None:
    batch = driver.batch(500)
    nonce, claimed = driver.claim(f"{batch}.0", limit=500)
    assert len(claimed.groups[0][1]) == 500

    driver.settle(nonce, {f"{batch}.0": [(row, accepted(f"receipt-of-mail-{row:06}"), 0.0) for row in range(500)]})

    assert driver.counts(batch) == {"accepted": 500}
    for row in (0, 127, 128, 255, 256, 499):
        assert driver.status(f"{batch}.0.{row}").receipt == f"receipt-of-mail-{row:06}"


def test_a_batch_that_is_not_sealed_within_a_day_is_dropped(driver: Driver) -> None:
    batch = driver.open_batch(key="newsletter").id
    driver.store(batch, 0, 2)

    driver.later(DAY)
    driver.sweep()

    assert driver.run(driver.ledger.batch(batch)) is None
    assert driver.seal(batch) == ("gone", 0)
    assert driver.redis.keys(f"*{batch}*") == []
    assert driver.open_batch(key="newsletter").id != batch


def test_the_day_of_an_unsealed_batch_counts_from_the_last_mail_stored(driver: Driver) -> None:
    batch = driver.open_batch().id
    driver.later(DAY - 1)
    driver.store(batch, 0, 2)

    driver.later(DAY - 1)
    driver.sweep()

    assert driver.seal(batch) == ("sealed", 1)


def test_the_clock_is_that_of_redis(redis_url: str, driver: Driver) -> None:
    connection = Connection(redis_url, timeout=5)
    call = Ledger(Settings()).enqueue(
        "single",
        b"payload",
        Terms(Lane.TRANSACTIONAL, OnDoubt.RESEND, HOUR, None),
        key=None,
        fingerprint=None,
        drain=DRAINS["transactional"],
    )

    connection.run(call)

    assert driver.status("single").updated_at == pytest.approx(time.time(), abs=30)
    connection.close()
