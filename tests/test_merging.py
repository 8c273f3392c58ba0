"""Merging: one mail to many recipients, up to a thousand in a request, and each of them is a mail of the batch."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sendgrid.helpers.mail import Content, DynamicTemplateData, Email, Mail, Personalization, To

from postroom import payload
from postroom.answers import Failure
from postroom.mail import faults
from postroom.names import State
from postroom.settings import Settings
from producers import AsyncPostroom, Batch, InvalidMail, KeyConflict, Postroom
from producers.operator import Operator
from tests.mails import addresses
from tests.servers import RedisServer, eventually
from tests.stack import Stack, running_stack

TEMPLATE: dict[str, Any] = {
    "from": {"email": "news@example.com", "name": "News"},
    "subject": "News of the day",
    "content": [{"type": "text/plain", "value": "Dear reader, nothing happened."}],
    "categories": ["news"],
}
DYNAMIC = {"from": {"email": "news@example.com"}, "template_id": "d-0123456789"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("stack"),
        POSTROOM_REQUEST_DEADLINE="2",
        POSTROOM_GRACE="12",
        POSTROOM_BACKOFF_BASE="0.2",
        POSTROOM_MAX_ATTEMPTS="3",
    ) as started:
        yield started


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url)) as client:
        yield client


@pytest.fixture
def bodies(redis_server: RedisServer) -> Any:
    """The requests that a batch will be, each with all that is merged in it."""

    def read(batch: Batch) -> list[dict[str, Any]]:
        with redis_server.client() as redis:
            rows = redis.lrange(f"postroom:batch:{batch.id}:chunks", 0, -1)
            packed = [redis.get(f"postroom:payload:{batch.id}.{int(row)}") for row in rows]
        contents = [payload.unpack(each) for each in packed]
        return [msgspec.json.decode(each.body(*range(len(each.parts))) or b"") for each in contents]

    return read


def requests_of(stack: Stack, batch: Batch) -> list[dict[str, Any]]:
    """The accepted requests with mails of a batch, in the order in which they were accepted."""
    return [line for line in stack.sandbox.accepted() if line["postroom_ids"][0].startswith(f"{batch.id}.")]


def copies_of(stack: Stack, batch: Batch) -> list[int]:
    """How many copies of each row were accepted."""
    made = stack.copies()
    return [made[id] for id in stack.batch_ids(batch.id)]


def people(count: int, bad: dict[int, str] | None = None, name: str = "reader") -> list[str]:
    return [(bad or {}).get(row, address) for row, address in enumerate(addresses(count, name))]


# -- Through a worker, to SendGrid


def test_each_recipient_is_sent_once_in_requests_of_a_thousand(stack: Stack) -> None:
    recipients = people(2300, name="thousand")

    batch = stack.postroom.enqueue_merge(TEMPLATE, recipients)
    report = batch.wait(30)

    requests = sorted(requests_of(stack, batch), key=lambda line: int(line["postroom_ids"][0].split(".")[1]))
    assert [len(line["recipients"]) for line in requests] == [1000, 1000, 300]
    assert [to for line in requests for to in line["recipients"]] == recipients
    assert [id for line in requests for id in line["postroom_ids"]] == stack.batch_ids(batch.id)
    assert report.counts[State.ACCEPTED] == report.total == 2300
    status = stack.postroom.status(requests[1]["postroom_ids"][7])
    assert (status.receipt, status.attempt, status.state) == (requests[1]["receipt"], 1, State.ACCEPTED)


def test_a_request_has_the_template_and_what_each_recipient_has_of_its_own(stack: Stack) -> None:
    own = {"to": [{"email": "ann@own.example", "name": "Ann"}], "custom_args": {"n": "7"}, "subject": "For Ann"}

    batch = stack.postroom.enqueue_merge(TEMPLATE, ["bob@own.example", own], per_request=2)
    batch.wait(20)

    (request,) = requests_of(stack, batch)
    sent = httpx.get(f"{stack.sandbox.url}/api/mails/{request['receipt']}", trust_env=False, verify=False).json()
    bob, ann = stack.batch_ids(batch.id)
    assert sent["body"] == TEMPLATE | {
        "personalizations": [
            {"to": [{"email": "bob@own.example"}], "custom_args": {"postroom_id": bob}},
            own | {"custom_args": {"n": "7", "postroom_id": ann}},
        ]
    }


def test_recipients_that_are_refused_are_reported_one_by_one_and_nobody_else_is_hurt(stack: Stack) -> None:
    bad = {row: f"reject+{row}@sandbox.test" for row in (0, 99, 100, 101, 250, 399)}

    batch = stack.postroom.enqueue_merge(TEMPLATE, people(400, bad, "refused"), per_request=100)
    report = batch.wait(30)

    assert report.counts == Counter({**dict.fromkeys(report.counts, 0), "accepted": 394, "rejected": 6})
    failures = {failure.row: failure for failure in report.failed}
    assert failures.keys() == bad.keys()
    for row, address in bad.items():
        (error,) = failures[row].errors
        assert error["field"] == "personalizations.0"
        assert f"[{address}] in the personalizations.0.to field" in error["message"]
        assert failures[row].reason == "http_400"
    assert copies_of(stack, batch) == [row not in bad for row in range(400)]
    assert {stack.postroom.status(id).attempt for id in stack.batch_ids(batch.id)} == {1}
    assert [len(line["recipients"]) for line in sorted(requests_of(stack, batch), key=_first_id)] == [98, 98, 99, 99]


def _first_id(line: dict[str, Any]) -> int:
    return int(line["postroom_ids"][0].split(".")[1])


def test_what_is_not_about_a_recipient_is_about_all_of_the_request(stack: Stack) -> None:
    batch = stack.postroom.enqueue_merge(TEMPLATE, people(30, {14: "sender+a@sandbox.test"}, "all"), per_request=10)
    report = batch.wait(20)

    assert (report.counts["accepted"], report.counts["rejected"]) == (20, 10)
    assert [failure.row for failure in report.failed] == list(range(10, 20))


def test_a_request_that_failed_is_tried_again_with_all_its_recipients(stack: Stack) -> None:
    batch = stack.postroom.enqueue_merge(TEMPLATE, people(30, {5: "500x1+again@sandbox.test"}, "again"), per_request=30)
    report = batch.wait(30)

    assert report.counts["accepted"] == 30
    assert copies_of(stack, batch) == [1] * 30
    assert {stack.postroom.status(id).attempt for id in stack.batch_ids(batch.id)} == {2}


def test_under_hold_a_request_in_doubt_is_unresolved_for_each_of_its_recipients(stack: Stack) -> None:
    bad = {12: "accept-reset+hold@sandbox.test"}
    batch = stack.postroom.enqueue_merge(TEMPLATE, people(30, bad, "hold"), per_request=10, on_doubt="hold")
    report = batch.wait(40)

    failed: list[Failure] = list(report.failed)
    assert [(failure.row, failure.state) for failure in failed] == [(row, State.UNRESOLVED) for row in range(10, 20)]
    assert copies_of(stack, batch) == [1] * 30


def test_under_resend_a_request_in_doubt_is_one_more_copy_for_each_of_its_recipients(stack: Stack) -> None:
    bad = {12: "accept-resetx1+resend@sandbox.test"}
    batch = stack.postroom.enqueue_merge(TEMPLATE, people(30, bad, "resend"), per_request=10)
    report = batch.wait(40)

    assert report.counts["accepted"] == 30
    assert report.resends == 10
    assert copies_of(stack, batch) == [1] * 10 + [2] * 10 + [1] * 10


def test_events_tell_of_each_recipient_of_a_request_in_doubt(stack: Stack) -> None:
    bad = {0: "accept-reset+events@sandbox.test"}
    batch = stack.postroom.enqueue_merge(TEMPLATE, people(4, bad, "events"), on_doubt="hold")
    batch.wait(40)
    ids = stack.batch_ids(batch.id)

    taken = stack.postroom.evidence([{"event": "processed", "postroom_id": ids[2], "email": "events2@example.com"}])

    assert taken.mails == 1
    states = [stack.postroom.status(id).state for id in ids]
    assert states == [State.UNRESOLVED, State.UNRESOLVED, State.ACCEPTED, State.UNRESOLVED]


def test_a_dead_letter_of_a_merge_is_retried_by_itself(stack: Stack) -> None:
    batch = stack.postroom.enqueue_merge(TEMPLATE, people(5, {3: "rejectx1+hand@sandbox.test"}, "hand"))
    (failure,) = batch.wait(20).failed

    with Operator(stack.settings) as operator:
        content = msgspec.json.decode(operator.content(failure.id) or b"")
        operator.retry(failure.id)
    again = batch.wait(20)

    assert content["personalizations"][0]["to"] == [{"email": "rejectx1+hand@sandbox.test"}]
    assert content["subject"] == TEMPLATE["subject"]
    assert again.counts["rejected"] == 1  # the report is what it was
    eventually(lambda: batch.progress().accepted == 5, 20)
    assert [line["recipients"] for line in requests_of(stack, batch)][-1] == ["rejectx1+hand@sandbox.test"]
    assert copies_of(stack, batch) == [1] * 5


async def test_the_asyncio_client_merges_from_an_async_generator(stack: Stack) -> None:
    async def recipients() -> AsyncIterator[str]:
        for address in people(25, name="async"):
            yield address

    async with AsyncPostroom(stack.settings) as client:
        batch = await client.enqueue_merge(TEMPLATE, recipients(), per_request=10)
        report = await batch.wait(20)

    assert report.counts["accepted"] == 25


# -- What becomes a request


def test_a_recipient_may_be_given_in_several_ways(postroom: Postroom, bodies: Any) -> None:
    helper = Personalization()
    helper.add_to(To("eve@example.com", "Eve"))
    helper.add_cc(Email("copy@example.com"))
    helper.dynamic_template_data = DynamicTemplateData({"name": "Eve"}).get()
    json_text = b'{"to":[{"email":"joe@example.com"}]}'
    mapping = {"to": [{"email": "ann@example.com"}], "send_at": None}

    (body,) = bodies(postroom.enqueue_merge(DYNAMIC, iter(["bob@example.com", mapping, json_text, helper])))

    assert [each["to"][0]["email"] for each in body["personalizations"]] == [
        "bob@example.com",
        "ann@example.com",
        "joe@example.com",
        "eve@example.com",
    ]
    assert body["personalizations"][3]["dynamic_template_data"] == {"name": "Eve"}
    assert faults(body, now=0) == []


@pytest.mark.parametrize("kind", ["mapping", "json", "helper"])
def test_a_template_may_be_given_in_several_ways(postroom: Postroom, bodies: Any, kind: str) -> None:
    helper = Mail()
    helper.from_email = ("news@example.com", "News")
    helper.subject = "News of the day"
    helper.add_content(Content("text/plain", "Dear reader, nothing happened."))
    plain = {name: value for name, value in TEMPLATE.items() if name != "categories"}
    template = {"mapping": plain, "json": json.dumps(plain).encode(), "helper": helper}[kind]

    (body,) = bodies(postroom.enqueue_merge(template, ["ann@example.com"]))

    assert {name: value for name, value in body.items() if name != "personalizations"} == plain


@pytest.mark.parametrize(("per_request", "sizes"), [(1000, [200, 200, 50]), (150, [150, 150, 150])])
def test_a_request_has_at_most_a_thousand_to_cc_and_bcc(
    postroom: Postroom, bodies: Any, per_request: int, sizes: list[int]
) -> None:
    def recipient(n: int) -> dict[str, Any]:
        return {"to": [{"email": f"to{n}@example.com"}], "cc": [{"email": f"cc{i}@{n}.example"} for i in range(4)]}

    batch = postroom.enqueue_merge(TEMPLATE, map(recipient, range(450)), per_request=per_request)

    requests = bodies(batch)
    assert [len(body["personalizations"]) for body in requests] == sizes
    assert all(faults(body, now=0) == [] for body in requests)
    assert [each["custom_args"]["postroom_id"] for body in requests for each in body["personalizations"]] == [
        f"{batch.id}.{start}.{place}"
        for start, size in zip([sum(sizes[:n]) for n in range(3)], sizes, strict=True)
        for place in range(size)
    ]


def test_a_recipient_of_a_thousand_has_a_request_of_its_own(postroom: Postroom, bodies: Any) -> None:
    crowd = {"to": [{"email": f"to{n}@example.com"} for n in range(1000)]}

    requests = bodies(postroom.enqueue_merge(TEMPLATE, ["ann@example.com", crowd, crowd, "bob@example.com"]))

    assert [len(body["personalizations"]) for body in requests] == [1, 1, 1, 1]
    assert all(faults(body, now=0) == [] for body in requests)


def test_a_request_is_within_30_megabytes(redis_url: str, bodies: Any) -> None:
    attachment = {"filename": "big.bin", "content": "QUJD" * (6 * 1024 * 1024)}  # 24 MB
    data = {"to": [{"email": "ann@example.com"}], "dynamic_template_data": {"text": "x" * 1024 * 1024}}

    with Postroom(Settings(redis_url=redis_url, chunk_bytes=100 * 1024 * 1024)) as postroom:
        requests = bodies(postroom.enqueue_merge(DYNAMIC | {"attachments": [attachment]}, [data] * 8))
        sizes = [len(msgspec.json.encode(body)) for body in requests]
        assert [len(body["personalizations"]) for body in requests] == [5, 3]
        assert all(size <= 30 * 1024 * 1024 for size in sizes)

        too_large = data | {"dynamic_template_data": {"text": "x" * 7 * 1024 * 1024}}
        with pytest.raises(InvalidMail, match="30 MB") as caught:
            postroom.enqueue_merge(DYNAMIC | {"attachments": [attachment]}, [data, too_large])
        assert caught.value.row == 1


def test_the_most_that_fits_goes_in_to_the_byte(redis_url: str, bodies: Any) -> None:
    """Two recipients fill a request; a byte more, and they are two requests."""
    with Postroom(Settings(redis_url=redis_url, chunk_bytes=100 * 1024 * 1024)) as postroom:

        def requests(size: int) -> list[dict[str, Any]]:
            data = [{"to": [{"email": "a@b.cd"}], "dynamic_template_data": {"t": "x" * n}} for n in (size, 1_000_000)]
            made: list[dict[str, Any]] = bodies(postroom.enqueue_merge(DYNAMIC, data))
            return made

        rest = 30 * 1024 * 1024 - len(msgspec.json.encode(requests(1)[0])) + 1
        (full,) = requests(rest)
        assert len(msgspec.json.encode(full)) == 30 * 1024 * 1024
        assert len(requests(rest + 1)) == 2


# -- What is refused


def refusal(postroom: Postroom, template: Any, recipients: Any, **arguments: Any) -> InvalidMail:
    with pytest.raises(InvalidMail) as caught:
        postroom.enqueue_merge(template, recipients, **arguments)
    return caught.value


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"from": {"email": "nobody"}}, "from.email"),
        ({"from": None}, "from"),
        ({"content": []}, "content"),
        ({"content": None}, "content"),
        ({"categories": ["a", "a"]}, "categories"),
        ({"custom_args": {"postroom_id": "mine"}}, "custom_args.postroom_id"),
        ({"custom_args": {"long": "x" * 10_001}}, "custom_args"),
        ({"personalizations": [{"to": [{"email": "ann@example.com"}]}]}, "personalizations"),
    ],
)
def test_a_fault_of_the_template_is_told_without_a_row(
    postroom: Postroom, redis_server: RedisServer, change: dict[str, Any], field: str
) -> None:
    error = refusal(postroom, TEMPLATE | change, ["ann@example.com"])

    assert (error.row, [fault.field for fault in error.faults]) == (None, [field])
    with redis_server.client() as redis:
        assert redis.keys("postroom:batch:*") == []


@pytest.mark.parametrize(
    ("template", "recipient", "field"),
    [
        (TEMPLATE, "nobody", "personalizations.0.to.0.email"),
        (TEMPLATE, {"to": []}, "personalizations.0.to"),
        (TEMPLATE, {"cc": [{"email": "ann@example.com"}]}, "personalizations.0.to"),
        (TEMPLATE, {"to": [{"email": "a@example.com"}, {"email": "A@example.com"}]}, "personalizations.0"),
        (TEMPLATE, {"to": [{"email": "a@b.example"}], "dynamic_template_data": {"a": 1}}, "template_id"),
        (
            TEMPLATE,
            {"to": [{"email": "a@b.example"}], "from": {"email": "a@b.example"}},
            "personalizations.0.from.email",
        ),
        (DYNAMIC, {"to": [{"email": "a@b.example"}], "substitutions": {"a": "b"}}, "personalizations.0.substitutions"),
        (TEMPLATE, {"to": [{"email": "a@b.example"}], "custom_args": {"n": 1}}, "personalizations.0.custom_args.n"),
        (
            TEMPLATE,
            {"to": [{"email": "a@b.example"}], "custom_args": {"postroom_id": "mine"}},
            "personalizations.0.custom_args.postroom_id",
        ),
        (
            TEMPLATE | {"custom_args": {"common": "x" * 5000}},
            {"to": [{"email": "a@b.example"}], "custom_args": {"own": "x" * 4980}},
            "personalizations.0.custom_args",
        ),
        ({**TEMPLATE, "subject": None}, "ann@example.com", "subject"),
        (TEMPLATE, b"{", ""),
        (TEMPLATE, 7, ""),
        (TEMPLATE, None, ""),
        (TEMPLATE, ["ann@example.com"], ""),
    ],
)
def test_a_fault_of_a_recipient_is_told_with_its_row_and_nothing_is_enqueued(
    postroom: Postroom, redis_server: RedisServer, template: Any, recipient: Any, field: str
) -> None:
    fine = {"to": [{"email": "fine@example.com"}], "subject": "Fine"}

    error = refusal(postroom, template, [fine, recipient, fine])

    assert (error.row, [fault.field for fault in error.faults]) == (1, [field])
    with redis_server.client() as redis:
        assert redis.keys("postroom:batch:*") + redis.keys("postroom:chunk:*") == []


@pytest.mark.parametrize("per_request", [0, 1001, -1, 1.5, None, "1000", True])
def test_a_request_has_1_to_1000_recipients(postroom: Postroom, per_request: Any) -> None:
    with pytest.raises(ValueError, match="per_request is a number of recipients from 1 to 1000"):
        postroom.enqueue_merge(TEMPLATE, ["ann@example.com"], per_request=per_request)


@pytest.mark.parametrize("recipients", ["ann@example.com", {"to": []}, b"ann@example.com", None, 7])
def test_recipients_are_many(postroom: Postroom, recipients: Any) -> None:
    with pytest.raises(TypeError, match="recipients must be an iterable of recipients"):
        postroom.enqueue_merge(TEMPLATE, recipients)


def test_the_time_is_given_once(postroom: Postroom) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    timed = {"to": [{"email": "ann@example.com"}], "send_at": int(later.timestamp())}

    assert refusal(postroom, TEMPLATE | {"send_at": timed["send_at"]}, ["a@b.example"], send_at=later).row is None
    postroom.enqueue_merge(TEMPLATE, ["ann@example.com"], send_at=later)
    postroom.enqueue_merge(TEMPLATE, [timed])


def test_nobody_to_send_to_is_an_empty_batch(postroom: Postroom) -> None:
    report = postroom.enqueue_merge(TEMPLATE, []).report()
    assert (report.total, report.final_at is not None) == (0, True)


# -- Staging, and keys


def test_redirected_merges_go_to_one_address(redis_url: str, bodies: Any) -> None:
    template = TEMPLATE | {"mail_settings": {"bcc": {"enable": True, "email": "boss@example.com"}}}
    recipient = {"to": [{"email": "ann@example.com"}], "cc": [{"email": "bob@example.com"}], "custom_args": {"n": "1"}}

    with Postroom(Settings.of(redis_url=redis_url, redirect_to="staging@example.org")) as postroom:
        (body,) = bodies(postroom.enqueue_merge(template, [recipient, "eve@example.com"]))

    assert re.findall(r"[a-z]+@example\.\w+", json.dumps(body)) == [
        "news@example.com",
        "staging@example.org",
        "staging@example.org",
    ]
    assert body["personalizations"][0]["custom_args"]["n"] == "1"


def test_recipients_outside_of_the_allowed_domains_are_refused(redis_url: str) -> None:
    bcc = {"mail_settings": {"bcc": {"enable": True, "email": "boss@elsewhere.example"}}}
    with Postroom(Settings.of(redis_url=redis_url, allow_domains="example.org")) as postroom:
        assert refusal(postroom, TEMPLATE, ["ann@example.org", "bob@elsewhere.example"]).row == 1
        assert refusal(postroom, TEMPLATE | bcc, ["ann@example.org"]).row is None
        postroom.enqueue_merge(TEMPLATE, ["ann@example.org"])


def test_the_same_key_template_and_recipients_are_one_batch(postroom: Postroom) -> None:
    def enqueue(template: dict[str, Any], recipients: list[str], per_request: int = 4) -> str:
        return postroom.enqueue_merge(template, recipients, key="news", per_request=per_request).id

    first = enqueue(TEMPLATE, people(10))

    assert enqueue(TEMPLATE, people(10)) == enqueue(TEMPLATE, people(10), 7) == first
    for template, recipients in ((TEMPLATE | {"subject": "Other"}, people(10)), (TEMPLATE, people(11))):
        with pytest.raises(KeyConflict):
            enqueue(template, recipients)
    with pytest.raises(KeyConflict):
        postroom.enqueue_batch([], key="news")


def test_a_merge_under_a_key_goes_on_where_it_stopped(postroom: Postroom, bodies: Any) -> None:
    def breaks_off() -> Iterator[str]:
        yield from people(10)[:7]
        raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError, match="away"):
        postroom.enqueue_merge(TEMPLATE, breaks_off(), key="news", per_request=3)
    batch = postroom.enqueue_merge(TEMPLATE, people(10), key="news", per_request=3)

    requests = bodies(batch)
    assert [each["to"][0]["email"] for body in requests for each in body["personalizations"]] == people(10)
    assert [len(body["personalizations"]) for body in requests] == [3, 3, 3, 1]


def test_a_long_list_is_read_as_it_is_stored(postroom: Postroom, tmp_path: Path) -> None:
    """No more than a request's recipients are held at a time."""
    alive: list[int] = []

    class Counted(dict[str, Any]):
        def __init__(self, number: int) -> None:
            super().__init__(to=[{"email": f"reader{number}@example.com"}])
            alive.append(number)

        def __del__(self) -> None:
            alive.pop()

    most = 0

    def recipients() -> Iterator[dict[str, Any]]:
        nonlocal most
        for number in range(5000):
            most = max(most, len(alive))
            yield Counted(number)

    postroom.enqueue_merge(TEMPLATE, recipients(), per_request=100)
    assert most <= 2
