"""Pace: no more than so many mails, or recipients, a second are claimed, by the whole fleet; urgent mail goes first."""

from collections.abc import Callable

import pytest

from postroom import ids
from postroom.ledger import Claimant
from postroom.names import Lane, OnDoubt
from postroom.rate import Rate
from postroom.terms import Terms
from tests.ledger_driver import DRAINS, HOUR, RELEASED, Driver, accepted, limited

#: What a bucket holds at 200/s; bulk leaves a fifth of it.
BURST = 20

Paced = Callable[..., Driver]


def got(driver: Driver, source: str, *, limit: int = 500) -> int:
    """How many mails a claim gets; they are accepted."""
    nonce, claimed = driver.claim(source, limit=limit)
    driver.settle_all(nonce, claimed, accepted())
    return sum(len(mails) for _, mails in claimed.groups)


def sent_in(driver: Driver, source: str, seconds: float, *, every: float = 0.02) -> list[float]:
    """When (seconds from now) mails are claimed, one entry each, by somebody who asks at once and all the time."""
    times: list[float] = []
    for step in range(round(seconds / every)):
        times += [step * every] * got(driver, source)
        driver.later(every)
    return times


def most_in_a_second(times: list[float]) -> int:
    return max(sum(start <= time < start + 1 for time in times) for start in times)


# A limit.


def test_without_a_limit_a_claim_gets_all_that_it_asks_for(paced: Paced) -> None:
    driver = paced()
    assert got(driver, f"{driver.batch(400)}.0") == 400


def test_a_lane_is_claimed_at_its_rate(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s")
    batch = driver.batch(500, 500, 500)
    times = [time for row in (0, 500) for time in sent_in(driver, f"{batch}.{row}", 2.5)]

    assert most_in_a_second(times[:500]) <= 200 + BURST
    assert 499 <= len(times) - len(times[:500]) <= 500 + BURST


def test_an_account_is_claimed_at_its_rate_whatever_the_lanes(paced: Paced) -> None:
    driver = paced(rate="200/s")
    chunks = [f"{driver.batch(500)}.0", f"{driver.batch(500, lane='transactional')}.0"]
    times: list[float] = []
    for step in range(100):
        times += [step * 0.02] * sum(got(driver, chunk, limit=5) for chunk in chunks)
        driver.later(0.02)

    assert most_in_a_second(times) <= 200 + BURST
    assert len(times) == pytest.approx(400, abs=BURST)


def test_the_average_is_the_rate(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s")
    batch = driver.batch(*[500] * 5)
    sent = sum(len(sent_in(driver, f"{batch}.{number * 500}", 2.4, every=0.03)) for number in range(4))
    assert sent == pytest.approx(200 * 9.6, rel=0.02)


def test_what_was_not_spent_in_time_is_gone(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s")
    chunk = f"{driver.batch(500)}.0"
    assert got(driver, chunk) == BURST
    driver.later(600)
    assert got(driver, chunk) == BURST


def test_a_refused_claim_is_told_how_long_to_wait(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s")
    chunk = f"{driver.batch(500)}.0"
    got(driver, chunk)
    _, refused = driver.claim(chunk, limit=32)

    assert (refused.verdict, refused.reason) == ("wait", "pace")
    driver.later(refused.wait / 1000)
    assert got(driver, chunk, limit=32) == BURST / 2


def test_singles_are_paced_too(paced: Paced) -> None:
    driver = paced(rate_transactional="50/s")
    for _ in range(20):
        driver.enqueue()
    assert got(driver, "transactional") == 5
    assert driver.claim("transactional")[1].reason == "pace"


def test_a_slow_rate_sends_one_at_a_time(paced: Paced) -> None:
    driver = paced(rate_bulk="360/h")  # one in ten seconds
    chunk = f"{driver.batch(100)}.0"
    assert got(driver, chunk) == 2
    assert len(sent_in(driver, chunk, 100.5, every=0.5)) == 10


def test_a_mail_that_was_given_back_has_been_paid_for(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s")
    chunk = f"{driver.batch(100)}.0"
    driver.settle_all(*driver.claim(chunk, limit=100), RELEASED)
    assert driver.claim(chunk)[1].reason == "pace"


# Transactional mail goes first.


def test_bulk_leaves_a_share_of_the_account_for_transactional_mail(paced: Paced) -> None:
    driver = paced(rate="200/s")
    chunk = f"{driver.batch(500)}.0"
    for _ in range(20):
        driver.enqueue()

    assert got(driver, chunk) == 16
    assert got(driver, "transactional") == 4
    assert driver.claim(chunk)[1].reason == "pace"


def test_transactional_mail_takes_all_that_it_needs(paced: Paced) -> None:
    driver = paced(rate="200/s")
    chunk = f"{driver.batch(500)}.0"
    got(driver, chunk)
    bulk = urgent = 0
    for _ in range(100):  # 2 s
        for _ in range(3):  # 150 a second
            driver.enqueue()
        urgent += got(driver, "transactional")
        bulk += got(driver, chunk)
        driver.later(0.02)

    assert urgent == 300
    assert bulk == pytest.approx(100, abs=8)


def test_the_share_can_be_set(paced: Paced) -> None:
    driver = paced(rate="200/s", rate_kept="0.5")
    assert got(driver, f"{driver.batch(500)}.0") == 10


# Bulk gives way.


def claim_that_gives_way(driver: Driver, source: str) -> str:
    """The verdict of a claim by a worker that serves the transactional lane, too."""
    by = Claimant(
        owner="ann",
        nonce=driver.nonce("ann"),
        limit=10,
        account=driver.account,
        seen=0,
        gives_way_to={"lane": "transactional", "account": "default"},
    )
    if source == "bulk":
        return driver.run(driver.ledger.claim_lane(Lane.BULK, first=False, drain=DRAINS["bulk"], **by)).verdict
    return driver.run(driver.ledger.claim_chunk(source, first=True, **by)).verdict


def test_bulk_gives_way_while_a_transactional_single_waits(paced: Paced) -> None:
    driver = paced()
    chunk = f"{driver.batch(100)}.0"
    assert claim_that_gives_way(driver, chunk) == "claimed"
    driver.enqueue()
    driver.enqueue(lane="bulk")

    assert claim_that_gives_way(driver, chunk) == "give_way"
    assert claim_that_gives_way(driver, "bulk") == "give_way"
    got(driver, "transactional")
    assert claim_that_gives_way(driver, chunk) == "claimed"
    assert claim_that_gives_way(driver, "bulk") == "claimed"


def test_nobody_gives_way_to_what_cannot_be_sent(paced: Paced) -> None:
    driver = paced(sendgrid_key_bulk="SG.bulk")
    driver.enqueue()
    driver.enqueue()
    driver.attempt("transactional", limited(60), limit=1)
    driver.account = "bulk"
    assert claim_that_gives_way(driver, f"{driver.batch(100)}.0") == "claimed"


# Recipients.


def batch_for(driver: Driver, *recipients: int) -> str:
    """A batch of one chunk, whose mails have so many recipients; the chunk's id."""
    batch = driver.open_batch().id
    call = driver.ledger.store_chunk(batch, 0, len(recipients), "", b"payload", recipients=recipients)
    driver.run(call)
    driver.seal(batch)
    return f"{batch}.0"


def test_a_mail_counts_as_many_as_it_has_recipients(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s", rate_unit="recipients")
    chunk = batch_for(driver, *[5] * 100)
    assert got(driver, chunk) == 4
    assert len(sent_in(driver, chunk, 1.0)) == 40


def test_requests_count_as_one_each(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s")
    assert got(driver, batch_for(driver, *[5] * 100)) == BURST


def test_a_mail_to_more_recipients_than_the_burst_is_sent_and_made_up_for(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s", rate_unit="recipients")
    chunk = batch_for(driver, 1000, 1, 1)
    assert got(driver, chunk) == 1
    driver.later(4.8)
    assert driver.claim(chunk)[1].reason == "pace"
    driver.later(0.2)
    assert got(driver, chunk) == 2


def test_a_single_counts_its_recipients(paced: Paced) -> None:
    driver = paced(rate_transactional="100/s", rate_unit="recipients")
    for _ in range(5):
        id = ids.new_id()
        call = driver.ledger.enqueue(
            id,
            b"payload",
            Terms(Lane.TRANSACTIONAL, OnDoubt.RESEND, HOUR, None),
            key=None,
            fingerprint=None,
            drain=DRAINS["transactional"],
            recipients=4,
        )
        driver.run(call)
    assert got(driver, "transactional") == 3  # the third begins while two tokens are left


# What an operator sets.


def test_what_is_set_by_hand_stands_above_the_settings(paced: Paced) -> None:
    driver = paced(rate_bulk="200/s")
    chunk = f"{driver.batch(500)}.0"
    driver.run(driver.ledger.set_pace("bulk", 50))
    assert got(driver, chunk) == 5
    driver.run(driver.ledger.set_pace("bulk", None))
    assert got(driver, chunk, limit=100) == 100
    driver.run(driver.ledger.reset_pace("bulk"))
    driver.later(1)
    assert got(driver, chunk) == BURST


def test_the_pace_is_shown(paced: Paced) -> None:
    driver = paced(rate="200/s")
    driver.run(driver.ledger.set_pace("bulk", 100))
    sent_in(driver, f"{driver.batch(500)}.0", 3)

    account, transactional, bulk = driver.run(driver.ledger.pace(["default"]))

    assert (account.rate, account.by_hand, account.slow) == (200, False, None)
    assert (bulk.rate, bulk.by_hand) == (100, True)
    assert (transactional.rate, transactional.recent) == (None, 0)
    assert account.recent == bulk.recent == pytest.approx(100, abs=10)


# After a 429.


def fast_until_limited(driver: Driver, chunk: str, wait_seconds: float) -> None:
    """Send 400 in a second, and then get a 429."""
    for _ in range(10):
        assert got(driver, chunk, limit=40) == 40
        driver.later(0.1)
    driver.attempt(chunk, limited(wait_seconds), limit=40)


def test_after_a_429_nothing_is_claimed_before_the_reset_and_then_at_half_the_pace(paced: Paced) -> None:
    driver = paced()
    driver.now_ms -= driver.now_ms % 1000
    batch = driver.batch(*[500] * 3)
    fast_until_limited(driver, f"{batch}.0", 30)
    assert sent_in(driver, f"{batch}.500", 30) == []

    half = len(sent_in(driver, f"{batch}.500", 2))

    assert 380 <= half <= 200 * 2 * 1.1 + BURST
    assert driver.run(driver.ledger.pace(["default"]))[0].slow == pytest.approx(220, abs=5)


def test_what_was_on_its_way_does_not_slow_it_down_again(paced: Paced) -> None:
    driver = paced()
    driver.now_ms -= driver.now_ms % 1000
    chunk = f"{driver.batch(500)}.0"
    assert got(driver, chunk, limit=300) == 300
    windows = [driver.claim(chunk, limit=32) for _ in range(3)]
    for window in windows:
        driver.settle_all(*window, limited(10))
        driver.later(0.5)
    assert driver.run(driver.ledger.pace(["default"]))[0].slow == pytest.approx(396 / 2)


def test_it_climbs_again_and_is_free_after_a_minute(paced: Paced) -> None:
    driver = paced()
    driver.now_ms -= driver.now_ms % 1000
    batch = driver.batch(*[500] * 4)
    fast_until_limited(driver, f"{batch}.0", 10)
    driver.later(10 + 20)
    assert 380 <= len(sent_in(driver, f"{batch}.500", 1)) <= 400 * 1.1 + 2 * BURST
    driver.later(40)
    assert got(driver, f"{batch}.1000", limit=500) == 500


def test_a_few_429_among_many_that_go_well_slow_nobody(paced: Paced) -> None:
    driver = paced()
    chunk = f"{driver.batch(500)}.0"
    assert got(driver, chunk, limit=400) == 400
    nonce, claimed = driver.claim(chunk, limit=32)
    ((_, mails),) = claimed.groups
    outcomes = [limited(1)] * 6 + [accepted()] * 26
    driver.settle(nonce, {chunk: [(place, each, 0.0) for (place, _), each in zip(mails, outcomes, strict=True)]})
    driver.later(1)
    assert got(driver, chunk) == 74


def test_a_429_at_a_low_pace_slows_nobody(paced: Paced) -> None:
    driver = paced()
    chunk = f"{driver.batch(100)}.0"
    driver.attempt(chunk, limited(10), limit=1)
    driver.later(10)
    assert got(driver, chunk) == 100


def test_a_limit_that_is_used_up_holds_everybody_and_the_mail_is_accepted(paced: Paced) -> None:
    driver = paced()
    batch = driver.batch(2)
    last = accepted()
    driver.attempt(f"{batch}.0", type(last)(last.kind, receipt=last.receipt, wait_seconds=20), limit=1)

    assert driver.counts(batch) == {"accepted": 1, "queued": 1}
    waiting = driver.claim(f"{batch}.0")[1]
    assert (waiting.reason, waiting.wait) == ("rate_limit", 20_000)
    driver.later(20)
    assert got(driver, f"{batch}.0") == 1


# What a rate looks like.


@pytest.mark.parametrize(
    ("text", "per_second"), [("200/s", 200), ("200", 200), ("600/min", 10), ("1800/h", 0.5), ("43200/d", 0.5)]
)
def test_a_rate_has_a_unit_of_time(text: str, per_second: float) -> None:
    assert Rate(text).per_second == per_second


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "0/s", "5/week", "1e9", "1/s/s", "nan", "200 /s", "\uff19/s"])
def test_what_is_no_rate_is_an_error_that_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="200/s, 600/min, 5000/h or 50000/d"):
        Rate(text)
