"""The tasks. Their messages are wake-ups: lost or repeated ones do no harm, and they carry ids only."""

import traceback
from contextlib import suppress
from typing import Any

from celery.exceptions import Ignore
from celery.utils.log import get_logger

from postroom.app import app
from postroom.connection import Unreachable
from postroom.errors import ConfigurationError, QueueFull
from postroom.names import DELIVER, DRAIN, REPORT, Lane
from worker.post_office import post_office
from worker.reporting import report_batch

logger = get_logger("postroom.worker")


@app.task(name=DRAIN)
def drain(lane: str) -> None:
    """Send the singles of a lane until none waits."""
    try:
        post_office().drain(Lane(lane))
    except Exception as error:  # noqa: BLE001  # see `_tell`
        _tell(error)
        raise Ignore from None


@app.task(name=DELIVER)
def deliver(chunk: str) -> int:
    """Send a chunk. Returns its size, once all its mails are finished, and the chord counts it.

    Until then it raises `Ignore`, which leaves the chord open; the chunk is announced again when something is due.
    """
    try:
        answer = post_office().deliver(chunk)
    except Exception as error:  # noqa: BLE001  # see `_tell`
        _tell(error)
        raise Ignore from None
    if answer.verdict == "unknown":
        _tell_unknown(chunk)
    if answer.verdict != "finished":
        raise Ignore
    return answer.size


@app.task(name=REPORT, ignore_result=False)
def report(batch: str) -> dict[str, Any]:
    """Record the report of a batch, the body of its chord. Returns the counts, for `AsyncResult(batch_id).get()`."""
    try:
        office = post_office()
        answer = report_batch(batch, office.ledger, office.redis)
    except Exception as error:  # noqa: BLE001  # see `_tell`
        _tell(error)
        raise Ignore from None
    if not answer["counts"]:
        _tell_unknown(batch)
    if answer["final_at"] is None:
        raise Ignore  # a result is for good, and this one would be wrong
    return answer


def _tell_unknown(id: str) -> None:
    """Count a wake-up for what is not in the ledger: it has been kept for its time, or was never there."""
    logger.warning("The ledger does not know %s; its wake-up is ignored", id)
    office = post_office()
    with suppress(Unreachable, ConfigurationError, QueueFull):
        office.redis.run(office.ledger.count("unknown_wake_ups"), give_up_at=0.0)


def _tell(error: Exception) -> None:
    """Log where it happened, not its text, which may quote a mail."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s in a task; its mails are tried again\n%s", type(error).__name__, where)
