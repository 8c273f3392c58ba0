"""End to end: what goes in at a producer comes out at SendGrid, once, and the ledger says so."""

import base64
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import signature

from postroom.names import FINISHED, Lane, State
from postroom.settings import Settings
from producers import Batch, Cancellation, Postroom
from tests.mails import addresses, mail, mails
from tests.servers import Program, SandboxServer, Worker, eventually, running
from tests.stack import Stack, ask, copies, ledger, running_stack, sandbox_stats

#: What SendGrid does with a mail, by the address it goes to, and what becomes of it with `on_doubt="resend"`.
RESEND = {
    "ann@example.com": State.ACCEPTED,
    "reject@sandbox.test": State.REJECTED,
    "sender@sandbox.test": State.REJECTED,
    "503x2@sandbox.test": State.ACCEPTED,
    "500x1@sandbox.test": State.ACCEPTED,
    "500@sandbox.test": State.EXHAUSTED,
    "resetx1@sandbox.test": State.ACCEPTED,
    "no-receiptx1@sandbox.test": State.ACCEPTED,
    "accept-hangx1@sandbox.test": State.ACCEPTED,
    "reset@sandbox.test": State.UNRESOLVED,
}
#: The same with `on_doubt="hold"`, where all of these end unresolved: the reason's beginning, and the copies that
#: SendGrid has accepted.
HOLD = {
    "reset+hold@sandbox.test": ("connection_", 0),
    "hang+hold@sandbox.test": ("timeout", 0),
    "504+hold@sandbox.test": ("http_504", 0),
    "accept-504+hold@sandbox.test": ("http_504", 1),
    "no-receipt+hold@sandbox.test": ("no_receipt", 1),
    "accept-hang+hold@sandbox.test": ("timeout", 1),
    "accept-close+hold@sandbox.test": ("connection_", 1),
    "drip+hold@sandbox.test": ("timeout", 1),
    "truncated+hold@sandbox.test": ("truncated", 1),
    "garbage+hold@sandbox.test": ("garbage", 1),
}
#: Longer than two requests that time out, each with its grace (seconds).
LONG = 60

HOST_APP = """
import json
from pathlib import Path
from celery import Celery

app = Celery("host", broker="{redis_url}")

@app.task(name="host.report_ready")
def report_ready(batch_id, name):
    with Path(__file__).with_name("heard.jsonl").open("a") as heard:
        print(json.dumps([batch_id, name]), file=heard)
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("stack"),
        POSTROOM_REQUEST_DEADLINE="2",
        POSTROOM_GRACE="12",
        POSTROOM_BACKOFF_BASE="0.2",
        POSTROOM_MAX_ATTEMPTS="3",
        POSTROOM_CHUNK_MAILS="100",
    ) as started:
        yield started


@pytest.fixture(scope="module")
def resend_batch(stack: Stack) -> Batch:
    return stack.postroom.enqueue_batch(map(mail, RESEND), on_doubt="resend")


@pytest.fixture(scope="module")
def hold_batch(stack: Stack) -> Batch:
    return stack.postroom.enqueue_batch(map(mail, HOLD), on_doubt="hold")


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url, chunk_mails=5)) as client:
        yield client


def wait_for(stack: Stack, id: str, state: State = State.ACCEPTED) -> None:
    eventually(lambda: stack.postroom.status(id).state is state, 20, lambda: f"{state}: {stack.postroom.status(id)}")


def test_a_batch_under_way_tells_where_each_of_its_mails_is(
    stack: Stack, resend_batch: Batch, hold_batch: Batch
) -> None:
    eventually(lambda: hold_batch.progress().in_doubt, 20)
    progress = hold_batch.progress()
    counts = Counter(stack.postroom.status(id).state for id in stack.batch_ids(resend_batch.id))
    assert progress.queued + progress.sending + progress.in_doubt + progress.finished == progress.total == len(HOLD)
    assert not progress.is_final
    assert hold_batch.report().final_at is None
    assert counts.total() == len(RESEND)


def test_a_single_is_sent_once_and_its_receipt_is_kept(stack: Stack) -> None:
    id = stack.postroom.enqueue(mail("single@example.com"))
    wait_for(stack, id)
    status = stack.postroom.status(id)
    (accepted,) = [line for line in stack.sandbox.accepted() if id in line["postroom_ids"]]
    assert accepted["recipients"] == ["single@example.com"]
    assert (status.receipt, status.attempt) == (accepted["receipt"], 1)
    assert (status.batch_id, status.reason, status.errors) == (None, None, [])
    assert accepted["time"] - 2 < status.updated_at < accepted["time"] + 2


def test_each_mail_of_a_batch_of_many_chunks_is_sent_once(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch(mails(1234, "many"))
    report = batch.wait(30)
    ids = stack.batch_ids(batch.id)
    accepted = {line["postroom_ids"][0]: line for line in stack.sandbox.accepted() if line["postroom_ids"]}
    assert report.counts[State.ACCEPTED] == report.total == len(ids) == 1234
    assert list(report.failed) == []
    made = stack.copies()
    assert {made[id] for id in ids} == {1}
    assert [accepted[id]["recipients"] for id in ids] == [[address] for address in addresses(1234, "many")]
    assert {accepted[id]["attempt"] for id in ids} == {1}


def test_an_empty_batch_is_final_at_once_with_zeros(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch([])
    report = batch.report()
    assert batch.progress().is_final
    assert report.final_at is not None
    assert (report.total, report.counts) == (0, {str(state): 0 for state in FINISHED})
    assert list(report.failed) == []


def test_a_mail_with_an_attachment_of_5_mb_arrives_whole(stack: Stack) -> None:
    content = base64.b64encode(os.urandom(5 * 1024 * 1024)).decode()
    attachment = {"content": content, "filename": "photo.jpg", "type": "image/jpeg"}
    id = stack.postroom.enqueue({**mail("large@example.com"), "attachments": [attachment]})
    wait_for(stack, id)
    address = f"{stack.sandbox.url}/api/mails/{stack.postroom.status(id).receipt}"
    body = httpx.get(address, trust_env=False, verify=False).json()["body"]
    assert body["attachments"] == [attachment]
    assert stack.copies()[id] == 1


def test_scheduled_mail_waits_for_its_time(stack: Stack) -> None:
    send_at = time.time() + 1.5
    single = stack.postroom.enqueue(mail("later@example.com"), send_at=send_at)
    batch = stack.postroom.enqueue_batch(mails(3, "later"), send_at=send_at)
    at_once = stack.postroom.enqueue(mail("now@example.com"))
    assert stack.postroom.status(single).state is State.QUEUED
    assert batch.wait(10).counts[State.ACCEPTED] == 3
    wait_for(stack, single)
    times = {id: line["time"] for line in stack.sandbox.accepted() for id in line["postroom_ids"]}
    later = [times[id] for id in (single, *stack.batch_ids(batch.id))]
    assert times[at_once] < send_at <= min(later)
    assert max(later) < send_at + 5


def test_a_cancelled_mail_is_never_sent(stack: Stack) -> None:
    soon = time.time() + 1.5
    single = stack.postroom.enqueue(mail("cancelled@example.com"), send_at=soon)
    batch = stack.postroom.enqueue_batch(mails(250, "cancelled"), send_at=soon)
    other = stack.postroom.enqueue(mail("after@example.com"), send_at=soon)
    assert stack.postroom.cancel(single) == Cancellation(cancelled=1, too_late=0)
    assert batch.cancel() == Cancellation(cancelled=250, too_late=0)
    assert batch.wait(5).counts[State.CANCELLED] == 250
    wait_for(stack, other)
    assert stack.postroom.status(single).state is State.CANCELLED
    assert not stack.copies().keys() & {single, *stack.batch_ids(batch.id)}


def test_a_cancel_comes_too_late_for_a_mail_that_was_sent(stack: Stack) -> None:
    id = stack.postroom.enqueue(mail("sent@example.com"))
    wait_for(stack, id)
    assert stack.postroom.cancel(id) == Cancellation(cancelled=0, too_late=1)
    assert stack.postroom.status(id).state is State.ACCEPTED


def test_a_key_and_an_id_stand_for_one_mail_before_and_after_it_is_sent(stack: Stack) -> None:
    first = stack.postroom.enqueue(mail("key@example.com"), key="order-1")
    at_once = stack.postroom.enqueue(mail("key@example.com"), key="order-1")
    wait_for(stack, first)
    afterwards = stack.postroom.enqueue(mail("key@example.com"), key="order-1")
    by_id = stack.postroom.enqueue(mail("key@example.com"), id=first)
    other = stack.postroom.enqueue(mail("key@example.com"), key="order-2")
    wait_for(stack, other)
    assert first == at_once == afterwards == by_id != other
    assert (stack.copies()[first], stack.copies()[other]) == (1, 1)


def test_a_key_stands_for_one_batch_before_and_after_it_is_sent(stack: Stack) -> None:
    first = stack.postroom.enqueue_batch(mails(150, "june"), key="newsletter-june")
    at_once = stack.postroom.enqueue_batch(mails(150, "june"), key="newsletter-june")
    report = first.wait(20)
    afterwards = stack.postroom.enqueue_batch(mails(150, "june"), key="newsletter-june")
    assert first.id == at_once.id == afterwards.id
    assert (report.total, report.counts[State.ACCEPTED]) == (150, 150)
    made = stack.copies()
    assert {made[id] for id in stack.batch_ids(first.id)} == {1}


def test_then_is_published_to_the_hosts_own_queue_with_the_batch_id(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(HOST_APP.format(redis_url=stack.redis.url))
    celery = [sys.executable, "-m", "celery", "--workdir", str(tmp_path), "-A", "host", "worker"]
    words = ["--queues", "host", "--pool", "solo", "--hostname", "host@%h", "--without-mingle", "--without-gossip"]
    with running(Program("host", [*celery, *words], tmp_path / "host.log")):
        then = signature("host.report_ready", kwargs={"name": "june"}, queue="host")
        batch = stack.postroom.enqueue_batch(mails(3, "then"), then=then)
        heard = tmp_path / "heard.jsonl"
        eventually(heard.exists, 20, (tmp_path / "host.log").read_text)
        assert batch.report().final_at is not None
        assert [json.loads(line) for line in heard.read_text().splitlines()] == [[batch.id, "june"]]


def test_then_without_a_queue_goes_to_the_one_that_celery_has_by_default(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch(mails(3, "then"), then=signature("host.report_ready", args=["june"]))
    with stack.redis.client() as redis:
        eventually(lambda: redis.llen("celery"), 20)
        (message,) = [json.loads(text) for text in redis.lrange("celery", 0, -1)]
    args, _, _ = json.loads(base64.b64decode(message["body"]))
    assert (message["headers"]["task"], args) == ("host.report_ready", [batch.id, "june"])


def test_a_rate_limit_holds_all_mail_back_until_its_reset(
    postroom: Postroom, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "limited", "reset_after": 2, "at_most": 1}])
    worker_process("--concurrency", "4")
    reset = math.ceil(time.time() + 2)
    first = postroom.enqueue(mail("limited@example.com"))
    eventually(lambda: ask(redis_url, ledger().account("default")), describe="the account is paused")
    others = [postroom.enqueue(mail(to)) for to in addresses(5)]
    batch = postroom.enqueue_batch(mails(20))
    assert batch.wait(20).counts[State.ACCEPTED] == 20
    eventually(lambda: all(postroom.status(id).state is State.ACCEPTED for id in (first, *others)))
    assert min(line["time"] for line in sandbox_server.accepted()) >= reset
    assert sandbox_stats(sandbox_server)["by_status"] == {"202": 26, "429": 1}
    assert {line["attempt"] for line in sandbox_server.accepted()} == {1}


def test_a_refused_key_pauses_all_but_one_probe_at_a_time(
    postroom: Postroom, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "status", "status": 401, "latency": 0.1}])
    batch = postroom.enqueue_batch(mails(40))
    worker_process("--concurrency", "4")
    eventually(lambda: ask(redis_url, ledger().account("default")), describe="the account is paused")
    eventually(lambda: in_flight(sandbox_stats(sandbox_server)) == 0)

    probes = list(watch_probes(sandbox_server, count=2))
    assert {flying for _, flying in probes} <= {0, 1}
    started = [at for at, _ in probes]
    assert all(later - sooner >= 0.9 for sooner, later in pairwise(started))
    assert batch.progress().queued >= 39

    sandbox_server.faults([])
    assert batch.wait(20).counts[State.ACCEPTED] == 40
    assert {line["attempt"] for line in sandbox_server.accepted()} == {1}


def in_flight(stats: Any) -> int:
    return int(stats["requests"] - sum(stats["by_status"].values()))


def watch_probes(sandbox: SandboxServer, count: int) -> Iterator[tuple[float, int]]:
    """When each of the next requests was seen, and how many were then under way."""
    seen = sandbox_stats(sandbox)["requests"]
    for number in range(seen + 1, seen + 1 + count):
        eventually(lambda wanted=number: sandbox_stats(sandbox)["requests"] >= wanted, 20)  # type: ignore[misc]
        stats = sandbox_stats(sandbox)
        assert stats["requests"] == number
        yield time.monotonic(), in_flight(stats)


def test_an_expired_mail_is_not_sent(
    postroom: Postroom, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    expired = postroom.enqueue(mail("expired@example.com"), expires_in=0.2)
    batch = postroom.enqueue_batch(mails(7), expires_in=0.2)
    fresh = postroom.enqueue(mail("fresh@example.com"))
    enqueued = time.monotonic()
    eventually(lambda: time.monotonic() - enqueued > 0.2)
    worker_process()
    assert batch.wait(10).counts[State.EXPIRED] == 7
    eventually(lambda: postroom.status(fresh).state is State.ACCEPTED)
    eventually(lambda: postroom.status(expired).state is State.EXPIRED)
    assert set(copies(sandbox_server)) == {fresh}


def test_mail_that_a_person_waits_for_overtakes_a_batch(
    postroom: Postroom, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    sandbox_server.faults([{"fault": "latency", "match": "reader", "latency": 0.02}])
    worker_process("--concurrency", "1", POSTROOM_WINDOW="1")
    batch = postroom.enqueue_batch(mails(60), lane=Lane.BULK)
    eventually(sandbox_server.accepted)
    postroom.enqueue(mail("urgent@example.com"), lane=Lane.TRANSACTIONAL)
    batch.wait(20)
    order = [line["recipients"][0] for line in sandbox_server.accepted()]
    assert order.index("urgent@example.com") < 30


def test_under_resend_each_mail_ends_as_sendgrid_had_it(resend_batch: Batch, stack: Stack) -> None:
    report = resend_batch.wait(LONG)
    states = [stack.postroom.status(id).state for id in stack.batch_ids(resend_batch.id)]
    assert dict(zip(RESEND, states, strict=True)) == RESEND
    assert report.counts == {str(state): states.count(state) for state in FINISHED}
    assert report.total == len(RESEND)


def test_a_report_names_each_failure_with_its_row_and_sendgrids_words(resend_batch: Batch) -> None:
    report = resend_batch.wait(LONG)
    failed = {list(RESEND)[failure.row]: failure for failure in report.failed}
    assert [(to, failure.state) for to, failure in failed.items()] == [
        (to, state) for to, state in RESEND.items() if state is not State.ACCEPTED
    ]
    assert "reject@sandbox.test" in failed["reject@sandbox.test"].errors[0]["message"]
    assert "verified Sender Identity" in failed["sender@sandbox.test"].errors[0]["message"]
    assert failed["500@sandbox.test"].reason == "http_500"
    assert (failed["reset@sandbox.test"].reason or "").startswith("connection_")


def test_each_attempt_is_told_by_a_header(resend_batch: Batch, stack: Stack) -> None:
    resend_batch.wait(LONG)
    attempts = {line["recipients"][0]: line["attempt"] for line in stack.sandbox.accepted()}
    assert attempts["ann@example.com"] == 1
    assert attempts["500x1@sandbox.test"] == 2
    assert attempts["503x2@sandbox.test"] == 3
    assert attempts["resetx1@sandbox.test"] == 2


def test_resend_makes_one_more_copy_at_most_and_only_of_a_mail_in_doubt(resend_batch: Batch, stack: Stack) -> None:
    resend_batch.wait(LONG)
    ids = dict(zip(RESEND, stack.batch_ids(resend_batch.id), strict=True))
    made = {to: stack.copies()[id] for to, id in ids.items()}
    twice = {"no-receiptx1@sandbox.test", "accept-hangx1@sandbox.test"}
    once = {to for to, state in RESEND.items() if state is State.ACCEPTED} - twice
    assert made == {to: 2 if to in twice else 1 if to in once else 0 for to in RESEND}


def test_a_mail_in_doubt_is_sent_again_only_after_the_grace(resend_batch: Batch, stack: Stack) -> None:
    resend_batch.wait(LONG)
    times = [line["time"] for line in stack.sandbox.accepted() if line["recipients"] == ["no-receiptx1@sandbox.test"]]
    assert stack.settings.grace <= times[1] - times[0] < stack.settings.grace + 10


def test_under_hold_nothing_in_doubt_is_sent_again(hold_batch: Batch, stack: Stack) -> None:
    report = hold_batch.wait(LONG)
    made = stack.copies()
    for (to, (reason, copies_made)), id in zip(HOLD.items(), stack.batch_ids(hold_batch.id), strict=True):
        status = stack.postroom.status(id)
        assert (status.state, status.attempt, made[id]) == (State.UNRESOLVED, 1, copies_made), to
        assert (status.reason or "").startswith(reason), to
    assert report.counts[State.UNRESOLVED] == len(HOLD)
