"""The oracle: each thing that may go wrong, made up by hand, is found, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from postroom.names import State
from sandbox.acceptance import Acceptance
from tests.chaos.oracle import Evidence, Limits, judge
from tests.chaos.producer import Returned
from tests.chaos.record import BatchRecord, MailRecord, Record
from tests.chaos.watch import Watch
from tests.servers import RedisServer

NOW = 1_000.0
BATCH = "batch"


def mail(id: str = "single", **fields: Any) -> MailRecord:
    chunk = id.rpartition(".")[0] if "." in id else id
    batch = id.partition(".")[0] if "." in id else None
    known = {"state": State.ACCEPTED, "policy": "resend", "expires": NOW + 500}
    return MailRecord(id=id, chunk=chunk, batch=batch, **known | fields)


def batch(total: int = 2, **fields: Any) -> BatchRecord:
    counts = {str(state): 0 for state in State} | {"accepted": total}
    known = {"is_sealed": True, "counts": counts, "report": {"accepted": total}}
    return BatchRecord(id=BATCH, total=total, **known | fields)


def copy(*ids: str, time: float = NOW - 10) -> Acceptance:
    return Acceptance(time, "receipt", list(ids), 1, [], None)


def returned(id: str = "single", mails: int = 0, **fields: Any) -> Returned:
    known = {"policy": "resend", "expires_in": 600.0, "send_at": None, "time": NOW - 100}
    return Returned(job=0, id=id, mails=mails, **known | fields)


def verdict(
    mails: list[MailRecord],
    accepted: list[Acceptance],
    *,
    enqueued: list[Returned] | None = None,
    batches: list[BatchRecord] | None = None,
    reports: int | None = None,
    waiting: dict[str, int] | None = None,
    thens: frozenset[str] = frozenset(),
) -> list[str]:
    batches = batches or []
    reports = sum(batch.report is not None for batch in batches) if reports is None else reports
    record = Record({m.id: m for m in mails}, {b.id: b for b in batches}, reports, waiting or {}, thens)
    return judge(Evidence(enqueued or [], accepted, record, Limits(request_deadline=2.0, in_doubt=3), NOW))


ROWS = [mail("batch.0.0"), mail("batch.0.1")]
ROW_COPIES = [copy("batch.0.0"), copy("batch.0.1")]


def well() -> Iterator[Any]:
    single, later = returned(), NOW + 60
    yield "a single", verdict([mail()], [copy("single")], enqueued=[single])
    yield "a batch", verdict(ROWS, ROW_COPIES, enqueued=[returned(BATCH, 2)], batches=[batch()])
    yield (
        "a batch and then",
        verdict(
            ROWS, ROW_COPIES, enqueued=[returned(BATCH, 2, then=True)], batches=[batch()], thens=frozenset({BATCH})
        ),
    )
    yield "scheduled", verdict([mail(state="queued", send_at=later)], [], enqueued=[returned(send_at=later)])
    yield "rejected", verdict([mail(state="rejected", reason="http_400")], [])
    yield "two copies after a doubt", verdict([mail(doubts=1)], [copy("single")] * 2)
    yield "unresolved with a copy", verdict([mail(state="unresolved", policy="hold", doubts=1)], [copy("single")])
    yield "exhausted by 5xx", verdict([mail(state="exhausted", reason="http_500")], [copy("single")])
    yield "expired on the wire", verdict([mail(expires=NOW - 20)], [copy("single", time=NOW - 9)])
    yield (
        "an unsealed batch",
        verdict(
            [mail("batch.0.0", state="queued")], [], batches=[batch(1, is_sealed=False, report=None, is_final=False)]
        ),
    )
    yield (
        "later truth",
        verdict(
            [mail("batch.0.0", was="unresolved", doubts=1)],
            [copy("batch.0.0")],
            batches=[batch(1, report={"unresolved": 1})],
        ),
    )


def wrong() -> Iterator[Any]:
    yield "lost: the ledger has no mail", verdict([], [], enqueued=[returned()])
    yield "lost: the ledger has no sealed batch", verdict([], [], enqueued=[returned(BATCH, 2)])
    yield (
        "lost: batch batch of 3 mails",
        verdict(ROWS, ROW_COPIES, enqueued=[returned(BATCH, 3)], batches=[batch()]),
    )
    yield "enqueued with hold", verdict([mail()], [copy("single")], enqueued=[returned(policy="hold")])
    yield "to be sent at 900", verdict([mail()], [copy("single")], enqueued=[returned(send_at=900.0)])
    for state in ("queued", "sending", "in_doubt"):
        yield f"unfinished: mail single is still {state}", verdict([mail(state=state)], [])
    yield "unfinished", verdict([mail(state="queued", send_at=NOW - 5)], [])
    yield "left over: 1 windows", verdict([mail()], [copy("single")], waiting={"windows": 1})
    yield "false accepted: mail single", verdict([mail()], [])
    for state in ("rejected", "expired", "cancelled", "exhausted"):
        yield f"falsely {state}: 1 copies", verdict([mail(state=state, reason="timeout")], [copy("single")])
        yield f"single is {state} in spite of 1 doubts", verdict([mail(state=state, doubts=1)], [])
    yield "duplicate under hold", verdict([mail(policy="hold", doubts=1)], [copy("single")] * 2)
    yield "accepted 3 times under resend", verdict([mail(doubts=2)], [copy("single")] * 3)
    yield "duplicate without a doubt", verdict([mail()], [copy("single")] * 2)
    yield "unknown: 1 copies of mail other", verdict([mail()], [copy("single"), copy("other")])
    yield (
        "unsealed: 1 copies of mail batch.0.0",
        verdict(
            [mail("batch.0.0", state="queued")],
            [copy("batch.0.0")],
            batches=[batch(1, is_sealed=False, report=None, is_final=False)],
        ),
    )
    yield "batch batch counts 1 accepted, a recount 2", _of_batch(counts={"accepted": 1})
    yield "batch batch counts 1 queued, a recount 0", _of_batch(counts={"accepted": 2, "queued": 1})
    yield "the report of batch batch has 1 accepted, a recount 2", _of_batch(report={"accepted": 1, "rejected": 1})
    yield "the report of batch batch does not add up to 2", _of_batch(report={"accepted": 1})
    yield "batch batch is done, and has no report", _of_batch(report=None)
    yield "batch batch is done, and has no report", _of_batch(report=None, is_final=False)
    yield "2 reports were recorded for 1 batches", verdict(ROWS, ROW_COPIES, batches=[batch()], reports=2)
    yield (
        "what was to come then was not published",
        verdict(ROWS, ROW_COPIES, enqueued=[returned(BATCH, 2, then=True)], batches=[batch()]),
    )
    yield "accepted 30.0 s after it had expired", verdict([mail(expires=NOW - 40)], [copy("single")])
    yield "accepted 4.0 s before it was to be sent", verdict([mail(send_at=NOW - 6)], [copy("single")])
    died = [mail(f"m{n}", state="unresolved", doubts=1, reason="worker_died", nonce=f"host-1-ab/{n}") for n in range(4)]
    yield "worker host-1-ab has put 4 mails in doubt, more than 3", verdict(died, [])


def _of_batch(**fields: Any) -> list[str]:
    return verdict(ROWS, ROW_COPIES, batches=[batch(**fields)])


@pytest.mark.parametrize(("name", "sentences"), list(well()))
def test_what_may_happen_is_no_violation(name: str, sentences: list[str]) -> None:
    assert sentences == []


@pytest.mark.parametrize(("words", "sentences"), list(wrong()))
def test_what_must_not_happen_is_found(words: str, sentences: list[str]) -> None:
    assert any(words in sentence for sentence in sentences), sentences


def test_too_many_wake_ups_are_found(redis_server: RedisServer, redis_url: str) -> None:
    watch = Watch(redis_server.client(), allowed=3)
    redis_server.client().lpush("bulk", *["{}"] * 3)
    watch.sample()
    assert watch.violations == []

    redis_server.client().lpush("transactional", "{}")
    watch.sample()
    assert watch.violations == [
        "4 wake-ups wait, 0 of them for finished chunks, with 0 chunks unfinished and 3 allowed besides"
    ]
