"""Evidence: what SendGrid's Event Webhook tells settles doubts, and nothing else in it does any harm."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.names import State
from producers import AsyncPostroom, InvalidEvents, Postroom, Settings
from producers.evidence import Reading
from tests.ledger_driver import REJECTED, TIMEOUT, Driver, accepted
from tests.mails import mail, mails
from tests.ticker import ticking

EVENTS = Path(__file__).parent / "data" / "sendgrid" / "events_docs.jsonl"
MAIL = "a" * 20


def documented() -> list[dict[str, Any]]:
    """Every event of SendGrid's documentation."""
    return [event for line in EVENTS.read_text().splitlines() for event in json.loads(line)["events"]]


def event(id: str, receipt: str = "receipt-of-22-letters.", what: str = "processed") -> dict[str, Any]:
    message_id = f"{receipt.rstrip('.')}.filterdrecv-7d8-abc-1-5F0.0" if receipt else None
    return {"event": what, "email": "ann@example.com", "postroom_id": id, "sg_message_id": message_id}


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        yield postroom


@pytest.fixture
def driver(redis_url: str) -> Iterator[Driver]:
    with Driver(redis_url) as driver:
        yield driver


def test_any_event_of_a_mail_proves_that_it_was_accepted(postroom: Postroom, driver: Driver) -> None:
    """Also a drop or a bounce: SendGrid has taken it, and no second copy may follow."""
    ids = [postroom.enqueue(mail(), on_doubt="hold") for _ in range(5)]
    driver.attempt("transactional", TIMEOUT)
    told = ["processed", "delivered", "dropped", "bounce", "open"]

    evidence = postroom.evidence([event(id, what=what) for id, what in zip(ids, told, strict=True)])

    assert (evidence.mails, evidence.others) == (5, 0)
    assert {postroom.status(id).state for id in ids} == {State.ACCEPTED}
    assert postroom.status(ids[0]).receipt == "receipt-of-22-letters"


@pytest.mark.parametrize("as_bytes", [True, False])
def test_the_body_of_a_request_will_do(postroom: Postroom, driver: Driver, as_bytes: bool) -> None:
    id = postroom.enqueue(mail())
    driver.attempt("transactional", TIMEOUT)
    body = json.dumps([event(id)])

    postroom.evidence(body.encode() if as_bytes else body)

    assert postroom.status(id).state is State.ACCEPTED


async def test_asyncio_has_it_too(redis_url: str, driver: Driver) -> None:
    async with AsyncPostroom(Settings(redis_url=redis_url)) as postroom:
        id = await postroom.enqueue(mail())
        driver.attempt("transactional", TIMEOUT)

        assert (await postroom.evidence([event(id)])).mails == 1

        assert (await postroom.status(id)).state is State.ACCEPTED


def test_late_truth_shows_beside_the_report(postroom: Postroom, driver: Driver) -> None:
    batch = postroom.enqueue_batch(mails(3), on_doubt="hold")
    chunk = f"{batch.id}.0"
    driver.attempt(chunk, TIMEOUT, limit=1)
    driver.attempt(chunk, accepted())
    driver.later(driver.settings.grace)
    driver.sweep()
    driver.run(driver.ledger.record_report(batch.id, "body"))
    assert batch.report().counts["unresolved"] == 1

    postroom.evidence([event(f"{chunk}.0")])

    report = batch.report()
    assert report.counts["unresolved"] == 1
    assert report.changed_since is not None
    assert (batch.progress().accepted, batch.progress().unresolved) == (3, 0)


def test_a_second_copy_is_counted_by_its_receipt(postroom: Postroom, driver: Driver) -> None:
    batch = postroom.enqueue_batch(mails(1))
    id = f"{batch.id}.0.0"
    driver.attempt(f"{batch.id}.0", TIMEOUT)
    driver.later(driver.settings.grace)
    driver.sweep()
    driver.attempt(f"{batch.id}.0", accepted("second-receipt"))

    for _ in range(3):
        postroom.evidence([event(id, "second-receipt"), event(id, "first-receipt")])

    assert (batch.report().resends, batch.report().extra_copies) == (1, 1)


def test_evidence_can_not_undo_what_is_known(postroom: Postroom, driver: Driver) -> None:
    """SendGrid has refused an attempt, and proves to have accepted one: the proof counts, in any state."""
    id = postroom.enqueue(mail())
    driver.attempt("transactional", REJECTED)

    postroom.evidence([event(id)])

    assert postroom.status(id).state is State.ACCEPTED


def test_the_same_events_may_come_often_and_in_any_order(postroom: Postroom, driver: Driver) -> None:
    batch = postroom.enqueue_batch(mails(450))
    size = Settings().chunk_mails
    driver.sweep()
    events = [event(f"{batch.id}.{row // size * size}.{row % size}", what=what) for what in "ab" for row in range(450)]

    for told in (events, events[::-1], events[:7]):
        postroom.evidence(told)

    assert batch.progress().accepted == 450
    assert driver.record(batch.id).counts == {**dict.fromkeys(map(str, State), 0), "accepted": 450}


def test_documented_events_without_an_id_are_other_peoples(postroom: Postroom) -> None:
    events = documented()
    assert len(events) > 20

    assert postroom.evidence(events) == postroom.evidence(json.dumps(events))
    assert (postroom.evidence(events).mails, postroom.evidence(events).others) == (0, len(events))


def test_documented_events_with_an_id_are_proof() -> None:
    events = [{**told, "postroom_id": MAIL} for told in documented()]

    reading = Reading()
    for told in events:
        reading.take(told)

    assert (reading.evidence().mails, reading.evidence().others) == (1, 0)
    assert "14c5d75ce93.dfd.64b469" in {told.receipt for _, told in reading.news()}


@pytest.mark.parametrize(
    "strange",
    [
        *(None, 7, "text", [], {}, [event(MAIL)], {"postroom_id": None}, {"postroom_id": 7}, {"postroom_id": "no id"}),
        *({"postroom_id": [MAIL]}, {"postroom_id": MAIL.upper()}, {"postroom_id": f"{MAIL}.1.2.3"}),
    ],
)
def test_what_is_no_event_of_ours_is_passed_over(postroom: Postroom, driver: Driver, strange: Any) -> None:
    id = postroom.enqueue(mail())
    driver.attempt("transactional", TIMEOUT)

    evidence = postroom.evidence([strange, event(id)])

    assert (evidence.mails, evidence.others) == (1, 1)
    assert postroom.status(id).state is State.ACCEPTED


def test_unknown_mails_are_nobodys(postroom: Postroom, driver: Driver) -> None:
    postroom.evidence([event(MAIL), event(f"{MAIL}.0.3"), event(f"{MAIL}.0")])

    assert driver.redis.keys("postroom:chunk:*") == []


@pytest.mark.parametrize("receipt", [None, 7, "", "ä", "\n", "x" * 5000, "a b"])
def test_a_strange_receipt_is_still_proof(postroom: Postroom, driver: Driver, receipt: Any) -> None:
    id = postroom.enqueue(mail())
    driver.attempt("transactional", TIMEOUT)

    postroom.evidence([{**event(id), "sg_message_id": receipt}])

    assert postroom.status(id).state is State.ACCEPTED


@pytest.mark.parametrize("body", [b"", b"{}", b"7", b"null", b"[", b"\xff", "nonsense", b"[" * 100_000, {}, 7, None])
def test_what_is_no_array_of_events_is_an_error(postroom: Postroom, body: Any) -> None:
    with pytest.raises(InvalidEvents, match=r"array|JSON"):
        postroom.evidence(body)


@pytest.mark.alone
async def test_thousands_of_events_hold_the_event_loop_for_moments(redis_url: str, driver: Driver) -> None:
    async with AsyncPostroom(Settings(redis_url=redis_url)) as postroom:
        batch = await postroom.enqueue_batch(mails(200))
        events = [
            {**event(f"{batch.id}.0.{row}"), "email": f"reader{copy}@example.com", "timestamp": 1_700_000_000}
            for row in range(200)
            for copy in range(15)
        ]
        async with ticking() as holds:
            await postroom.evidence(events)

        assert (await batch.progress()).deliveries.processed == 3_000
    assert max(hold.busy for hold in holds) < 0.01
