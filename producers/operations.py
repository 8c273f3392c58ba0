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
from typing import Any, NamedTuple, TypeVar

from celery.canvas import Signature
from kombu.utils.json import dumps

from postroom import ids, payload, wakeup
from postroom.answers import BatchRecord, FailedPage, MailStatus, OpenBatch
from postroom.call import Call
from postroom.connection import Unreachable
from postroom.delivery import Told
from postroom.errors import InvalidMail, KeyConflict, QueueFull, QueueUnavailable, UnknownId, shown
from postroom.ledger import Ledger
from postroom.mail import MailLike
from postroom.settings import Settings
from postroom.terms import Terms
from producers.evidence import Events, Evidence, News, Reading, listed
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
EVENTS_A_STEP = 100
BUSY = "another producer is storing this batch just now; call again with the same key"
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
            raise ValueError(f"id must be one that enqueue gave, as in QueueUnavailable.id, not {shown(id)}")
        id = id or ids.new_id()
        taken = self._intake.take(mail, id, terms=terms, digest=key is not None)
        call = self._ledger.enqueue(
            id,
            payload.pack([taken.body]),
            terms,
            key=hashed(key),
            fingerprint=fingerprint(taken.digest, terms) if key is not None else None,
            drain=wakeup.drain_template(terms.lane),
            recipients=taken.recipients,
        )
        enqueued = yield from _ask(call, id, enqueues=True)
        if enqueued.what == "conflict":
            raise KeyConflict(enqueued.id)
        if enqueued.what == "full":
            raise QueueFull(FULL)
        return str(enqueued.id)

    def enqueue_batch(self, terms: Terms, *, key: str | None, then: Signature | None) -> Operation[str]:
        """Store the mails in chunks, seal the batch, and push the first page of its wake-ups."""
        _check_then(then)
        opening = self._opening(terms, key=key, then=then)
        opened = yield from self._open(opening)
        storing = _Storing(self._settings, self._intake, terms, opened, keyed=key is not None)
        try:
            while (mail := (yield Step.TAKE)) is not Step.END:
                if chunk := storing.take(mail):
                    yield from self._store(storing, chunk, opening)
                if storing.row % MAILS_A_BREATH == 0:
                    yield Step.BREATHE
            if chunk := storing.rest():
                yield from self._store(storing, chunk, opening)
            while not (yield from self._seal(opened.id, storing.row, terms)):
                storing.join((yield from self._open(opening)))
                storing.rest()
        except QueueUnavailable:
            raise
        except Exception:
            if key is None:
                yield from self._drop(opened.id)
            raise
        return str(opened.id)

    def _opening(self, terms: Terms, *, key: str | None, then: Signature | None) -> "_Opening":
        id = ids.new_id()
        call = self._ledger.open_batch(
            id,
            terms,
            key=hashed(key),
            fingerprint=fingerprint(b"batch", terms) if key is not None else None,
            wake_up=wakeup.deliver_template(terms.lane, id),
            then=_serialized(then),
        )
        return _Opening(id, call)

    def _open(self, opening: "_Opening") -> Operation[OpenBatch]:
        opened = yield from _ask(opening.call, opening.id)
        if opened.what == "conflict":
            raise KeyConflict(opened.id)
        if opened.what == "full":
            raise QueueFull(FULL)
        return opened  # type: ignore[no-any-return]

    def _store(self, storing: "_Storing", chunk: "_Chunk", opening: "_Opening") -> Operation[None]:
        batch = storing.batch
        yield Step.BREATHE
        packed = payload.pack(chunk.bodies)
        yield Step.BREATHE
        call = self._ledger.store_chunk(
            batch, chunk.first_row, len(chunk.bodies), chunk.running, packed, recipients=chunk.recipients
        )
        stored = yield from _ask(call, batch)
        if stored.what == "full":
            raise QueueFull(FULL)
        if stored.what == "gone":
            raise UnknownId(batch)  # dropped: nothing was added to it for a day
        if stored.what == "behind":
            storing.join((yield from self._open(opening)))

    def _seal(self, batch: str, rows: int, terms: Terms) -> Operation[bool]:
        """Whether it is sealed; False if another producer is at work on it, under the same key."""
        call = self._ledger.seal(
            batch,
            rows=rows,
            chord_size_key=wakeup.chord_size_key(batch),
            chord_expires=wakeup.chord_expires_seconds(),
            report=wakeup.report_template(terms.lane),
        )
        what, _ = yield from _ask(call, batch, enqueues=True)
        if what == "gone":
            raise UnknownId(batch)
        if what == "behind":
            return False
        with suppress(Unreachable):  # it is sealed: a caretaker announces it then
            yield self._ledger.announce_batch(batch)
        return True

    def _drop(self, batch: str) -> Operation[None]:
        with suppress(Unreachable):  # a caretaker drops what is not sealed within a day
            while not (yield self._ledger.drop_batch(batch)):
                yield Step.BREATHE

    def status(self, id: str) -> Operation[MailStatus]:
        status = (yield from _ask(self._ledger.status(id), id)) if ids.is_mail_id(id) else None
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

    def evidence(self, events: Events) -> Operation[Evidence]:
        """Take what SendGrid's events tell; of unknown mails nothing comes."""
        reading = Reading()
        for number, event in enumerate(listed(events), start=1):
            reading.take(event)
            if number % EVENTS_A_STEP == 0:
                yield Step.BREATHE
        for page in batched(reading.news(), EVENTS_A_STEP):
            groups: dict[str, list[Told]] = defaultdict(list)
            for chunk, told in page:
                groups[chunk].append(told)
            yield from _ask(self._ledger.events(list(groups.items())), page[0].chunk)
        return reading.evidence()

    def _cancel_batch(self, batch: str) -> Operation[Cancellation]:
        start, cancelled, too_late = 0, 0, 0
        while first_rows := (yield from _ask(self._ledger.first_rows(batch, start, CHUNKS_A_PAGE), batch)):
            for first_row in first_rows:
                _, done, late = yield from _ask(self._ledger.cancel(ids.chunk_id(batch, first_row)), batch)
                cancelled, too_late = cancelled + done, too_late + late
            start += len(first_rows)
            yield Step.BREATHE
        return Cancellation(cancelled, too_late)


class _Opening(NamedTuple):
    """Opens a batch under a new id; said again under a key, it finds the batch, and how far it is by now."""

    id: str
    call: Call[OpenBatch]


class _Chunk:
    """Mails that will be stored together."""

    def __init__(self, first_row: int) -> None:
        self.first_row = first_row
        self.bodies: list[bytes] = []
        self.recipients: list[int] = []
        self.size_bytes = 0
        self.running = ""


class _Storing:
    """Goes over the mails of a batch, from the first; those that an earlier try has stored are only compared."""

    def __init__(self, settings: Settings, intake: Intake, terms: Terms, opened: OpenBatch, *, keyed: bool) -> None:
        self._settings = settings
        self._intake = intake
        self._terms = terms
        self.batch = opened.id
        self._stored_rows = opened.rows
        self._stored_running = opened.running
        self._keyed = keyed
        self._running = b""
        self._chunk = _Chunk(opened.rows)
        self.row = 0

    def take(self, mail: MailLike) -> _Chunk | None:
        """Take one mail; returns the chunk that it has made full."""
        chunk = self._chunk
        id = ids.mail_id(ids.chunk_id(self.batch, chunk.first_row), max(0, self.row - chunk.first_row))
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
        chunk.recipients.append(taken.recipients)
        chunk.size_bytes += len(taken.body)
        is_full = len(chunk.bodies) >= self._settings.chunk_mails or chunk.size_bytes >= self._settings.chunk_bytes
        return self._cut() if is_full else None

    def join(self, opened: OpenBatch) -> None:
        """Another producer is storing the same batch, and is further by now: go on behind what it has stored.

        Raises `KeyConflict` if that is something else, `QueueUnavailable` if it has cut its chunks elsewhere.
        """
        if opened.sealed and opened.rows < self.row:
            raise KeyConflict(self.batch)
        if opened.rows < self.row:
            raise QueueUnavailable(self.batch, may_be_enqueued=True, detail=BUSY)
        self._stored_rows, self._stored_running = opened.rows, opened.running
        self._chunk = _Chunk(opened.rows)
        self._compare()

    def rest(self) -> _Chunk | None:
        """The last chunk, if anything is left for it. Raises `KeyConflict` if there were more mails the first time."""
        if self.row < self._stored_rows:
            raise KeyConflict(self.batch)
        return self._cut() if self._chunk.bodies else None

    def _compare(self) -> None:
        if self.row == self._stored_rows and self._running.hex() != self._stored_running:
            raise KeyConflict(self.batch)

    def _cut(self) -> _Chunk:
        chunk = self._chunk
        chunk.running = self._running.hex()
        self._chunk = _Chunk(self.row)
        return chunk


def batched(news: Sequence[News], size: int) -> Iterator[Sequence[News]]:
    for start in range(0, len(news), size):
        yield news[start : start + size]


def _serialized(then: Signature | None) -> str | None:
    try:
        return None if then is None else str(dumps(then))
    except TypeError:
        raise ValueError("then must have arguments that JSON has a form for") from None


def _check_then(then: object) -> None:
    if then is not None and not isinstance(then, Signature):
        raise ValueError(f"then must be a Celery signature, such as task.si(), not {shown(then)}")
    if then is not None and then.subtask_type is not None:
        raise ValueError("then must be the signature of one task; let that task start a chain, group or chord")


def _ask(call: Any, id: str, *, enqueues: bool = False) -> Operation[Any]:
    """`enqueues`: mail is sent because of this call. Before a batch is sealed, nothing of it is."""
    try:
        return (yield call)
    except Unreachable as error:
        raise QueueUnavailable(id, enqueues and error.sent, error.detail) from None
