"""Reporting: every batch reports once, by its chord, and by the ledger where the chord fails."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from postroom.answers import BatchRecord
from postroom.names import FINISHED, State
from producers import AsyncPostroom, Batch
from tests.mails import mail, mails
from tests.servers import ROOT, clean_environment, eventually
from tests.stack import Stack, ledger, running_stack

#: How late the ledger reports a batch whose chord has failed (seconds): 10, a sweep, and a busy machine's hesitation.
LATE = 14

#: Prints what Celery has as a batch's result.
RESULT = """
import json, sys
from celery.result import AsyncResult
from postroom.app import app
print(json.dumps(AsyncResult(sys.argv[1], app=app).get(timeout=10)))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), POSTROOM_CHUNK_MAILS="50") as started:
        yield started


@pytest.fixture(scope="module")
def broken_chord(stack: Stack) -> Batch:
    """A batch whose chord has lost its count before the last chunk was finished."""
    held = {"fault": "latency", "match": "held", "latency": 2}
    stack.sandbox.faults([held])
    batch = stack.postroom.enqueue_batch([*mails(100), mail("held@example.com")])
    eventually(lambda: batch.progress().accepted == 100)
    with stack.redis.client() as redis:
        chord = redis.keys(f"celery-taskset-meta-{batch.id}*")
        assert chord
        redis.delete(*chord)
    return batch


def record_of(stack: Stack, batch: Batch) -> BatchRecord:
    record = stack.ask(ledger().batch(batch.id))
    assert record is not None
    return record


def reports(stack: Stack) -> Counter[str]:
    """How many reports were recorded, by whom."""
    stats = stack.ask(ledger().stats())
    return Counter({name: count for name, count in stats.items() if name.startswith("reported_by_")})


def celery_result(stack: Stack, batch: Batch) -> object:
    environment = clean_environment() | {"POSTROOM_REDIS_URL": stack.redis.url}
    command = [sys.executable, "-W", "error", "-c", RESULT, batch.id]
    return json.loads(subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def test_without_faults_every_report_comes_from_the_chord(stack: Stack) -> None:
    before = reports(stack)
    batches = [stack.postroom.enqueue_batch(mails(count, f"b{count}")) for count in (0, 1, 49, 50, 51, 250)]
    for batch in batches:
        batch.wait(20)
    eventually(lambda: (reports(stack) - before).total() == len(batches), 20)
    assert reports(stack) - before == {"reported_by_body": len(batches)}
    for batch in batches:
        record = record_of(stack, batch)
        assert record.reported_by == "body"
        assert 0 <= (record.reported_at or 0) - (record.final_at or 0) < 5000


def test_a_batch_under_way_has_no_report_yet(stack: Stack, broken_chord: Batch) -> None:
    report = broken_chord.report()
    assert (report.final_at, report.changed_since) == (None, None)
    assert report.counts[State.ACCEPTED] == 100
    assert record_of(stack, broken_chord).reported_at is None


def test_the_report_is_the_result_of_a_celery_task_with_the_batchs_id(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch([*mails(60), mail("reject@sandbox.test")])
    report = batch.wait(20)
    assert celery_result(stack, batch) == {
        "batch_id": batch.id,
        "total": 61,
        "counts": {str(state): {State.ACCEPTED: 60, State.REJECTED: 1}.get(state, 0) for state in FINISHED},
        "final_at": report.final_at,
    }


def test_the_report_of_an_empty_batch_is_a_celery_result_too(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch([])
    result = celery_result(stack, batch)
    assert isinstance(result, dict)
    assert (result["total"], set(result["counts"].values())) == (0, {0})


def test_a_report_that_celery_asks_for_again_is_recorded_once(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch(mails(10))
    batch.wait(20)
    eventually(lambda: record_of(stack, batch).reported_at, 20)
    record = record_of(stack, batch)
    assert stack.ask(ledger().record_report(batch.id, "body")) is False
    assert record_of(stack, batch) == record


def test_a_report_lists_all_failures_in_python_and_a_thousand_in_json(stack: Stack) -> None:
    rows = [mail("reject@sandbox.test" if number % 5 else f"reader{number}@example.com") for number in range(1500)]
    report = stack.postroom.enqueue_batch(rows).wait(30)
    failed = list(report.failed)
    assert [failure.row for failure in failed] == [number for number in range(1500) if number % 5]
    assert {failure.state for failure in failed} == {State.REJECTED}
    assert {failure.reason for failure in failed} == {"http_400"}
    assert report.counts[State.REJECTED] == len(failed) == 1200

    document = json.loads(json.dumps(stack.postroom.report(report.batch_id).to_json()))
    assert document["truncated"] is True
    assert [failure["row"] for failure in document["failed"]] == [failure.row for failure in failed[:1000]]
    assert document["failed"][0] == {
        "id": failed[0].id,
        "row": 1,
        "state": "rejected",
        "reason": "http_400",
        "errors": failed[0].errors,
    }
    assert (document["total"], document["counts"]) == (1500, report.counts)


def test_a_report_with_a_thousand_failures_is_not_truncated(stack: Stack) -> None:
    report = stack.postroom.enqueue_batch(mail("reject@sandbox.test") for _ in range(1000)).wait(30)
    document = report.to_json()
    assert (len(document["failed"]), document["truncated"]) == (1000, False)


async def test_the_report_for_asyncio_says_the_same(stack: Stack) -> None:
    batch = stack.postroom.enqueue_batch([mail("reject@sandbox.test") for _ in range(1001)])
    batch.wait(30)
    async with AsyncPostroom(stack.settings) as postroom:
        document = await (await postroom.report(batch.id)).to_json()
        failed = [failure async for failure in (await postroom.report(batch.id)).failed]
    assert document == batch.report().to_json()
    assert failed == list(batch.report().failed)


def test_a_batch_whose_chord_is_broken_is_reported_by_the_ledger(stack: Stack, broken_chord: Batch) -> None:
    report = broken_chord.wait(20)
    eventually(lambda: record_of(stack, broken_chord).reported_at, LATE + 10)
    record = record_of(stack, broken_chord)
    assert record.reported_by == "caretaker"
    assert (record.reported_at or 0) - (record.final_at or 0) < LATE * 1000
    assert report.counts[State.ACCEPTED] == 101
    assert broken_chord.report().counts == report.counts
    assert reports(stack)["reported_by_caretaker"] == 1
