"""Answers: what the steps of the ledger answer, and how it is read from Redis' replies."""

from typing import Any, NamedTuple

import msgspec

from postroom import ids
from postroom.names import State

#: Bytes of a mail's record: attempts (1), last change in seconds (4), receipt (22).
RECORD_SIZE = 27

#: The letters that stand for the states in a chunk; three of them are "queued" to the outside.
STATES = {
    "q": State.QUEUED,
    "w": State.QUEUED,
    "o": State.QUEUED,
    "s": State.SENDING,
    "d": State.IN_DOUBT,
    "a": State.ACCEPTED,
    "r": State.REJECTED,
    "x": State.EXHAUSTED,
    "e": State.EXPIRED,
    "c": State.CANCELLED,
    "u": State.UNRESOLVED,
}

#: What a batch has in Redis: numbers, and others.
BATCH_NUMBERS = ("total", "sealed", "final_at", "reported_at", "changed_since", "cursor", *map(str, State))
BATCH_FIELDS = (*BATCH_NUMBERS, "lane", "reported_by", "report", "then")


class Enqueued(NamedTuple):
    """`what`: "enqueued", "known" (the same mail before), "conflict" (its key has another), or "full"."""

    what: str
    id: str


class OpenBatch(NamedTuple):
    """`what`: "open", "conflict" or "full"; and how far the batch of this key has come."""

    what: str
    id: str
    rows: int
    running: str
    sealed: bool


class Stored(NamedTuple):
    """`what`: "stored", "gone", "behind" (another producer is elsewhere) or "full"; and the rows stored so far."""

    what: str
    rows: int


class Claimed(msgspec.Struct, frozen=True):
    """The answer to a claim.

    `verdict`: "claimed" (with `groups`: a chunk, and (place, attempt) of each of its mails), "finished" (the chunk, of
    `size` mails), "idle" (nothing is due), "wait" (the account is paused, for `wait` more milliseconds) or "unknown".
    `payloads`: for singles, one to each group.
    """

    verdict: str
    groups: list[tuple[str, list[tuple[int, int]]]] = []
    wait: float = 0
    reason: str = ""
    size: int = 0
    payloads: list[bytes] = []


class Settled(msgspec.Struct, frozen=True):
    """What a settle has done.

    `trims`: chunks whose payload is to be trimmed; `stale`: outcomes that came too late to count; `paused`: why the
    account is paused from now on.
    """

    trims: list[str] = []
    stale: int = 0
    paused: str | None = None


class Swept(msgspec.Struct, frozen=True):
    """What a sweep has found.

    `swept`: False if another caretaker just did; `more`: a limit cut it short; `thens`: (batch, signature) to publish;
    `trims`: chunks whose payload is to be trimmed; `dead`: owners judged dead.
    """

    swept: bool
    more: bool = False
    thens: list[tuple[str, str]] = []
    trims: list[str] = []
    dead: list[str] = []


class Note(msgspec.Struct, frozen=True):
    """What is kept of a mail that something out of the ordinary has happened to."""

    doubts: int = 0
    died: int = 0
    reason: str | None = None
    errors: str | None = None
    receipt: str | None = None
    nonce: str | None = None
    was: dict[str, str] | None = None

    def error_list(self) -> list[dict[str, Any]]:
        return msgspec.json.decode(self.errors, type=list[dict[str, Any]]) if self.errors else []


class MailStatus(msgspec.Struct, frozen=True):
    """One mail, as the ledger has it. Times are Unix seconds."""

    id: str
    batch_id: str | None
    state: State
    attempt: int
    reason: str | None
    receipt: str | None
    errors: list[dict[str, Any]]
    updated_at: float


class BatchRecord(msgspec.Struct, frozen=True):
    """A batch, as the ledger has it. Times are milliseconds of the Unix clock."""

    lane: str
    total: int
    chunks: int
    counts: dict[str, int]
    sealed: int | None
    final_at: int | None
    reported_at: int | None
    reported_by: str | None
    report: dict[str, int] | None
    changed_since: int | None
    then: str | None


class Failure(msgspec.Struct, frozen=True):
    """A mail of a batch that was not accepted, as the report has it. `row` is its place in the batch, from 0."""

    id: str
    row: int
    state: State
    reason: str | None
    errors: list[dict[str, Any]]


class FailedPage(NamedTuple):
    """Some of a batch's failures; `next` is where to go on, None at the end."""

    failures: list[Failure]
    next: int | None


decode_settled = msgspec.msgpack.Decoder(Settled).decode
decode_swept = msgspec.msgpack.Decoder(Swept).decode
_claimed = msgspec.msgpack.Decoder(Claimed)
_note = msgspec.msgpack.Decoder(Note)
_counts = msgspec.msgpack.Decoder(dict[str, int])


def text(value: Any) -> str:
    """A bulk string of Redis as a str."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _pairs(reply: Any) -> list[tuple[Any, Any]]:
    if isinstance(reply, dict):
        return list(reply.items())
    if reply and isinstance(reply[0], (list, tuple)):
        return [(key, value) for key, value in reply]
    return list(zip(reply[::2], reply[1::2], strict=True))


def decode_claimed(reply: Any) -> Claimed:
    claimed = _claimed.decode(reply[0])
    return msgspec.structs.replace(claimed, payloads=reply[1:]) if len(reply) > 1 else claimed


def decode_status(id: str, reply: Any) -> MailStatus | None:
    if not reply:
        return None
    state, created, record, packed_note = State(text(reply[0])), int(reply[2]), reply[4], reply[5]
    note = _note.decode(packed_note) if packed_note else Note()
    attempt, updated_at, receipt = 0, created / 1000, None
    if len(record) == RECORD_SIZE and any(record):
        attempt, updated_at = record[0], float(int.from_bytes(record[1:5], "big"))
        receipt = record[5:].rstrip(b"\0").decode() or note.receipt
    return MailStatus(
        id=id,
        batch_id=ids.place_of(id).batch,
        state=state,
        attempt=attempt + (state is State.SENDING),
        reason=(note.reason or None) if state is not State.ACCEPTED else None,
        receipt=receipt,
        errors=note.error_list() if state is not State.ACCEPTED else [],
        updated_at=updated_at,
    )


def decode_batch(reply: Any) -> BatchRecord | None:
    """From the values of `BATCH_FIELDS`."""
    stored = dict(zip(BATCH_FIELDS, reply, strict=True))
    if stored["total"] is None:
        return None
    number = {name: int(stored[name]) for name in BATCH_NUMBERS if stored[name] is not None}
    return BatchRecord(
        lane=text(stored["lane"]),
        total=number["total"],
        chunks=number.get("cursor", 0),
        counts={str(state): number.get(state, 0) for state in State},
        sealed=number.get("sealed"),
        final_at=number.get("final_at"),
        reported_at=number.get("reported_at"),
        reported_by=stored["reported_by"] and text(stored["reported_by"]),
        report=stored["report"] and _counts.decode(stored["report"]),
        changed_since=number.get("changed_since"),
        then=stored["then"] and text(stored["then"]),
    )


def decode_failed(reply: Any) -> FailedPage:
    chunks, following = reply
    failures = []
    for chunk, rows in chunks:
        for place, letter, packed_note in rows:
            failures.append(_failure(ids.mail_id(text(chunk), place), text(letter), packed_note))
    return FailedPage(failures, None if following < 0 else following)


def _failure(id: str, letter: str, packed_note: bytes) -> Failure:
    note = _note.decode(packed_note) if packed_note else Note()
    state, reason, errors = STATES[letter], note.reason, note.errors
    if note.was:
        state, reason, errors = State(note.was["state"]), note.was.get("reason"), note.was.get("errors")
    row = ids.place_of(id).row or 0
    return Failure(id, row, state, reason or None, msgspec.json.decode(errors) if errors else [])


def decode_stats(reply: Any) -> dict[str, int]:
    return {text(name): int(value) for name, value in _pairs(reply)}


def decode_texts(reply: Any) -> dict[str, str]:
    return {text(name): text(value) for name, value in _pairs(reply)}


def decode_scores(reply: Any) -> dict[str, float]:
    return {text(name): float(score) for name, score in _pairs(reply)}
