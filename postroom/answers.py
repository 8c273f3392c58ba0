"""Answers: what the steps of the ledger answer, and how it is read from Redis' replies."""

from typing import Any, NamedTuple

import msgspec

from postroom import ids
from postroom.delivery import Deliveries, Delivery, decode_deliveries, recipient_hash
from postroom.names import OnDoubt, State

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

#: What the ledger keeps no note of, because the state says it all.
IMPLIED_REASONS = {State.EXPIRED: "expired", State.CANCELLED: "cancelled"}

#: What a batch has in Redis: numbers, and others.
BATCH_NUMBERS = (
    *("total", "sealed", "final_at", "reported_at", "changed_since", "cursor", "resends", "extra_copies"),
    *map(str, State),
    *Deliveries.__struct_fields__,
)
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
    `size` mails), "idle" (nothing is due), "wait" (the account is paused, for `wait` more milliseconds), "stopped" (the
    whole fleet, until `recover`) or "unknown". `payloads`: for singles, one to each group. `step`: the step counter.
    """

    verdict: str
    groups: list[tuple[str, list[tuple[int, int]]]] = []
    wait: float = 0
    reason: str = ""
    size: int = 0
    payloads: list[bytes] = []
    step: int | None = None


class Settled(msgspec.Struct, frozen=True):
    """What a settle has done.

    `trims`: chunks whose payload is to be trimmed; `stale`: outcomes that came too late to count; `paused`: why the
    account is paused from now on.
    """

    trims: list[str] = []
    stale: int = 0
    paused: str | None = None


class Pace(msgspec.Struct, frozen=True):
    """How fast an account or a lane may go, and goes; in mails, or recipients, a second.

    `rate`: the limit, None if there is none; `by_hand`: an operator has set it, else it is the settings'; `recent`: how
    much it was of late; `slow`: after a 429 the account is held to this, which climbs.
    """

    name: str
    rate: float | None = None
    by_hand: bool = False
    recent: float = 0.0
    slow: float | None = None


class Swept(msgspec.Struct, frozen=True):
    """What a sweep has found.

    `swept`: False if another caretaker just did; `more`: a limit cut it short; `thens`: (batch, signature) to publish;
    `trims`: chunks whose payload is to be trimmed; `dead`: owners judged dead; `step`: the step counter; `stopped`: the
    whole fleet is, until `recover`.
    """

    swept: bool
    more: bool = False
    thens: list[tuple[str, str]] = []
    trims: list[str] = []
    dead: list[str] = []
    step: int | None = None
    stopped: bool = False


class End(msgspec.Struct, frozen=True):
    """A former end of a mail that was retried by hand. `at` (milliseconds): when it was retried."""

    state: State
    at: int
    reason: str | None = None


class Note(msgspec.Struct, frozen=True):
    """What is kept of a mail that something out of the ordinary has happened to."""

    doubts: int = 0
    died: int = 0
    reason: str | None = None
    errors: str | None = None
    receipt: str | None = None
    nonce: str | None = None
    was: dict[str, str] | None = None
    past: list[End] = []
    purged: bool = False

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
    #: How often it was in doubt; how it ended before it was retried by hand; whether its content was deleted by hand.
    doubts: int = 0
    past: list[End] = []
    purged: bool = False
    #: What SendGrid's events have told, a recipient each; empty while they have told nothing.
    deliveries: list[Delivery] = []

    def delivery_to(self, address: str) -> Delivery | None:
        """What was told of this recipient; None if nothing was."""
        wanted = recipient_hash(self.id, address)
        return next((delivery for delivery in self.deliveries if delivery.recipient == wanted), None)


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
    #: Mails that were sent once more after a doubt, and copies beyond the first that evidence has shown.
    resends: int
    extra_copies: int
    #: Recipients, by what SendGrid's events have told of them.
    deliveries: Deliveries


class Failure(msgspec.Struct, frozen=True):
    """A mail of a batch that was not accepted, as the report has it. `row` is its place in the batch, from 0."""

    id: str
    row: int
    state: State
    reason: str | None
    errors: list[dict[str, Any]]


class DeadLetter(msgspec.Struct, frozen=True):
    """A mail that was finished without being accepted, and not because somebody cancelled it.

    `state` is rejected, exhausted, expired or unresolved. `doubts`: how often SendGrid may have accepted it.
    `has_content`: it can be retried. `updated_at` is in Unix seconds.
    """

    id: str
    batch_id: str | None
    lane: str
    state: State
    attempt: int
    doubts: int
    reason: str | None
    errors: list[dict[str, Any]]
    updated_at: float
    has_content: bool


class DeadPage(NamedTuple):
    """Some dead letters; `next` is (score, skip) to go on with, None at the end."""

    letters: list[DeadLetter]
    next: tuple[float, int] | None


class Doubt(msgspec.Struct, frozen=True):
    """A mail in doubt. `ends_at` (Unix seconds): then `then` comes, if no evidence has: "resend" or "unresolved"."""

    id: str
    batch_id: str | None
    lane: str
    attempt: int
    doubts: int
    reason: str | None
    updated_at: float
    ends_at: float
    then: str


class DoubtPage(NamedTuple):
    """Some mails in doubt; `next` is where to go on, None at the end."""

    doubts: list[Doubt]
    next: int | None


class Recovered(NamedTuple):
    """A page of a recovery: where to go on ("0": it is done); chunks seen, mails put in doubt, unsealed chunks."""

    cursor: str
    chunks: int
    mails: int
    unsealed: int


class FailedPage(NamedTuple):
    """Some of a batch's failures; `next` is where to go on, None at the end."""

    failures: list[Failure]
    next: int | None


decode_paces = msgspec.msgpack.Decoder(list[Pace]).decode
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
    attempt, updated_at = _attempt_of(record, created / 1000)
    receipt = (record[5:].rstrip(b"\0").decode() or note.receipt) if record else None
    return MailStatus(
        id=id,
        batch_id=ids.place_of(id).batch,
        state=state,
        attempt=attempt + (state is State.SENDING),
        reason=_reason(state, note.reason),
        receipt=receipt,
        errors=note.error_list() if state is not State.ACCEPTED else [],
        updated_at=updated_at,
        doubts=note.doubts,
        past=note.past,
        purged=note.purged,
        deliveries=decode_deliveries(reply[7]),
    )


def _attempt_of(record: bytes, created: float) -> tuple[int, float]:
    """Attempts used, and when the mail last changed (Unix seconds)."""
    if len(record) == RECORD_SIZE and any(record):
        return record[0], float(int.from_bytes(record[1:5], "big"))
    return 0, created


def _reason(state: State, noted: str | None) -> str | None:
    return None if state is State.ACCEPTED else noted or IMPLIED_REASONS.get(state)


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
        resends=number.get("resends", 0),
        extra_copies=number.get("extra_copies", 0),
        deliveries=Deliveries(*(number.get(name, 0) for name in Deliveries.__struct_fields__)),
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
    return Failure(id, row, state, _reason(state, reason), msgspec.json.decode(errors) if errors else [])


def decode_dead(reply: Any) -> DeadPage:
    letters = []
    for chunk, lane, has_content, rows in reply[0]:
        for place, letter, packed_note, record in rows:
            note = _note.decode(packed_note) if packed_note else Note()
            id, state = ids.mail_id(text(chunk), place), STATES[text(letter)]
            attempt, updated_at = _attempt_of(record, 0.0)
            letters.append(
                DeadLetter(
                    id=id,
                    batch_id=ids.place_of(id).batch,
                    lane=text(lane),
                    state=state,
                    attempt=attempt,
                    doubts=note.doubts,
                    reason=_reason(state, note.reason),
                    errors=note.error_list(),
                    updated_at=updated_at,
                    has_content=bool(has_content),
                )
            )
    return DeadPage(letters, (float(reply[1]), int(reply[2])) if len(reply) == 3 else None)


def decode_doubts(reply: Any) -> DoubtPage:
    found, following = reply
    return DoubtPage([_doubt(values) for values in found], None if following < 0 else following)


def _doubt(values: tuple[bytes, ...]) -> Doubt:
    id, lane, policy, ends, packed_note, record = values
    note = _note.decode(packed_note)
    attempt, updated_at = _attempt_of(record, 0.0)
    is_resent = text(policy) == OnDoubt.RESEND and note.doubts < 2
    return Doubt(
        id=text(id),
        batch_id=ids.place_of(text(id)).batch,
        lane=text(lane),
        attempt=attempt,
        doubts=note.doubts,
        reason=note.reason,
        updated_at=updated_at,
        ends_at=float(ends) / 1000,
        then="resend" if is_resent else "unresolved",
    )


def decode_recovered(reply: Any) -> Recovered:
    cursor, chunks, mails, unsealed = reply
    return Recovered(text(cursor), int(chunks), int(mails), int(unsealed))


def decode_stats(reply: Any) -> dict[str, int]:
    return {text(name): int(value) for name, value in _pairs(reply)}


def decode_texts(reply: Any) -> dict[str, str]:
    return {text(name): text(value) for name, value in _pairs(reply)}


def decode_scores(reply: Any) -> dict[str, float]:
    return {text(name): float(score) for name, score in _pairs(reply)}
