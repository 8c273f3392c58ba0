"""Reporting: a batch's report is recorded once, and then its `then` is published, at least once."""

from typing import Any

from celery.canvas import Signature
from kombu import Queue
from kombu.utils.json import loads

from postroom.app import app
from postroom.ledger import Ledger
from postroom.names import FINISHED
from worker.patience import Runs

#: Where a signature goes that names no queue: Celery's own default.
DEFAULT_QUEUE = "celery"


def report_batch(batch: str, ledger: Ledger, redis: Runs) -> dict[str, Any]:
    """Record the report, publish `then`, and return the counts (never an address)."""
    redis.run(ledger.record_report(batch, "body"), give_up_at=0.0)
    record = redis.run(ledger.batch(batch), give_up_at=0.0)
    if record is None:
        return {"batch_id": batch, "total": 0, "counts": {}, "final_at": None}
    if record.then:
        publish_then(batch, record.then, ledger, redis)
    counts = record.report or {str(state): record.counts[state] for state in FINISHED}
    return {
        "batch_id": batch,
        "total": record.total,
        "counts": {str(state): counts[state] for state in FINISHED},
        "final_at": record.final_at and record.final_at / 1000,
    }


def publish_then(batch: str, then: str, ledger: Ledger, redis: Runs) -> None:
    """Publish the signature with the batch's id as its first argument; a caretaker does it again if this fails."""
    signature = Signature.from_dict(loads(then), app=app)
    name = signature.options.pop("queue", None) or DEFAULT_QUEUE
    for other in ("exchange", "routing_key"):
        signature.options.pop(other, None)
    # The default exchange leads to the queue of that name, whether or not this app knows it.
    signature.apply_async(args=(batch,), queue=Queue(name, exchange="", routing_key=name), retry=False)
    redis.run(ledger.then_published(batch), give_up_at=0.0)
