"""Operations: what a client does, step by step, without doing it.

Each is a generator. It yields a ledger `Call` and is sent the reply; or `TAKE`, and is sent the next mail of a batch
(or `END`); or `BREATHE`, where a driver may let others run. `producers.client` drives them over a blocking connection,
`producers.async_client` over asyncio, so that both do the same.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
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
from producers.intake import Intake, Taken, fingerprint, hashed
from producers.merge import MOST_A_REQUEST, Merge
from producers.results import Cancellation

T = TypeVar("T")


class Step(Enum):
    TAKE = "take"
    BREATHE = "breathe"
    END = "end"


Operation = Generator[Any, Any, T]
#: Takes a mail, or a recipient of a merge, under an id.
Take = Callable[..., Taken]

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
        _check_then(then)
        take = partial(self._intake.take, terms=terms)
        limits = Limits(self._settings.chunk_mails, self._settings.chunk_bytes)
        return self._enqueue_rows(take, limits, terms, digest=b"batch", key=key, then=then)

    def enqueue_merge(
        self, template: MailLike, terms: Terms, *, per_request: int, key: str | None, then: Signature | None
    ) -> Operation[str]:
        _check_then(then)
        if type(per_request) is not int or not 1 <= per_request <= MOST_A_REQUEST:
            raise ValueError(f"per_request is a number of recipients from 1 to 1000, not {shown(per_request)}")
        merge = Merge(template, terms, self._settings)
        limits = Limits(per_request, self._settings.chunk_bytes, MOST_A_REQUEST, merge.most_bytes)
        return self._enqueue_rows(
            merge.take, limits, terms, digest=merge.digest, key=key, then=then, template=merge.template
        )

    def _enqueue_rows(
        self,
        take: Take,
        limits: "Limits",
        terms: Terms,
        *,
        digest: bytes,
        key: str | None,
        then: Signature | None,
        template: bytes | None = None,
    ) -> Operation[str]:
        """Store the mails in chunks, seal the batch, and push the first page of its wake-ups."""
        opening = self._opening(terms, digest=digest, key=key, then=then)
        opened = yield from self._open(opening)
        storing = _Storing(take, limits, opened, template=template, keyed=key is not None)
        try:
            while (mail := (yield Step.TAKE)) is not Step.END:
                for chunk in storing.take(mail):
                    yield from self._store(storing, chunk, opening)
                if storing.row % MAILS_A_BREATH == 0:
                    yield Step.BREATHE
            if last := storing.rest():
                yield from self._store(storing, last, opening)
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

    def _opening(self, terms: Terms, *, digest: bytes, key: str | None, then: Signature | None) -> "_Opening":
        id = ids.new_id()
        call = self._ledger.open_batch(
            id,
            terms,
            key=hashed(key),
            fingerprint=fingerprint(digest, terms) if key is not None else None,
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
        packed = payload.pack(chunk.bodies, storing.template)
        yield Step.BREATHE
        call = self._ledger.store_chunk(
            batch,
            chunk.first_row,
            len(chunk.bodies),
            chunk.running,
            packed,
            recipients=chunk.recipients,
            merged=storing.template is not None,
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


class Limits(NamedTuple):
    """What a chunk may hold. It is full with so many mails, or bytes; and it never has more than the last two allow."""

    mails: int
    size_bytes: int
    most_recipients: float = math.inf
    most_bytes: float = math.inf


class _Chunk:
    """Mails that will be stored together."""

    def __init__(self, first_row: int) -> None:
        self.first_row = first_row
        self.bodies: list[bytes] = []
        self.recipients: list[int] = []
        self.recipient_count = 0
        self.size_bytes = 0
        self.running = ""

    def add(self, taken: Taken) -> None:
        self.bodies.append(taken.body)
        self.recipients.append(taken.recipients)
        self.recipient_count += taken.recipients
        self.size_bytes += len(taken.body)

    def is_full(self, limits: Limits) -> bool:
        return len(self.bodies) >= limits.mails or self.size_bytes >= limits.size_bytes

    def has_room(self, taken: Taken, limits: Limits) -> bool:
        """Whether one more goes in; the first one always does."""
        size_bytes = self.size_bytes + len(taken.body) + len(self.bodies)  # and the commas between
        recipients = self.recipient_count + taken.recipients
        fits = size_bytes <= limits.most_bytes and recipients <= limits.most_recipients
        return fits or not self.bodies


class _Storing:
    """Goes over the mails of a batch, from the first; those that an earlier try has stored are only compared."""

    def __init__(self, take: Take, limits: Limits, opened: OpenBatch, *, template: bytes | None, keyed: bool) -> None:
        self._take = take
        self._limits = limits
        self.template = template
        self.batch = opened.id
        self._stored_rows = opened.rows
        self._stored_running = opened.running
        self._keyed = keyed
        self._running = b""
        self._chunk = _Chunk(opened.rows)
        self.row = 0

    def take(self, mail: Any) -> list[_Chunk]:
        """Take one mail; returns the chunks that it has made full."""
        full = []
        taken = self._taken(mail)
        if not self._chunk.has_room(taken, self._limits):
            full.append(self._cut())
            taken = self._taken(mail)  # its id is another one now
        if self._keyed:
            self._running = hashlib.sha256(self._running + taken.digest).digest()
        self.row += 1
        if self.row <= self._stored_rows:
            self._compare()
            return full
        self._chunk.add(taken)
        if self._chunk.is_full(self._limits):
            full.append(self._cut())
        return full

    def _taken(self, mail: Any) -> Taken:
        first_row = self._chunk.first_row
        id = ids.mail_id(ids.chunk_id(self.batch, first_row), max(0, self.row - first_row))
        try:
            return self._take(mail, id, digest=self._keyed)
        except InvalidMail as error:
            raise InvalidMail(error.faults, self.row) from None

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
