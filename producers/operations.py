"""Operations: what a client does, step by step, without doing it.

Each is a generator. It yields a ledger `Call` and is sent the reply; or `TAKE`, and is sent the next mail of a batch
(or `END`); or `BREATHE`, where a driver may let others run. `producers.client` drives them over a blocking connection,
`producers.async_client` over asyncio, so that both do the same.
"""

import hashlib
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, TypeVar

from celery.canvas import Signature
from kombu.utils.json import dumps

from postroom import ids, payload, wakeup
from postroom.answers import BatchRecord, FailedPage, MailStatus, OpenBatch
from postroom.connection import Unreachable
from postroom.errors import InvalidMail, KeyConflict, QueueFull, QueueUnavailable, UnknownId
from postroom.ledger import Ledger
from postroom.mail import MailLike
from postroom.outcome import Kind, Outcome
from postroom.settings import Settings
from postroom.terms import Terms
from producers.evidence import Proof
from producers.intake import Intake, fingerprint, hashed
from producers.results import Cancellation

T = TypeVar("T")


class Step(Enum):
    TAKE = "take"
    BREATHE = "breathe"
    END = "end"


Operation = Generator[Any, Any, T]

#: One breath between so many mails, chunks or pages: well below the 10 ms that an event loop may be held.
MAILS_A_BREATH = 8
CHUNKS_A_PAGE = 20
MAILS_A_STEP = 200
FULL = "Redis has less than 15 % of its memory left; nothing was enqueued. Let workers send, or raise its maxmemory"


class Operations:
    """The operations under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger(settings)
        self._intake = Intake(settings)
        wakeup.warm_up()

    def enqueue(self, mail: MailLike, terms: Terms, *, key: str | None, id: str | None) -> Operation[str]:
        if id is not None and (not ids.is_id(id) or "." in id):
            raise ValueError(f"id must be one that enqueue gave, as in QueueUnavailable.id, not {id!r}")
        id = id or ids.new_id()
        taken = self._intake.take(mail, id, terms=terms, digest=key is not None)
        call = self._ledger.enqueue(
            id,
            payload.pack([taken.body]),
            terms,
            key=hashed(key),
            fingerprint=fingerprint(taken.digest, terms) if key is not None else None,
            drain=wakeup.drain_template(terms.lane),
        )
        enqueued = yield from _ask(call, id, enqueues=True)
        if enqueued.what == "conflict":
            raise KeyConflict(enqueued.id)
        if enqueued.what == "full":
            raise QueueFull(FULL)
        return str(enqueued.id)

    def enqueue_batch(self, terms: Terms, *, key: str | None, then: Signature | None) -> Operation[str]:
        """Store the mails in chunks, seal the batch, and push the first page of its wake-ups."""
        opened = yield from self._open(terms, key=key, then=then)
        storing = _Storing(self._settings, self._intake, terms, opened, keyed=key is not None)
        try:
            while (mail := (yield Step.TAKE)) is not Step.END:
                if chunk := storing.take(mail):
                    yield from self._store(opened.id, chunk)
                if storing.row % MAILS_A_BREATH == 0:
                    yield Step.BREATHE
            if chunk := storing.rest():
                yield from self._store(opened.id, chunk)
        except QueueUnavailable:
            raise
        except Exception:
            if key is None:
                yield from self._drop(opened.id)
            raise
        if not opened.sealed:
            yield from self._seal(opened.id, terms)
        elif storing.row != opened.rows:
            raise KeyConflict(opened.id)
        return str(opened.id)

    def _open(self, terms: Terms, *, key: str | None, then: Signature | None) -> Operation[OpenBatch]:
        id = ids.new_id()
        call = self._ledger.open_batch(
            id,
            terms,
            key=hashed(key),
            fingerprint=fingerprint(b"batch", terms) if key is not None else None,
            wake_up=wakeup.deliver_template(terms.lane, id),
            then=_serialized(then),
        )
        opened = yield from _ask(call, id)
        if opened.what == "conflict":
            raise KeyConflict(opened.id)
        if opened.what == "full":
            raise QueueFull(FULL)
        return opened  # type: ignore[no-any-return]

    def _store(self, batch: str, chunk: "_Chunk") -> Operation[None]:
        yield Step.BREATHE
        packed = payload.pack(chunk.bodies)
        yield Step.BREATHE
        call = self._ledger.store_chunk(batch, chunk.first_row, len(chunk.bodies), chunk.running, packed)
        stored = yield from _ask(call, batch)
        if stored.what == "full":
            raise QueueFull(FULL)
        if stored.what == "gone":
            raise UnknownId(batch)  # dropped: nothing was added to it for a day
        if stored.what != "stored":
            raise KeyConflict(batch)  # another producer is at work under the same key

    def _seal(self, batch: str, terms: Terms) -> Operation[None]:
        call = self._ledger.seal(
            batch,
            chord_size_key=wakeup.chord_size_key(batch),
            chord_expires=wakeup.chord_expires_seconds(),
            report=wakeup.report_template(terms.lane),
        )
        what, _ = yield from _ask(call, batch, enqueues=True)
        if what != "sealed":
            raise UnknownId(batch)
        with suppress(Unreachable):  # it is sealed: a caretaker announces it then
            yield self._ledger.announce_batch(batch)

    def _drop(self, batch: str) -> Operation[None]:
        with suppress(Unreachable):  # a caretaker drops what is not sealed within a day
            while not (yield self._ledger.drop_batch(batch)):
                yield Step.BREATHE

    def status(self, id: str) -> Operation[MailStatus]:
        status = (yield from _ask(self._ledger.status(id), id)) if ids.is_id(id) else None
        if status is None:
            raise UnknownId(id)
        return status  # type: ignore[no-any-return]

    def batch(self, id: str) -> Operation[BatchRecord]:
        record = (yield from _ask(self._ledger.batch(id), id)) if ids.is_id(id) else None
        if record is None:
            raise UnknownId(id)
        return record  # type: ignore[no-any-return]

    def failed_page(self, batch: str, start: int) -> Operation[FailedPage]:
        return (yield from _ask(self._ledger.failed(batch, start), batch))  # type: ignore[no-any-return]

    def cancel(self, id: str) -> Operation[Cancellation]:
        if not ids.is_id(id):
            raise UnknownId(id)
        record = yield from _ask(self._ledger.batch(id), id)
        if record is None:
            what, cancelled, too_late = yield from _ask(self._ledger.cancel(id), id)
            if what == "unknown":
                raise UnknownId(id)
            return Cancellation(cancelled, too_late)
        if record.sealed is None:
            yield from self._drop(id)
            sealed = yield from _ask(self._ledger.batch(id), id)
            if sealed is None:
                return Cancellation(record.total, 0)
        return (yield from self._cancel_batch(id))

    def evidence(self, proofs: Sequence[Proof]) -> Operation[None]:
        """Settle mails that SendGrid has proved to have; of unknown ones nothing comes."""
        for page in batched(proofs, MAILS_A_STEP):
            groups: dict[str, list[tuple[int, Outcome, float]]] = defaultdict(list)
            for id, receipt in page:
                place = ids.place_of(id)
                groups[place.chunk].append((place.place, Outcome(Kind.ACCEPTED, receipt=receipt), 0.0))
            call = self._ledger.settle(list(groups.items()), nonce=None, account="", in_task=False)
            yield from _ask(call, page[0].id)

    def _cancel_batch(self, batch: str) -> Operation[Cancellation]:
        start, cancelled, too_late = 0, 0, 0
        while first_rows := (yield from _ask(self._ledger.first_rows(batch, start, CHUNKS_A_PAGE), batch)):
            for first_row in first_rows:
                _, done, late = yield from _ask(self._ledger.cancel(ids.chunk_id(batch, first_row)), batch)
                cancelled, too_late = cancelled + done, too_late + late
            start += len(first_rows)
            yield Step.BREATHE
        return Cancellation(cancelled, too_late)


class _Chunk:
    """Mails that will be stored together."""

    def __init__(self, first_row: int) -> None:
        self.first_row = first_row
        self.bodies: list[bytes] = []
        self.size_bytes = 0
        self.running = ""


class _Storing:
    """Goes over the mails of a batch, from the first; those that an earlier try has stored are only compared."""

    def __init__(self, settings: Settings, intake: Intake, terms: Terms, opened: OpenBatch, *, keyed: bool) -> None:
        self._settings = settings
        self._intake = intake
        self._terms = terms
        self._batch = opened.id
        self._stored_rows = opened.rows
        self._stored_running = opened.running
        self._keyed = keyed
        self._running = b""
        self._chunk = _Chunk(opened.rows)
        self.row = 0

    def take(self, mail: MailLike) -> _Chunk | None:
        """Take one mail; returns the chunk that it has made full."""
        chunk = self._chunk
        id = ids.mail_id(ids.chunk_id(self._batch, chunk.first_row), max(0, self.row - chunk.first_row))
        try:
            taken = self._intake.take(mail, id, terms=self._terms, digest=self._keyed)
        except InvalidMail as error:
            raise InvalidMail(error.faults, self.row) from None
        if self._keyed:
            self._running = hashlib.sha256(self._running + taken.digest).digest()
        self.row += 1
        if self.row <= self._stored_rows:
            self._compare()
            return None
        chunk.bodies.append(taken.body)
        chunk.size_bytes += len(taken.body)
        is_full = len(chunk.bodies) >= self._settings.chunk_mails or chunk.size_bytes >= self._settings.chunk_bytes
        return self._cut() if is_full else None

    def rest(self) -> _Chunk | None:
        """The last chunk, if anything is left for it. Raises `KeyConflict` if there were more mails the first time."""
        if self.row < self._stored_rows:
            raise KeyConflict(self._batch)
        return self._cut() if self._chunk.bodies else None

    def _compare(self) -> None:
        if self.row == self._stored_rows and self._running.hex() != self._stored_running:
            raise KeyConflict(self._batch)

    def _cut(self) -> _Chunk:
        chunk = self._chunk
        chunk.running = self._running.hex()
        self._chunk = _Chunk(self.row)
        return chunk


def batched(proofs: Sequence[Proof], size: int) -> Iterator[Sequence[Proof]]:
    for start in range(0, len(proofs), size):
        yield proofs[start : start + size]


def _serialized(then: Signature | None) -> str | None:
    if then is None:
        return None
    if then.subtask_type is not None:
        raise ValueError("then must be the signature of one task; let that task start a chain, group or chord")
    return str(dumps(then))


def _ask(call: Any, id: str, *, enqueues: bool = False) -> Operation[Any]:
    """`enqueues`: mail is sent because of this call. Before a batch is sealed, nothing of it is."""
    try:
        return (yield call)
    except Unreachable as error:
        raise QueueUnavailable(id, enqueues and error.sent, error.detail) from None
