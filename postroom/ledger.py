"""The ledger: what every mail's state is, in Redis. The only module that knows the keys.

Each method describes one step as a `Call`; `postroom.connection` runs it, over a blocking or an asyncio client. A step
is a Lua script (`postroom/lua`), so it happens as a whole or not at all, by the clock of Redis.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from postroom import ids
from postroom.names import Lane, State
from postroom.outcome import Kind, Outcome
from postroom.script import SCRIPTS, Script
from postroom.settings import OWNER_LIFE, Settings

T = TypeVar("T")

#: A window is judged so long (seconds) after the last of its requests must have ended.
SLACK = 10.0

RECORD_SIZE = 27
DAY = 86_400.0

_pack = msgspec.msgpack.Encoder().encode


class Call(NamedTuple, Generic[T]):
    """One step: a script or a plain command, and what its reply means."""

    script: Script | None
    args: tuple[Any, ...]
    decode: Callable[[Any], T]


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

_claimed = msgspec.msgpack.Decoder(Claimed)
_settled = msgspec.msgpack.Decoder(Settled)
_swept = msgspec.msgpack.Decoder(Swept)
_note = msgspec.msgpack.Decoder(Note)
_counts = msgspec.msgpack.Decoder(dict[str, int])


class Ledger:
    """The steps of the ledger, under one set of settings. `shift_ms` moves its clock, for tests."""

    def __init__(self, settings: Settings, *, shift_ms: int = 0) -> None:
        rules = {
            "shift": shift_ms,
            "grace": _ms(settings.grace),
            "life": _ms(OWNER_LIFE),
            "deadline": _ms(settings.request_deadline),
            "slack": _ms(SLACK),
            "attempts": settings.max_attempts,
            "keep": _ms(settings.keep_outcomes_days * DAY),
            "keep_failed": _ms(settings.keep_failed_days * DAY),
        }
        self._rules = _pack(rules)

    def _step(self, name: str, args: Mapping[str, Any], decode: Callable[[Any], T], *blobs: bytes) -> Call[T]:
        present = {key: value for key, value in args.items() if value is not None}
        return Call(SCRIPTS[name], (self._rules, _pack(present), *blobs), decode)

    # Producers.

    def enqueue(
        self,
        id: str,
        payload: bytes,
        *,
        lane: Lane,
        policy: str,
        expires_in: float,
        send_at: float | None,
        key: str | None,
        fingerprint: str | None,
        drain: str,
    ) -> Call[Enqueued]:
        """Take a single. `drain` is the wake-up template of its lane; `key` is hashed; times are seconds."""
        args = {
            "id": id,
            "lane": lane,
            "policy": policy,
            "expires_in": _ms(expires_in),
            "send_at": _ms(send_at or 0),
            "key": key,
            "fingerprint": fingerprint,
            "drain": drain,
        }
        return self._step("enqueue", args, lambda reply: Enqueued(*map(_text, reply)), payload)

    def open_batch(
        self,
        id: str,
        *,
        lane: Lane,
        policy: str,
        expires_in: float,
        send_at: float | None,
        key: str | None,
        fingerprint: str | None,
        wake_up: str,
        then: str | None,
    ) -> Call[OpenBatch]:
        """Open a batch, or find the one of this key. `wake_up` is the template of its chunks' wake-ups."""
        args = {
            "id": id,
            "lane": lane,
            "policy": policy,
            "expires_in": _ms(expires_in),
            "send_at": _ms(send_at or 0),
            "key": key,
            "fingerprint": fingerprint,
            "wake_up": wake_up,
            "then": then,
        }
        return self._step(
            "open_batch",
            args,
            lambda reply: OpenBatch(_text(reply[0]), _text(reply[1]), reply[2], _text(reply[3]), bool(reply[4])),
        )

    def store_chunk(self, batch: str, first_row: int, rows: int, running: str, payload: bytes) -> Call[Stored]:
        """Store the next `rows` mails of an open batch; `running` is the hash of all rows so far."""
        args = {"batch": batch, "first_row": first_row, "rows": rows, "running": running}
        return self._step("store_chunk", args, lambda reply: Stored(_text(reply[0]), reply[1]), payload)

    def seal(
        self, batch: str, *, chord_size_key: str, chord_expires: float, report: str
    ) -> Call[tuple[str, int]]:
        """Seal a batch. The reply is ("sealed" or "gone", how many chunks it has).

        `report` is the template of the wake-up that has an empty batch reported.
        """
        args = {
            "batch": batch,
            "chord_size_key": chord_size_key,
            "chord_expires": _ms(chord_expires),
            "report": report,
        }
        return self._step("seal", args, lambda reply: (_text(reply[0]), reply[1]))

    def drop_batch(self, batch: str) -> Call[bool]:
        """Delete a page of an unsealed batch; True when all of it is gone."""
        return self._step("drop_batch", {"batch": batch}, bool)

    def announce_batch(self, batch: str) -> Call[int]:
        """Push a page of at most 500 wake-ups of a sealed batch; the reply is how many it was."""
        return self._step("announce_batch", {"batch": batch}, int)

    def cancel(self, id: str) -> Call[tuple[str, int, int]]:
        """Cancel a mail, or all of a chunk: ("done" or "unknown", cancelled, too late)."""
        return self._step("cancel", {"id": id}, lambda reply: (_text(reply[0]), reply[1], reply[2]))

    # Workers.

    def claim_chunk(self, chunk: str, *, owner: str, nonce: str, limit: int, account: str) -> Call[Claimed]:
        """Claim at most `limit` mails of a chunk. Said again with the same nonce, it gives the same window."""
        args = {"chunk": chunk, "owner": owner, "nonce": nonce, "limit": limit, "account": account}
        return self._step("claim", {**args, "in_task": True}, _decode_claimed)

    def claim_lane(
        self, lane: Lane, *, owner: str, nonce: str, limit: int, account: str, first: bool, drain: str
    ) -> Call[Claimed]:
        """Claim at most `limit` singles of a lane. `first`: this is the first claim of a drain."""
        args = {"lane": lane, "owner": owner, "nonce": nonce, "limit": limit, "account": account}
        return self._step("claim", {**args, "first": first, "drain": drain, "in_task": True}, _decode_claimed)

    def settle(
        self,
        groups: Sequence[tuple[str, Sequence[tuple[int, Outcome, float]]]],
        *,
        nonce: str | None,
        account: str,
        in_task: bool = True,
    ) -> Call[Settled]:
        """Settle mails: a chunk, and (place, outcome, seconds until a retry) of each of its mails.

        `in_task`: said by the task of this chunk, which will see for itself when the chunk is finished.
        """
        packed = [(chunk, [_pack_outcome(*mail) for mail in mails]) for chunk, mails in groups]
        args = {"groups": packed, "nonce": nonce, "account": account, "in_task": in_task}
        return self._step("settle", args, _settled.decode)

    def wake_chunk(self, chunk: str) -> Call[int]:
        """Announce a chunk, if anything of it can be claimed: its task gives it back."""
        return self._step("wake", {"chunk": chunk}, int)

    def wake_lane(self, lane: Lane, *, id: str, drain: str) -> Call[int]:
        """Announce a lane, if anything waits in it."""
        return self._step("wake", {"lane": lane, "id": id, "drain": drain}, int)

    def sweep(self, owner: str, drains: Mapping[str, str], *, again: bool = False) -> Call[Swept]:
        """Do what time alone brings about, unless another caretaker did within the last second.

        `again`: go on, where a limit cut the last sweep short.
        """
        return self._step("sweep", {"owner": owner, "drains": dict(drains), "again": again}, _swept.decode)

    def leave(self, owner: str) -> Call[int]:
        """The owner ends, in peace: nobody has to find it dead."""
        return Call(None, ("ZREM", "postroom:owners", owner), int)

    def trim(self, chunk: str, states: str, payload: bytes) -> Call[bool]:
        """Put a finished chunk's trimmed payload in place; False if its states are not these any more."""
        return self._step("trim", {"chunk": chunk, "states": states}, bool, payload)

    def record_report(self, batch: str, by: str) -> Call[bool]:
        """Record the report of a finished batch, once; whether this call did it."""
        return self._step("record_report", {"batch": batch, "by": by}, bool)

    def then_published(self, batch: str) -> Call[bool]:
        """The batch's `then` has been published."""
        return self._step("then_published", {"batch": batch}, bool)

    # Looking.

    def lane_of(self, chunk: str) -> Call[Lane | None]:
        """The lane of a chunk or single; None if there is none of this id."""
        return Call(None, ("HGET", f"postroom:chunk:{chunk}", "lane"), lambda reply: reply and Lane(_text(reply)))

    def first_rows(self, batch: str, start: int, count: int) -> Call[list[int]]:
        """The first rows of `count` chunks of a batch, from the `start`th on."""
        key = f"postroom:batch:{batch}:chunks"
        return Call(None, ("LRANGE", key, start, start + count - 1), lambda reply: [int(row) for row in reply])

    def eviction_policy(self) -> Call[str | None]:
        """Redis' maxmemory-policy, None if it does not tell."""
        name = "maxmemory-policy"
        return Call(None, ("CONFIG", "GET", name), lambda reply: _decode_texts(reply).get(name))

    def payload(self, chunk: str) -> Call[bytes | None]:
        return Call(None, ("GET", f"postroom:payload:{chunk}"), lambda reply: reply)

    def status(self, id: str) -> Call[MailStatus | None]:
        return self._step("status", {"id": id}, lambda reply: _decode_status(id, reply))

    def batch(self, batch: str) -> Call[BatchRecord | None]:
        """The batch with its counts; None if there is none of this id."""
        fields = (
            *("lane", "total", "sealed", "final_at", "reported_at", "reported_by"),
            *("report", "changed_since", "then", "cursor"),
            *(str(state) for state in State),
        )
        return Call(None, ("HMGET", f"postroom:batch:{batch}", *fields), _decode_batch)

    def failed(self, batch: str, start: int) -> Call[FailedPage]:
        """The mails of a page of chunks, from the `start`th on, that were not accepted when the report was taken."""
        return self._step("failed", {"batch": batch, "start": start}, _decode_failed)

    def states(self, chunk: str) -> Call[str | None]:
        """The states of a chunk's mails, one letter each (see `STATES`)."""
        return Call(None, ("HGET", f"postroom:chunk:{chunk}", "states"), lambda reply: reply and _text(reply))

    def stats(self) -> Call[dict[str, int]]:
        """Counters since the ledger began: doubts, resends, reports by body and by caretaker, and so on."""
        return Call(None, ("HGETALL", "postroom:stats"), _decode_stats)

    def account(self, name: str) -> Call[dict[str, str]]:
        """The pause of an account; empty if there is none."""
        return Call(None, ("HGETALL", f"postroom:account:{name}"), _decode_texts)

    def lane_length(self, lane: Lane) -> Call[int]:
        """Singles that wait in a lane."""
        return Call(None, ("LLEN", f"postroom:lane:{lane}:singles"), int)

    def owners(self) -> Call[dict[str, float]]:
        """Workers and when each was last heard of (milliseconds of Redis' clock)."""
        return Call(None, ("ZRANGE", "postroom:owners", 0, -1, "WITHSCORES"), _decode_scores)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _pairs(reply: Any) -> list[tuple[Any, Any]]:
    if isinstance(reply, dict):
        return list(reply.items())
    if reply and isinstance(reply[0], (list, tuple)):
        return [(key, value) for key, value in reply]
    return list(zip(reply[::2], reply[1::2], strict=True))


def _pack_outcome(place: int, outcome: Outcome, delay: float) -> tuple[int, str, str, str, str, int]:
    errors = msgspec.json.encode(outcome.errors).decode() if outcome.errors else ""
    # The wait of a 429 that does not say how long is the account's, not this mail's.
    unasked = 0.0 if outcome.kind is Kind.LIMITED else delay
    wait = unasked if outcome.wait_seconds is None else outcome.wait_seconds
    return place, outcome.kind.value, outcome.reason or "", outcome.receipt or "", errors, _ms(wait)


def _decode_claimed(reply: Any) -> Claimed:
    claimed = _claimed.decode(reply[0])
    return msgspec.structs.replace(claimed, payloads=reply[1:]) if len(reply) > 1 else claimed


def _decode_status(id: str, reply: Any) -> MailStatus | None:
    if not reply:
        return None
    state, created, record, packed_note = State(_text(reply[0])), int(reply[2]), reply[4], reply[5]
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


def _decode_batch(reply: Any) -> BatchRecord | None:
    if reply[1] is None:
        return None
    number = [None if value is None or index in (0, 5, 6, 8) else int(value) for index, value in enumerate(reply)]
    counts = {str(state): number[10 + index] or 0 for index, state in enumerate(State)}
    return BatchRecord(
        lane=_text(reply[0]),
        total=number[1] or 0,
        chunks=number[9] or 0,
        counts=counts,
        sealed=number[2],
        final_at=number[3],
        reported_at=number[4],
        reported_by=_text(reply[5]) if reply[5] else None,
        report=_counts.decode(reply[6]) if reply[6] else None,
        changed_since=number[7],
        then=_text(reply[8]) if reply[8] else None,
    )


def _decode_failed(reply: Any) -> FailedPage:
    chunks, following = reply
    failures = []
    for chunk, rows in chunks:
        for place, letter, packed_note in rows:
            failures.append(_failure(ids.mail_id(_text(chunk), place), _text(letter), packed_note))
    return FailedPage(failures, None if following < 0 else following)


def _failure(id: str, letter: str, packed_note: bytes) -> Failure:
    note = _note.decode(packed_note) if packed_note else Note()
    state, reason, errors = STATES[letter], note.reason, note.errors
    if note.was:
        state, reason, errors = State(note.was["state"]), note.was.get("reason"), note.was.get("errors")
    row = ids.place_of(id).row or 0
    return Failure(id, row, state, reason or None, msgspec.json.decode(errors) if errors else [])


def _decode_stats(reply: Any) -> dict[str, int]:
    return {_text(name): int(value) for name, value in _pairs(reply)}


def _decode_texts(reply: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in _pairs(reply)}


def _decode_scores(reply: Any) -> dict[str, float]:
    return {_text(name): float(score) for name, score in _pairs(reply)}
