"""Foreign messages: whatever is found in a lane, no worker ends, no thread is lost, and nothing is silently dropped."""

import base64
import json
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.connection import Connection
from postroom.ids import chunk_id, new_id
from postroom.names import Lane, State
from postroom.settings import Settings
from postroom.wakeup import VERSION, deliver_template, drain_template, report_template
from producers import Postroom
from tests.command_line import postroom as command
from tests.mails import mail, mails
from tests.servers import RedisServer, Worker, eventually, free_port
from tests.stack import Stack, ask, ledger, running_stack
from worker.foreign import Foreign, Reason, wake_up_in
from worker.garbage import KEPT_BYTES, Garbage

THREADS = 4
#: Stands in foreign messages, and must not stand in a log.
CANARY = "canary7gq2@example.com"
#: The wake-ups of version 0.1, with places for the ids of a message and a batch, and the time.
FROM_0_1 = (Path(__file__).parent / "data" / "wakeups-0.1.jsonl").read_text().splitlines()

Message = dict[str, Any]


def filled(template: str, id: str, batch: str = "", row: int = 0) -> bytes:
    places = {"@ID@": id, "@BATCH@": batch, "@AT@": "1", '"@ROW@"': str(row)}
    for place, text in places.items():
        template = template.replace(place, text)
    return template.encode()


def drain(lane: Lane = Lane.BULK) -> Message:
    return dict(json.loads(filled(drain_template(lane), f"drain-{new_id()}")))


def deliver(batch: str | None = None) -> Message:
    batch = batch or new_id()
    return dict(json.loads(filled(deliver_template(Lane.BULK, batch), chunk_id(batch, 0))))


def report(batch: str) -> Message:
    return dict(json.loads(filled(report_template(Lane.BULK), batch)))


def changed(message: Message, *path: str, to: object) -> bytes:
    """A message with one field set."""
    *above, last = path
    inner = message
    for name in above:
        inner = inner[name]
    inner[last] = to
    return json.dumps(message).encode()


def without(message: Message, *path: str) -> bytes:
    *above, last = path
    inner = message
    for name in above:
        inner = inner[name]
    del inner[last]
    return json.dumps(message).encode()


def with_body(body: object, message: Message | None = None) -> bytes:
    return changed(message or drain(), "body", to=json.dumps(body))


def chord_of_another(message: Message) -> bytes:
    args, kwargs, embedded = json.loads(message["body"])
    embedded["chord"]["args"] = [new_id()]
    return with_body([args, kwargs, embedded], message)


FOREIGN: dict[str, tuple[Reason, bytes]] = {
    "words": (Reason.NO_JSON, f"Dear {CANARY}".encode()),
    "bytes": (Reason.NO_JSON, bytes(range(128, 256))),
    "nothing": (Reason.NO_JSON, b""),
    "half a message": (Reason.NO_JSON, json.dumps(drain()).encode()[:-20]),
    "a number": (Reason.NO_MESSAGE, b"17"),
    "null": (Reason.NO_MESSAGE, b"null"),
    "a list": (Reason.NO_MESSAGE, json.dumps([CANARY]).encode()),
    "very deep": (Reason.NO_JSON, b'{"a":' * 100_000),
    "an empty object": (Reason.NO_MESSAGE, b"{}"),
    "without headers": (Reason.NO_MESSAGE, without(drain(), "headers")),
    "headers in words": (Reason.NO_MESSAGE, changed(drain(), "headers", to=CANARY)),
    "headers in a list": (Reason.NO_MESSAGE, changed(drain(), "headers", to=[CANARY])),
    "without a task": (Reason.NO_MESSAGE, without(drain(), "headers", "task")),
    "a list for a task": (Reason.NO_MESSAGE, changed(drain(), "headers", "task", to=[CANARY])),
    "a version in words": (Reason.NO_MESSAGE, changed(drain(), "headers", "postroom_version", to=CANARY)),
    "protocol 1": (Reason.NO_MESSAGE, with_body({"task": "x", "id": "x", "args": [CANARY]}, drain() | {"headers": {}})),
    "another app's": (Reason.UNKNOWN_TASK, changed(drain(), "headers", "task", to=f"shop.{CANARY}")),
    "celery's own": (
        Reason.UNKNOWN_TASK,
        changed(json.loads(with_body([["x", [[CANARY]]], {}, {}])), "headers", "task", to="celery.map"),
    ),
    "the next minor version's": (Reason.NEWER_VERSION, changed(drain(), "headers", "postroom_version", to="0.3")),
    "a far version's": (
        Reason.NEWER_VERSION,
        b'{"headers": {"postroom_version": "10.0", "task": "postroom.send"}, "mails": "%s"}' % CANARY.encode(),
    ),
    "without properties": (Reason.WRONG_OPTIONS, without(drain(), "properties")),
    "properties in a list": (Reason.WRONG_OPTIONS, changed(drain(), "properties", to=[CANARY])),
    "an unknown encoding": (Reason.WRONG_OPTIONS, changed(drain(), "properties", "body_encoding", to="rot13")),
    "without a body": (Reason.WRONG_OPTIONS, without(drain(), "body")),
    "a body that is no text": (Reason.WRONG_OPTIONS, changed(drain(), "body", to={"to": CANARY})),
    "a pickle": (Reason.WRONG_OPTIONS, changed(drain(), "content-type", to="application/x-python-serialize")),
    "without a content type": (Reason.WRONG_OPTIONS, without(drain(), "content-type")),
    "compressed": (Reason.WRONG_OPTIONS, changed(drain(), "headers", "compression", to="application/x-gzip")),
    "without an id": (Reason.WRONG_OPTIONS, without(drain(), "headers", "id")),
    "an address for an id": (Reason.WRONG_OPTIONS, changed(drain(), "headers", "id", to=CANARY)),
    "a list for an id": (Reason.WRONG_OPTIONS, changed(drain(), "headers", "id", to=[1])),
    "a time in words": (Reason.WRONG_OPTIONS, changed(drain(), "headers", "eta", to=CANARY)),
    "a far time": (Reason.WRONG_OPTIONS, changed(drain(), "headers", "eta", to="2999-01-01T00:00:00")),
    "expired": (Reason.WRONG_OPTIONS, changed(drain(), "headers", "expires", to=CANARY)),
    "a time limit": (Reason.WRONG_OPTIONS, changed(drain(), "headers", "timelimit", to=CANARY)),
    "the chord of another batch": (Reason.WRONG_OPTIONS, chord_of_another(deliver())),
    "a chunk in a group that is not its batch": (Reason.WRONG_OPTIONS, changed(deliver(), "headers", "group", to="x")),
    "a body in words": (Reason.WRONG_ARGUMENTS, changed(drain(), "body", to=CANARY)),
    "megabytes": (Reason.WRONG_ARGUMENTS, changed(drain(), "body", to=CANARY * 150_000)),
    "no base64": (Reason.WRONG_ARGUMENTS, changed(drain(), "properties", "body_encoding", to="base64")),
    "a body cut short": (Reason.WRONG_ARGUMENTS, with_body([["bulk"]])),
    "no argument": (Reason.WRONG_ARGUMENTS, with_body([[], {}, {}])),
    "too many arguments": (Reason.WRONG_ARGUMENTS, with_body([["bulk", CANARY], {}, {}])),
    "an object for an argument": (Reason.WRONG_ARGUMENTS, with_body([[{"to": CANARY}], {}, {}])),
    "an argument with a name": (Reason.WRONG_ARGUMENTS, with_body([["bulk"], {"to": CANARY}, {}])),
    "names in a list": (Reason.WRONG_ARGUMENTS, with_body([["bulk"], [CANARY], {}])),
    "no lane": (Reason.WRONG_ARGUMENTS, with_body([[CANARY], {}, {}])),
    "no id of a chunk": (Reason.WRONG_ARGUMENTS, with_body([[CANARY], {}, {}], deliver())),
    "no id of a batch": (Reason.WRONG_ARGUMENTS, with_body([[CANARY], {}, {}], report(new_id()))),
    "a task to follow": (Reason.WRONG_ARGUMENTS, with_body([["bulk"], {}, {"callbacks": [CANARY]}])),
    "a chord in words": (Reason.WRONG_ARGUMENTS, with_body([["bulk"], {}, {"chord": CANARY}])),
}


def reason_of(raw: bytes, lane: Lane = Lane.BULK) -> Reason | None:
    try:
        wake_up_in(raw, lane, ())
    except Foreign as foreign:
        return foreign.reason
    return None


def damaged(message: Message, dice: random.Random) -> bytes:
    """A message with something broken in it at random."""
    if dice.random() < 0.3:
        raw = bytearray(json.dumps(message).encode())
        for _ in range(dice.randint(1, 3)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        return bytes(raw[: dice.randint(1, len(raw))] if dice.random() < 0.3 else raw)
    for _ in range(dice.randint(1, 2)):
        inner: Any = message
        while isinstance(inner, dict) and inner:
            parent, name = inner, dice.choice(list(inner))
            inner = parent[name]
        if dice.random() < 0.3:
            del parent[name]
        else:
            parent[name] = dice.choice([None, -1, 1e300, 10**30, "", CANARY, "\ud800", [], {}, [[CANARY]], True, "0.9"])
    return json.dumps(message).encode()


def damaged_messages(count: int, seed: int) -> list[bytes]:
    dice = random.Random(seed)
    return [damaged(dice.choice([drain, deliver])(), dice) for _ in range(count)]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_message_is_known_for_what_it_is(name: str) -> None:
    reason, raw = FOREIGN[name]
    assert reason_of(raw) is reason


@pytest.mark.parametrize("seed", range(20))
def test_every_message_is_foreign_or_a_wake_up(seed: int) -> None:
    for raw in damaged_messages(500, seed):
        if reason_of(raw) is None:
            anew = wake_up_in(raw, Lane.BULK, ())
            assert CANARY.encode() not in anew
            assert wake_up_in(anew, Lane.BULK, ()) == anew


@pytest.mark.parametrize("lane", Lane)
def test_a_wake_up_made_anew_says_what_it_said(lane: Lane) -> None:
    batch = new_id()
    for template in (drain_template(lane), deliver_template(lane, batch), report_template(lane)):
        message = json.loads(filled(template, chunk_id(batch, 7) if "deliver" in template else batch, row=7))
        anew = json.loads(wake_up_in(json.dumps(message).encode(), lane, ()))
        assert json.loads(anew["body"]) == json.loads(message["body"])
        assert anew["headers"].items() <= message["headers"].items()


def test_a_wake_up_in_base64_is_understood() -> None:
    message = drain()
    message["body"] = base64.b64encode(message["body"].encode()).decode()
    assert reason_of(changed(message, "properties", "body_encoding", to="base64")) is None


def test_a_task_that_somebody_has_added_gets_its_messages_as_they_are() -> None:
    raw = changed(drain(), "headers", "task", to="work")
    assert wake_up_in(raw, Lane.BULK, {"work"}) == raw


def test_wake_ups_have_changed_since_0_1_by_telling_their_version_alone() -> None:
    """Whoever changes them otherwise raises VERSION, and keeps the older ones in a file beside this one."""
    now = [
        template(lane)
        for lane in Lane
        for template in (drain_template, lambda lane: deliver_template(lane, "@BATCH@"), report_template)
    ]
    for old, new in zip(map(json.loads, FROM_0_1), map(json.loads, now), strict=True):
        assert new == old | {"headers": old["headers"] | {"postroom_version": VERSION}}


# With a live worker.


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One worker, at DEBUG, for all of them; a mail takes half a second."""
    environment = {"POSTROOM_THREADS": str(THREADS), "POSTROOM_WINDOW": "1", "POSTROOM_CHUNK_MAILS": "1"}
    with running_stack(tmp_path_factory.mktemp("foreign"), "--loglevel", "DEBUG", **environment) as stack:
        stack.sandbox.faults([{"fault": "latency", "latency": 0.5}])
        yield stack


def push(stack: Stack, messages: list[bytes], lane: Lane = Lane.BULK) -> list[Message]:
    """Push messages, wait until the worker has taken them, and return what it has set aside of them, oldest first."""
    foreign = sum(reason_of(raw) is not None for raw in messages)
    with stack.redis.client() as client:
        garbage_before = garbage_count(stack)
        kept_before = client.llen("postroom:garbage")
        client.lpush(lane, *messages)
        eventually(lambda: client.llen(lane) == 0, 20)
        eventually(lambda: garbage_count(stack) >= garbage_before + foreign)
        eventually(lambda: client.llen("postroom:garbage") >= kept_before + foreign)
        set_aside = client.lrange("postroom:garbage", 0, client.llen("postroom:garbage") - kept_before - 1)
        assert garbage_count(stack) == garbage_before + foreign
    return [json.loads(entry) for entry in reversed(set_aside)] if foreign else []


def garbage_count(stack: Stack) -> int:
    return stack.ask(ledger().stats()).get("garbage", 0)


def assert_well(stack: Stack) -> None:
    """All threads send, one mail each at a time, and the worker never lost its way."""
    batch = stack.postroom.enqueue_batch(mails(3 * THREADS))
    eventually(lambda: batch.progress().sending == THREADS, 20, "all threads send")
    assert batch.wait(20).counts[State.ACCEPTED] == 3 * THREADS
    assert stack.worker.running
    log = stack.worker.log()
    assert "canary7gq2" not in log
    assert "Unrecoverable" not in log
    assert "Connection to broker lost" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("lane", Lane)
def test_a_worker_sets_aside_every_kind_of_garbage_and_goes_on_with_all_threads(stack: Stack, lane: Lane) -> None:
    set_aside = push(stack, [raw for _, raw in FOREIGN.values()], lane)

    assert [entry["reason"] for entry in set_aside] == [reason for reason, _ in FOREIGN.values()]
    assert {entry["lane"] for entry in set_aside} == {lane}
    for entry, (_, raw) in zip(set_aside, FOREIGN.values(), strict=True):
        kept = entry["message"].encode() if "message" in entry else base64.b64decode(entry["message_base64"])
        assert (kept, entry["size_bytes"]) == (raw[:KEPT_BYTES], len(raw))
        (line,) = {
            line for line in stack.worker.log().splitlines() if f"{lane} is set aside" in line and entry["id"] in line
        }
        assert "ERROR" in line
    assert_well(stack)


def test_a_worker_goes_on_whatever_is_damaged(stack: Stack) -> None:
    messages = damaged_messages(400, seed=1)
    set_aside = push(stack, messages)
    expected = Counter(reason for raw in messages if (reason := reason_of(raw)))
    assert Counter(Reason(entry["reason"]) for entry in set_aside) == expected
    assert_well(stack)


def test_an_unknown_id_is_told_and_counted(stack: Stack) -> None:
    before = stack.ask(ledger().stats()).get("unknown_wake_ups", 0)
    batch = new_id()
    set_aside = push(stack, [json.dumps(message).encode() for message in (deliver(batch), report(batch))])
    eventually(lambda: stack.ask(ledger().stats()).get("unknown_wake_ups", 0) == before + 2)
    assert set_aside == []
    for id in (f"{batch}.0", batch):
        assert re.search(rf"WARNING.*The ledger does not know {re.escape(id)};", stack.worker.log())
    with stack.redis.client() as client:
        assert not client.exists(f"celery-task-meta-{batch}")
    assert_well(stack)


def test_a_report_that_is_asked_for_too_early_leaves_no_result(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch(mails(20))
    with stack.redis.client() as client:
        client.rpush("bulk", json.dumps(report(batch.id)))
        eventually(lambda: f"Task postroom.report[{batch.id}] received" in stack.worker.log())
        eventually(lambda: f"Task postroom.report[{batch.id}] ignored" in stack.worker.log())
        assert batch.wait(30).counts[State.ACCEPTED] == 20
        result = eventually(lambda: client.get(f"celery-task-meta-{batch.id}"))
    assert json.loads(result)["result"]["counts"][State.ACCEPTED] == 20


def test_the_doctor_tells_that_there_is_garbage(stack: Stack) -> None:
    push(stack, [b"garbage"])
    environment = {"POSTROOM_REDIS_URL": stack.redis.url, "POSTROOM_SENDGRID_URL": stack.sandbox.url}
    ran = command("doctor", "--json", **environment, SENDGRID_API_KEY="SG.test")
    (finding,) = [check for check in ran.document["checks"] if check["name"] == "garbage"]
    assert (ran.code, finding["ok"]) == (0, False)
    assert int(finding["detail"].rpartition(" ")[2]) > 0


# Versions.


def test_wake_ups_of_0_1_are_delivered(own_redis_server: RedisServer, worker_process: Callable[..., Worker]) -> None:
    client = own_redis_server.client()
    with Postroom(Settings(redis_url=own_redis_server.url, chunk_mails=1)) as postroom:
        singles = {lane: postroom.enqueue(mail(), lane=lane) for lane in Lane}
        batches = {lane: postroom.enqueue_batch(mails(1), lane=lane) for lane in Lane}
        empty = postroom.enqueue_batch([])
        client.delete(*Lane)
        for lane, (drains, delivers, reports) in zip(Lane, (FROM_0_1[:3], FROM_0_1[3:]), strict=True):
            batch = batches[lane].id
            client.lpush(lane, filled(drains, f"old-{lane}"), filled(delivers, chunk_id(batch, 0), batch))
            client.lpush(lane, filled(reports, empty.id))

        worker = worker_process(POSTROOM_REDIS_URL=own_redis_server.url)

        for lane in Lane:
            eventually(lambda lane=lane: postroom.status(singles[lane]).state == State.ACCEPTED)
            assert batches[lane].wait(20).counts[State.ACCEPTED] == 1
            assert f"Task postroom.drain[old-{lane}] received" in worker.log()
            # The body of the chord is reached, so the old message has counted for it.
            eventually(lambda lane=lane: f"Task postroom.report[{batches[lane].id}] succeeded" in worker.log())
        assert empty.wait(20).total == 0
    assert client.llen("postroom:garbage") == 0
    assert worker.stop() == 0


def test_wake_ups_of_a_newer_version_are_set_aside_and_their_mails_wait_for_newer_workers(
    own_redis_server: RedisServer, worker_process: Callable[..., Worker]
) -> None:
    client = own_redis_server.client()
    newer = "9.0"
    with Postroom(Settings(redis_url=own_redis_server.url)) as postroom:
        batch = postroom.enqueue_batch(mails(3))
        single = postroom.enqueue(mail())
        key = f"postroom:batch:{batch.id}"
        template = client.hget(key, "wake_up") or b""
        client.hset(key, "wake_up", changed(json.loads(template), "headers", "postroom_version", to=newer))
        for lane in Lane:
            (message,) = client.lrange(lane, 0, -1)
            client.lpush(lane, changed(json.loads(message), "headers", "postroom_version", to=newer))
            client.rpop(lane)

        worker = worker_process(POSTROOM_REDIS_URL=own_redis_server.url)

        # Once when it was pushed, once when the ledger announced it again.
        eventually(lambda: worker.log().count("(newer_version)") >= 3, 30)
        assert "update the workers before the producers" in worker.log()
        assert batch.progress().queued == 3
        # An older worker's caretaker announces singles in its own words.
        eventually(lambda: postroom.status(single).state == State.ACCEPTED, 30)

        client.hset(key, "wake_up", template)
        assert batch.wait(60).counts[State.ACCEPTED] == 3


# What is kept.


def test_the_newest_thousand_are_kept(redis_url: str, redis_server: RedisServer) -> None:
    garbage = Garbage(ledger(), Connection(redis_url, timeout=5), clock=lambda: 17.0)
    for number in range(1005):
        garbage.set_aside(b"%d" % number, Lane.BULK, Reason.NO_MESSAGE)
    kept = [json.loads(entry) for entry in redis_server.client().lrange("postroom:garbage", 0, -1)]
    assert [entry["message"] for entry in kept] == [str(number) for number in range(1004, 4, -1)]
    assert {entry["at"] for entry in kept} == {17.0}
    assert ask(redis_url, ledger().stats())["garbage"] == 1005


def test_what_redis_does_not_take_is_told(caplog: pytest.LogCaptureFixture) -> None:
    away = Connection(f"redis://127.0.0.1:{free_port()}", timeout=0.5)
    with caplog.at_level(logging.ERROR):
        Garbage(ledger(), away).set_aside(CANARY.encode(), Lane.BULK, Reason.NO_JSON)
    assert "is lost: Unreachable" in caplog.text
    assert CANARY not in caplog.text
