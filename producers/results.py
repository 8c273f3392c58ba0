"""Results: what a batch has come to, while it is under way (`Progress`) and in the end (`Report`)."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from postroom.answers import BatchRecord, Failure
from postroom.delivery import Deliveries
from postroom.names import FINISHED

#: The most failures that a report's JSON lists.
MOST_IN_JSON = 1000


class Progress(msgspec.Struct, frozen=True):
    """How many mails of a batch are in each state now. They add up to `total` once the batch is sealed.

    Until then its producer is still storing it, and nothing of it is sent. `resends`: mails that were sent once more
    after a doubt; `extra_copies`: copies beyond the first that evidence has shown.
    """

    batch_id: str
    total: int
    queued: int
    sending: int
    in_doubt: int
    accepted: int
    rejected: int
    exhausted: int
    expired: int
    cancelled: int
    unresolved: int
    sealed: bool
    resends: int
    extra_copies: int
    #: Unix seconds at which the last mail was finished, or None.
    final_at: float | None
    #: Recipients, by what SendGrid's events have told of them.
    deliveries: Deliveries = Deliveries()

    @property
    def finished(self) -> int:
        """Mails that nothing more happens to by itself."""
        return self.accepted + self.failed

    @property
    def failed(self) -> int:
        """Finished without being accepted."""
        return self.rejected + self.exhausted + self.expired + self.cancelled + self.unresolved

    @property
    def is_final(self) -> bool:
        """Whether every mail is finished."""
        return self.final_at is not None


class Cancellation(msgspec.Struct, frozen=True):
    """What a cancel did: mails that will not be sent, and mails for which it came too late.

    Too late: on its way, finished, or once in doubt (nobody can say that it was not sent).
    """

    cancelled: int
    too_late: int


@dataclass(frozen=True, slots=True)
class _Counted:
    batch_id: str
    total: int
    #: Mails by the state they ended in: accepted, rejected, exhausted, expired, cancelled, unresolved.
    counts: dict[str, int]
    #: Unix seconds at which the last mail was finished; None while the batch is still under way.
    final_at: float | None
    #: Unix seconds of the first change since the report was taken (evidence that came later), or None.
    changed_since: float | None
    #: Mails that were sent once more after a doubt, and copies beyond the first that evidence has shown, up to now.
    resends: int
    extra_copies: int
    #: Recipients, by what SendGrid's events have told of them up to now.
    deliveries: Deliveries


@dataclass(frozen=True, slots=True)
class Report(_Counted):
    """The collected results of a batch. `failed` can be iterated once; it reads from Redis as it goes."""

    failed: Iterator[Failure] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object. `failed` lists at most 1,000; `truncated` tells whether there are more."""
        failures: list[Failure] = []
        for failure in self.failed:
            if len(failures) == MOST_IN_JSON:
                return _document(self, failures, truncated=True)
            failures.append(failure)
        return _document(self, failures, truncated=False)


@dataclass(frozen=True, slots=True)
class AsyncReport(_Counted):
    """`Report` for asyncio: `failed` is an async iterator."""

    failed: AsyncIterator[Failure] = field(repr=False)

    async def to_json(self) -> dict[str, Any]:
        """As a JSON object. `failed` lists at most 1,000; `truncated` tells whether there are more."""
        failures: list[Failure] = []
        async for failure in self.failed:
            if len(failures) == MOST_IN_JSON:
                return _document(self, failures, truncated=True)
            failures.append(failure)
        return _document(self, failures, truncated=False)


def _document(report: _Counted, failures: list[Failure], *, truncated: bool) -> dict[str, Any]:
    return {
        "batch_id": report.batch_id,
        "total": report.total,
        "counts": report.counts,
        "failed": msgspec.to_builtins(failures),
        "truncated": truncated,
        "final_at": report.final_at,
        "changed_since": report.changed_since,
        "resends": report.resends,
        "extra_copies": report.extra_copies,
        "deliveries": msgspec.to_builtins(report.deliveries),
    }


def progress_of(batch_id: str, record: BatchRecord) -> Progress:
    return Progress(
        batch_id,
        record.total,
        **record.counts,
        sealed=record.sealed is not None,
        resends=record.resends,
        extra_copies=record.extra_copies,
        final_at=_seconds(record.final_at),
        deliveries=record.deliveries,
    )


def counted(batch_id: str, record: BatchRecord) -> dict[str, Any]:
    """The fields of a report, but for `failed`: its snapshot if it is recorded, else the counts as they are."""
    counts = record.report or {str(state): record.counts[state] for state in FINISHED}
    return {
        "batch_id": batch_id,
        "total": record.total,
        "counts": {str(state): counts[state] for state in FINISHED},
        "final_at": _seconds(record.final_at),
        "changed_since": _seconds(record.changed_since),
        "resends": record.resends,
        "extra_copies": record.extra_copies,
        "deliveries": record.deliveries,
    }


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
