"""Delivery status: what SendGrid's events tell of each recipient, in whatever order and however often they come."""

import json
from collections.abc import Iterator
from itertools import permutations
from random import Random
from typing import Any

import msgspec
import pytest

from postroom.delivery import Deliveries, DeliveryState, recipient_hash
from postroom.names import State
from producers import Postroom, Settings
from tests.command_line import postroom as command
from tests.ledger_driver import REJECTED, Driver, accepted
from tests.mails import mail, mails
from tests.test_evidence import documented
from tests.webhook import event

ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        yield postroom


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def sent(postroom: Postroom, driver: Driver) -> str:
    id = postroom.enqueue(mail())
    driver.attempt("transactional", accepted())
    return id


def sent_batch(postroom: Postroom, driver: Driver, count: int) -> tuple[str, list[str]]:
    """A batch of one chunk; its id, and its mails'."""
    batch = postroom.enqueue_batch(mails(count)).id
    driver.attempt(f"{batch}.0", accepted(), limit=count)
    return batch, [f"{batch}.0.{row}" for row in range(count)]


def state(postroom: Postroom, id: str, address: str = ANN) -> str | None:
    delivery = postroom.status(id).delivery_to(address)
    return delivery and delivery.state


def test_a_mail_without_events_has_no_deliveries(postroom: Postroom, driver: Driver) -> None:
    id = sent(postroom, driver)

    assert postroom.status(id).deliveries == []
    assert driver.redis.keys("postroom:deliveries:*") == []


@pytest.mark.parametrize(
    ("what", "fields", "expected"),
    [
        ("processed", {}, "processed"),
        ("deferred", {"response": "451 later"}, "deferred"),
        ("delivered", {"response": "250 OK"}, "delivered"),
        ("dropped", {"reason": "Bounced Address"}, "dropped"),
        ("bounce", {"reason": "550 no such user", "type": "bounce"}, "bounced"),
        ("bounce", {"reason": "550 no such user"}, "bounced"),
        ("bounce", {"reason": "550 bad reputation", "type": "blocked"}, "blocked"),
        ("open", {}, "delivered"),
        ("spamreport", {}, "delivered"),
    ],
)
def test_each_event_tells_a_state(
    postroom: Postroom, driver: Driver, what: str, fields: dict[str, Any], expected: str
) -> None:
    id = sent(postroom, driver)

    postroom.evidence([event(id, what, **fields)])

    (delivery,) = postroom.status(id).deliveries
    assert delivery.state == expected
    assert delivery.at == (None if what in ("open", "spamreport") else 1_700_000_000)
    kept = fields.get("reason") or fields.get("response")
    assert delivery.reason == (kept if expected not in ("processed", "delivered") else None)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([("processed", 1), ("deferred", 2), ("delivered", 3)], "delivered"),
        ([("processed", 5), ("delivered", 5)], "delivered"),
        ([("processed", 9), ("delivered", 8)], "delivered"),  # SendGrid's machines have clocks of their own
        ([("deferred", 9), ("deferred", 7), ("bounce", 8)], "bounced"),
        ([("processed", 1), ("delivered", 2), ("bounce", 3)], "bounced"),  # some servers bounce what they have taken
        ([("dropped", 2), ("delivered", 3)], "delivered"),  # of two copies
        ([("delivered", 3), ("bounce", 3)], "bounced"),
        ([("open", 9), ("bounce", 3), ("delivered", 2)], "bounced"),
        ([("open", 9), ("processed", 1)], "delivered"),
    ],
)
def test_the_order_in_which_events_come_does_not_matter(
    postroom: Postroom, driver: Driver, told: list[tuple[str, int]], expected: str
) -> None:
    for order in permutations(told):
        id = sent(postroom, driver)
        for what, at in order:
            postroom.evidence([event(id, what, at)])
        assert state(postroom, id) == expected
        assert len(postroom.status(id).deliveries) == 1


def test_a_delivery_that_comes_about_has_no_reason(postroom: Postroom, driver: Driver) -> None:
    id = sent(postroom, driver)

    postroom.evidence([event(id, "deferred", 1, response="451 later")])
    assert postroom.status(id).deliveries[0].reason == "451 later"
    postroom.evidence([event(id, "delivered", 2, response="250 OK")])

    assert postroom.status(id).deliveries[0].reason is None


def test_each_recipient_has_a_state_of_its_own(postroom: Postroom, driver: Driver) -> None:
    id = sent(postroom, driver)

    postroom.evidence([event(id, "delivered"), event(id, "bounce", email=BOB)])

    status = postroom.status(id)
    assert (state(postroom, id, ANN), state(postroom, id, BOB)) == ("delivered", "bounced")
    assert status.delivery_to("Bob@Example.com") == status.delivery_to(BOB)
    assert status.delivery_to("eve@example.com") is None


def test_a_thousand_recipients_of_one_mail(postroom: Postroom, driver: Driver) -> None:
    id = sent(postroom, driver)
    addresses = [f"reader{number}@example.com" for number in range(1_000)]

    postroom.evidence([event(id, "delivered", email=address) for address in addresses])
    postroom.evidence([event(id, "bounce", 1_800_000_000, email=address) for address in addresses[::2]])

    assert len(postroom.status(id).deliveries) == 1_000
    assert [state(postroom, id, address) for address in addresses[:4]] == ["bounced", "delivered"] * 2


def test_who_resubscribes_is_subscribed(postroom: Postroom, driver: Driver) -> None:
    told = [event(id="", what=what, at=at) for what, at in _SUBSCRIPTIONS]
    for order in permutations(told):
        id = sent(postroom, driver)
        for each in order:
            postroom.evidence([each | {"postroom_id": id}])
        assert not postroom.status(id).deliveries[0].unsubscribed

    postroom.evidence([event(id, "unsubscribe", 40)])
    assert postroom.status(id).deliveries[0].unsubscribed


_SUBSCRIPTIONS = [("unsubscribe", 10), ("group_unsubscribe", 20), ("group_resubscribe", 30)]


def test_a_batch_counts_its_recipients(postroom: Postroom, driver: Driver) -> None:
    batch, ids = sent_batch(postroom, driver, 6)
    whats = ["delivered", "bounce", "dropped", "deferred", "spamreport", "unsubscribe"]
    told = [event(id, what) for id, what in zip(ids, whats, strict=True)]

    for _ in range(3):
        postroom.evidence([*told, event(ids[0], "processed"), event(ids[4], "delivered")])

    counted = Deliveries(delivered=3, bounced=1, dropped=1, deferred=1, spam_reports=1, unsubscribed=1)
    assert postroom.progress(batch).deliveries == counted
    report = postroom.report(batch)
    assert report.deliveries == counted
    assert report.to_json()["deliveries"]["delivered"] == 3

    postroom.evidence([event(ids[3], "delivered", 1_700_000_100), event(ids[5], "group_resubscribe", 1_700_000_100)])
    counted = Deliveries(delivered=4, bounced=1, dropped=1, spam_reports=1)
    assert postroom.progress(batch).deliveries == counted


def test_the_commands_show_deliveries(postroom: Postroom, driver: Driver, redis_url: str) -> None:
    batch, ids = sent_batch(postroom, driver, 3)
    assert "events" not in command("report", batch, POSTROOM_REDIS_URL=redis_url).out
    postroom.evidence([event(ids[0], "delivered"), event(ids[1], "bounce"), event(ids[1], "spamreport")])

    of_mail = command("status", ids[1], POSTROOM_REDIS_URL=redis_url).out
    assert f"{postroom.status(ids[1]).deliveries[0].recipient}  bounced" in of_mail
    for word in ("status", "report"):
        of_batch = command(word, batch, POSTROOM_REDIS_URL=redis_url).out
        assert "Recipients, by SendGrid's events: 1 delivered, 1 bounced, 1 spam reports" in of_batch


def test_deliveries_do_not_change_a_report(postroom: Postroom, driver: Driver) -> None:
    batch, ids = sent_batch(postroom, driver, 2)
    driver.run(driver.ledger.record_report(batch, "body"))

    postroom.evidence([event(id, "delivered") for id in ids])

    assert postroom.report(batch).changed_since is None
    assert postroom.report(batch).counts["accepted"] == 2


@pytest.mark.parametrize("seed", range(5))
def test_any_order_repetition_and_grouping_comes_to_the_same(postroom: Postroom, driver: Driver, seed: int) -> None:
    random = Random(seed)
    whats = ["processed", "deferred", "delivered", "dropped", "bounce", "open", "spamreport", *dict(_SUBSCRIPTIONS)]
    history = [
        (
            random.randrange(8),
            random.choice(whats),
            random.randrange(1, 6),
            random.choice([ANN, BOB]),
            random.choice("xyz"),
        )
        for _ in range(60)
    ]

    outcomes = []
    for _ in range(3):
        batch, ids = sent_batch(postroom, driver, 8)
        told = [
            event(ids[row], what, at, email=email, reason=reason, response=reason)
            for row, what, at, email, reason in history
        ]
        told = random.sample(told, len(told)) + random.choices(told, k=60)
        while told:
            size = random.randrange(1, 20)
            postroom.evidence(told[:size])
            told = told[size:]
        deliveries = [postroom.status(id).delivery_to(address) for id in ids for address in (ANN, BOB)]
        counted = postroom.progress(batch).deliveries
        assert counted == Deliveries(**added_up(deliveries))
        outcomes.append(([each and msgspec.structs.replace(each, recipient="") for each in deliveries], counted))

    assert outcomes[0] == outcomes[1] == outcomes[2]


def added_up(deliveries: list[Any]) -> dict[str, int]:
    told = [delivery for delivery in deliveries if delivery]
    return {
        **{str(state): sum(delivery.state is state for delivery in told) for state in DeliveryState},
        "spam_reports": sum(delivery.spam_report for delivery in told),
        "unsubscribed": sum(delivery.unsubscribed for delivery in told),
    }


def test_deliveries_end_with_their_mail(postroom: Postroom, driver: Driver) -> None:
    id = sent(postroom, driver)
    postroom.evidence([event(id, "delivered")])
    ends = driver.redis.pexpiretime(f"postroom:chunk:{id}")
    assert driver.redis.pexpiretime(f"postroom:deliveries:{id}") == ends > 0

    batch = postroom.enqueue_batch(mails(2)).id
    driver.attempt(f"{batch}.0", accepted(), limit=1)
    postroom.evidence([event(f"{batch}.0.0", "delivered")])
    assert driver.redis.pexpiretime(f"postroom:deliveries:{batch}.0") == -1
    driver.attempt(f"{batch}.0", REJECTED)
    ends = driver.redis.pexpiretime(f"postroom:chunk:{batch}.0")
    assert driver.redis.pexpiretime(f"postroom:deliveries:{batch}.0") == ends > 0

    driver.retry(f"{batch}.0.1")
    assert driver.redis.pexpiretime(f"postroom:deliveries:{batch}.0") == -1


def test_an_unknown_mail_leaves_nothing(postroom: Postroom, driver: Driver) -> None:
    batch, _ = sent_batch(postroom, driver, 1)
    before = set(driver.redis.keys("*"))

    postroom.evidence([event("a" * 20), event(f"{'a' * 20}.0.3"), event(f"{batch}.0.7"), event(f"{batch}.9.0")])

    assert set(driver.redis.keys("*")) == before


def test_a_batch_that_is_gone_is_not_made_anew(postroom: Postroom, driver: Driver) -> None:
    """Its rows are kept a little longer than itself."""
    batch, ids = sent_batch(postroom, driver, 1)
    driver.redis.delete(f"postroom:batch:{batch}")

    postroom.evidence([event(ids[0], "delivered")])

    assert not driver.redis.exists(f"postroom:batch:{batch}")
    assert state(postroom, ids[0]) == "delivered"


@pytest.mark.parametrize(
    "strange",
    [
        {"timestamp": None},
        {"timestamp": True},
        {"timestamp": "1700000000"},
        {"timestamp": -1},
        {"timestamp": 2**40},
        {"timestamp": 1.5},
        {"email": None},
        {"email": 7},
        {"event": None},
        {"event": ["processed"]},
        {"event": "Processed"},
        {"event": "account_status_change"},
    ],
)
def test_an_event_that_makes_no_sense_proves_all_the_same(
    postroom: Postroom, driver: Driver, strange: dict[str, Any]
) -> None:
    id = postroom.enqueue(mail())

    postroom.evidence([event(id) | strange])

    assert postroom.status(id).state is State.ACCEPTED
    assert postroom.status(id).deliveries == []


@pytest.mark.parametrize("reason", [7, None, ["x"], "\ud800", "x" * 100_000, "ä\x00\n"])
def test_a_strange_reason_is_cut_or_left_out(postroom: Postroom, driver: Driver, reason: Any) -> None:
    id = sent(postroom, driver)

    postroom.evidence([event(id, "bounce", reason=reason, email="\ud800")])

    (delivery,) = postroom.status(id).deliveries
    assert delivery.state == "bounced"
    assert len(delivery.reason or "") <= 300


def test_documented_events_tell_what_they_should(postroom: Postroom, driver: Driver) -> None:
    id = sent(postroom, driver)

    postroom.evidence(json.dumps([told | {"postroom_id": id} for told in documented()]))

    deliveries = {delivery.recipient: delivery for delivery in postroom.status(id).deliveries}
    example = deliveries[recipient_hash(id, "example@test.com")]
    assert (example.state, example.reason) == ("bounced", "500 unknown recipient")
    assert example.spam_report


def test_redis_has_no_address_of_a_delivery(postroom: Postroom, driver: Driver) -> None:
    """Nor does the same address look the same in two mails."""
    ids = [sent(postroom, driver) for _ in range(2)]
    postroom.evidence([event(id, "delivered") for id in ids])

    stored = [driver.raw.hgetall(f"postroom:deliveries:{id}")[b"0"] for id in ids]
    assert all(b"ann" not in value and b"example" not in value for value in stored)
    assert len({postroom.status(id).deliveries[0].recipient for id in ids}) == 2


def test_a_delivery_costs_a_few_bytes(postroom: Postroom, driver: Driver) -> None:
    batch, ids = sent_batch(postroom, driver, Settings().chunk_mails)
    postroom.evidence([event(id, what) for id in ids for what in ("processed", "delivered")])

    size_bytes = driver.redis.memory_usage(f"postroom:deliveries:{batch}.0", samples=0)
    assert size_bytes / len(ids) < 32
