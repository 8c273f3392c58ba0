"""Claiming: which mails go on the wire now, and who sends them."""

from collections.abc import Iterator

import pytest

from postroom.names import State
from tests.ledger_driver import HOUR, RELEASED, RETRY, Driver, accepted

MEGABYTE = 1024 * 1024


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_a_window_holds_as_many_mails_as_asked_for(driver: Driver) -> None:
    batch = driver.batch(5)

    _, claimed = driver.claim(f"{batch}.0", limit=2)

    assert claimed.groups == [(f"{batch}.0", [(0, 1), (1, 1)])]
    assert driver.counts(batch) == {"queued": 3, "sending": 2}


def test_two_tasks_of_a_chunk_get_different_mails(driver: Driver) -> None:
    batch = driver.batch(4)

    _, one = driver.claim(f"{batch}.0", owner="ann", limit=3)
    _, other = driver.claim(f"{batch}.0", owner="bob", limit=3)
    _, none = driver.claim(f"{batch}.0", owner="eve", limit=3)

    assert [place for place, _ in one.groups[0][1]] == [0, 1, 2]
    assert [place for place, _ in other.groups[0][1]] == [3]
    assert none.verdict == "idle"


def test_a_single_comes_with_its_payload(driver: Driver) -> None:
    driver.enqueue(payload=b"one")
    driver.enqueue(payload=b"two")

    assert driver.claim("transactional")[1].payloads == [b"one", b"two"]


def test_an_attempt_is_counted_from_1(driver: Driver) -> None:
    id = driver.enqueue()
    driver.attempt("transactional", RETRY, delay=5)
    driver.later(5)
    driver.sweep()

    assert driver.claim("transactional")[1].groups == [(id, [(0, 2)])]
    assert driver.status(id).attempt == 2


def test_the_same_nonce_gives_the_same_window(driver: Driver) -> None:
    batch = driver.batch(4)
    nonce, claimed = driver.claim(f"{batch}.0", limit=2)

    assert driver.claim(f"{batch}.0", limit=2, nonce=nonce)[1] == claimed
    assert driver.counts(batch) == {"queued": 2, "sending": 2}


def test_the_same_nonce_gives_the_same_singles_and_payloads(driver: Driver) -> None:
    for _ in range(3):
        driver.enqueue()
    nonce, claimed = driver.claim("transactional", limit=2)

    assert driver.claim("transactional", limit=2, nonce=nonce)[1] == claimed


def test_a_claim_made_again_gives_nothing_that_evidence_has_settled(driver: Driver) -> None:
    first, second = driver.enqueue(), driver.enqueue()
    nonce, _ = driver.claim("transactional")

    driver.evidence(first)

    _, claimed = driver.claim("transactional", nonce=nonce)
    assert claimed.groups == [(second, [(0, 1)])]
    assert claimed.payloads == [second.encode()]


def test_a_finished_chunk_says_so_and_how_many_mails_it_had(driver: Driver) -> None:
    batch = driver.batch(3)
    driver.attempt(f"{batch}.0", accepted())

    _, claimed = driver.claim(f"{batch}.0")

    assert (claimed.verdict, claimed.size) == ("finished", 3)


def test_a_chunk_that_nobody_knows_is_unknown(driver: Driver) -> None:
    assert driver.claim("aaaaaaaaaaaaaaaaaaaa.0")[1].verdict == "unknown"


def test_what_was_given_back_is_claimed_first(driver: Driver) -> None:
    first, second = driver.enqueue(), driver.enqueue()
    nonce, claimed = driver.claim("transactional", limit=1)
    driver.settle_all(nonce, claimed, RELEASED)

    assert [id for id, _ in driver.claim("transactional")[1].groups] == [first, second]


def test_singles_are_claimed_up_to_8_megabytes_at_once(driver: Driver) -> None:
    for _ in range(3):
        driver.enqueue(payload=bytes(5 * MEGABYTE))

    assert len(driver.claim("transactional")[1].groups) == 2
    assert len(driver.claim("transactional")[1].groups) == 1


def test_a_lane_full_of_expired_mail_is_cleared_step_by_step(driver: Driver) -> None:
    late = driver.enqueue(expires_in=1)
    driver.redis.rpush("postroom:lane:transactional:singles", *["gone" for _ in range(500)])
    in_time = driver.enqueue(expires_in=HOUR)
    driver.later(1)

    _, first = driver.claim("transactional")
    _, second = driver.claim("transactional")

    assert (first.verdict, first.wait) == ("wait", 0)
    assert driver.state(late) == State.EXPIRED
    assert [id for id, _ in second.groups] == [in_time]


def test_a_single_whose_content_is_gone_holds_up_nobody(driver: Driver) -> None:
    broken, whole = driver.enqueue(), driver.enqueue()
    driver.redis.delete(f"postroom:payload:{broken}")

    assert [id for id, _ in driver.claim("transactional")[1].groups] == [whole]
    assert driver.state(broken) == State.REJECTED
    assert driver.status(broken).reason == "content_gone"


def test_a_mail_whose_worker_died_is_claimed_alone(driver: Driver) -> None:
    batch = driver.batch(4)
    driver.watched()
    driver.claim(f"{batch}.0", owner="victim", limit=2)
    driver.sweeps(6)
    driver.later(driver.settings.grace)
    driver.sweep()
    assert driver.counts(batch) == {"queued": 4}

    windows = [driver.claim(f"{batch}.0")[1].groups[0][1] for _ in range(3)]

    assert windows == [[(0, 2)], [(1, 2)], [(2, 1), (3, 1)]]


def test_a_single_whose_worker_died_is_claimed_alone(driver: Driver) -> None:
    first, second = driver.enqueue(), driver.enqueue()
    driver.watched()
    driver.claim("transactional", owner="victim")
    driver.sweeps(6)
    driver.later(driver.settings.grace)
    driver.sweep()
    third = driver.enqueue()

    windows = [driver.claim("transactional")[1].groups for _ in range(3)]

    assert windows[:2] == [[(id, [(0, 2)])] for id in sorted([first, second])]
    assert windows[2] == [(third, [(0, 1)])]
