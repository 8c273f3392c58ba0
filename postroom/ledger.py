"""The ledger: what every mail's state is, in Redis. The only module that knows the keys.

Each method describes one step as a `Call`; `postroom.connection` runs it, over a blocking or an asyncio client. A step
is a Lua script (`postroom/lua`), so it happens as a whole or not at all, by the clock of Redis.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, TypeVar, Unpack

import msgspec

from postroom.answers import (
    BATCH_FIELDS,
    BatchRecord,
    Claimed,
    DeadPage,
    DoubtPage,
    Enqueued,
    FailedPage,
    MailStatus,
    OpenBatch,
    Pace,
    Recovered,
    Settled,
    Stored,
    Swept,
    decode_batch,
    decode_claimed,
    decode_dead,
    decode_doubts,
    decode_failed,
    decode_paces,
    decode_recovered,
    decode_scores,
    decode_settled,
    decode_stats,
    decode_status,
    decode_swept,
    decode_texts,
    text,
)
from postroom.call import Call
from postroom.delivery import Told
from postroom.names import Lane
from postroom.outcome import Kind, Outcome
from postroom.script import SCRIPTS
from postroom.settings import OWNER_LIFE, Settings
from postroom.terms import Terms

T = TypeVar("T")

#: A window is judged so long (seconds) after the last of its requests must have ended.
SLACK = 10.0
DAY = 86_400.0

_pack = msgspec.msgpack.Encoder().encode


class Claimant(TypedDict):
    """Who claims, and how much.

    `nonce` is `owner/number`; `seen` is the highest step counter that this worker has been told. `gives_way_to` is the
    lane (and its account) whose singles come first, if this worker sends those, too.
    """

    owner: str
    nonce: str
    limit: int
    account: str
    seen: int
    gives_way_to: NotRequired[dict[str, str] | None]


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
            "pace": _pace_rules(settings),
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
        terms: Terms,
        *,
        key: str | None,
        fingerprint: str | None,
        drain: str,
        recipients: int = 1,
    ) -> Call[Enqueued]:
        """Take a single. `drain` is the wake-up template of its lane; `key` is hashed."""
        args = {
            "id": id,
            "key": key,
            "fingerprint": fingerprint,
            "drain": drain,
            "recipients": _recipients([recipients]),
            **_packed(terms),
        }
        return self._step("enqueue", args, lambda reply: Enqueued(*map(text, reply)), payload)

    def open_batch(
        self, id: str, terms: Terms, *, key: str | None, fingerprint: str | None, wake_up: str, then: str | None
    ) -> Call[OpenBatch]:
        """Open a batch, or find the one of this key. `wake_up` is the template of its chunks' wake-ups."""
        args = {
            "id": id,
            "key": key,
            "fingerprint": fingerprint,
            "wake_up": wake_up,
            "then": then,
            **_packed(terms),
        }
        return self._step(
            "open_batch",
            args,
            lambda reply: OpenBatch(text(reply[0]), text(reply[1]), reply[2], text(reply[3]), bool(reply[4])),
        )

    def store_chunk(
        self,
        batch: str,
        first_row: int,
        rows: int,
        running: str,
        payload: bytes,
        *,
        recipients: Sequence[int] = (),
        merged: bool = False,
    ) -> Call[Stored]:
        """Store the next `rows` mails of an open batch; `running` is the hash of all rows so far.

        `recipients`: how many each of them has; one, unless told. `merged`: they go in one request.
        """
        args = {
            "batch": batch,
            "first_row": first_row,
            "rows": rows,
            "running": running,
            "recipients": _recipients(recipients),
            "merged": merged or None,
        }
        return self._step("store_chunk", args, lambda reply: Stored(text(reply[0]), reply[1]), payload)

    def seal(
        self, batch: str, *, rows: int, chord_size_key: str, chord_expires: float, report: str
    ) -> Call[tuple[str, int]]:
        """Seal a batch of so many rows. The reply is ("sealed", "gone" or "behind", how many chunks it has).

        `report` is the template of the wake-up that has an empty batch reported.
        """
        args = {
            "batch": batch,
            "rows": rows,
            "chord_size_key": chord_size_key,
            "chord_expires": _ms(chord_expires),
            "report": report,
        }
        return self._step("seal", args, lambda reply: (text(reply[0]), reply[1]))

    def drop_batch(self, batch: str) -> Call[bool]:
        """Delete a page of an unsealed batch; True when all of it is gone."""
        return self._step("drop_batch", {"batch": batch}, bool)

    def announce_batch(self, batch: str) -> Call[int]:
        """Push a page of at most 500 wake-ups of a sealed batch; the reply is how many it was."""
        return self._step("announce_batch", {"batch": batch}, int)

    def cancel(self, id: str) -> Call[tuple[str, int, int]]:
        """Cancel a mail, or all of a chunk: ("done" or "unknown", cancelled, too late)."""
        return self._step("cancel", {"id": id}, lambda reply: (text(reply[0]), reply[1], reply[2]))

    def events(self, groups: Sequence[tuple[str, Sequence[Told]]]) -> Call[int]:
        """Take a page of SendGrid's events: a chunk, and what was told of its mails.

        The reply is how many of them were about a mail that is known.
        """
        return self._step("events", {"groups": list(groups)}, int)

    # Workers.

    def claim_chunk(self, chunk: str, *, first: bool, **by: Unpack[Claimant]) -> Call[Claimed]:
        """Claim at most `limit` mails of a chunk. Said again with the same nonce, it gives the same window.

        Of a merged chunk it is all that go in the next request, whatever the limit.
        `first`: this is the first claim of a task.
        """
        return self._step("claim", {"chunk": chunk, "first": first, **by, "in_task": True}, decode_claimed)

    def claim_lane(self, lane: Lane, *, first: bool, drain: str, **by: Unpack[Claimant]) -> Call[Claimed]:
        """Claim at most `limit` singles of a lane. `drain` is the template of its wake-up."""
        args = {"lane": lane, "first": first, "drain": drain, **by, "in_task": True}
        return self._step("claim", args, decode_claimed)

    def settle(
        self,
        groups: Sequence[tuple[str, Sequence[tuple[Sequence[int], Outcome, float]]]],
        *,
        nonce: str,
        account: str,
    ) -> Call[Settled]:
        """Settle mails of a window: a chunk, and (places, outcome, seconds until a retry) of each of its requests."""
        packed = [(chunk, [_pack_outcome(*request) for request in requests]) for chunk, requests in groups]
        args = {"groups": packed, "nonce": nonce, "account": account, "in_task": True}
        return self._step("settle", args, decode_settled)

    def wake_chunk(self, chunk: str, *, first: bool) -> Call[int]:
        """Announce a chunk, if anything of it can be claimed: its task gives it back.

        `first`: it has not claimed yet.
        """
        return self._step("wake", {"chunk": chunk, "first": first}, int)

    def wake_lane(self, lane: Lane, *, id: str, drain: str) -> Call[int]:
        """Announce a lane, if anything waits in it."""
        return self._step("wake", {"lane": lane, "id": id, "drain": drain}, int)

    def sweep(self, owner: str, drains: Mapping[str, str], *, seen: int, again: bool = False) -> Call[Swept]:
        """Do what time alone brings about, unless another caretaker did within the last second.

        `seen` is the highest step counter that this worker has been told. `again`: go on, where a limit cut the last
        sweep short.
        """
        args = {"owner": owner, "drains": dict(drains), "seen": seen, "again": again}
        return self._step("sweep", args, decode_swept)

    def leave(self, owner: str) -> Call[int]:
        """The owner ends, in peace: nobody has to find it dead."""
        return Call(None, ("ZREM", "postroom:owners", owner), int)

    def kept(self, chunk: str) -> Call[str]:
        """Whose content of a finished chunk is kept: a letter a mail, "k" or "-"; empty while it is not finished."""
        return self._step("kept", {"chunk": chunk}, text)

    def trim(self, chunk: str, kept: str, payload: bytes) -> Call[bool]:
        """Put a finished chunk's trimmed payload in place; False if `kept` is not the same any more."""
        return self._step("trim", {"chunk": chunk, "kept": kept}, bool, payload)

    def record_report(self, batch: str, by: str) -> Call[bool]:
        """Record the report of a finished batch, once; whether this call did it."""
        return self._step("record_report", {"batch": batch, "by": by}, bool)

    def then_published(self, batch: str) -> Call[bool]:
        """The batch's `then` has been published."""
        return self._step("then_published", {"batch": batch}, bool)

    def count(self, counter: str) -> Call[int]:
        """Add one to a counter of the statistics."""
        return Call(None, ("HINCRBY", "postroom:stats", counter, 1), int)

    def keep_garbage(self, entry: bytes) -> Call[int]:
        """Keep a foreign message that was found in a lane; the reply is how many were found since the ledger began."""
        return self._step("keep_garbage", {}, int, entry)

    # Operators.

    def retry(
        self, id: str, *, expires_in: float, drains: Mapping[str, str], may_repeat: bool, not_accepted: bool
    ) -> Call[tuple[str, str]]:
        """Queue a dead letter again (with `not_accepted` also a mail in doubt).

        The reply is (what, the state it was in), where what is "queued", "unknown", "not_dead", "unresolved",
        "content_gone" or "busy". `expires_in` seconds from now it expires, if its chunk is through.
        """
        args = {
            "id": id,
            "expires_in": _ms(expires_in),
            "drains": dict(drains),
            "may_repeat": may_repeat,
            "not_accepted": not_accepted,
        }
        return self._step("retry", args, _two_texts)

    def purge(self, id: str) -> Call[tuple[str, str]]:
        """Delete the content and the errors of a dead letter: ("purged", "unknown" or "not_dead", its state)."""
        return self._step("purge", {"id": id}, _two_texts)

    def recover(self, cursor: str) -> Call[Recovered]:
        """Put a page of what is not finished in doubt. The first cursor is "0"; so is the last reply's."""
        return self._step("recover", {"cursor": cursor}, decode_recovered)

    def set_pace(self, name: str, per_second: float | None) -> Call[int]:
        """Limit "all" (each account), or a lane, to so much a second, whatever the settings say; None is no limit."""
        return Call(None, ("HSET", "postroom:pace", name, "none" if per_second is None else repr(per_second)), int)

    def reset_pace(self, name: str) -> Call[int]:
        """Let the settings count again."""
        return Call(None, ("HDEL", "postroom:pace", name), int)

    # The gateway's keys. Plain commands: a key is written once, and deleted.

    def add_key(self, id: str, record: bytes) -> Call[int]:
        """Keep a key of the gateway."""
        return Call(None, ("HSET", "postroom:gateway:keys", id, record), int)

    def revoke_key(self, id: str) -> Call[bool]:
        """Delete one, also when memory is short; whether there was one."""
        return Call(None, ("HDEL", "postroom:gateway:keys", id), bool)

    def key(self, id: str) -> Call[bytes | None]:
        """The record of a key; None if there is none of this id."""
        return Call(None, ("HGET", "postroom:gateway:keys", id), lambda reply: reply)

    def keys(self) -> Call[list[bytes]]:
        """The records of all keys."""
        return Call(None, ("HVALS", "postroom:gateway:keys"), list)

    def count_keys(self) -> Call[int]:
        return Call(None, ("HLEN", "postroom:gateway:keys"), int)

    # Looking.

    def pace(self, accounts: Sequence[str]) -> Call[list[Pace]]:
        """How fast these accounts and the lanes may go, and go."""
        return self._step("show_pace", {"accounts": list(accounts), "lanes": list(Lane)}, decode_paces)

    def dead(self, batch: str | None, score: float | None, skip: int) -> Call[DeadPage]:
        """A page of the dead letters, newest first; `score` and `skip` are those of the last page's `next`."""
        return self._step("dead", {"batch": batch, "score": score, "skip": skip}, decode_dead)

    def doubts(self, start: int) -> Call[DoubtPage]:
        """A page of the mails in doubt, from the `start`th on, by when their grace ends."""
        return self._step("doubts", {"start": start}, decode_doubts)

    def stopped(self) -> Call[dict[str, str]]:
        """Why the fleet is stopped; empty if it is not."""
        return Call(None, ("HGETALL", "postroom:stopped"), decode_texts)

    def lane_of(self, chunk: str) -> Call[Lane | None]:
        """The lane of a chunk or single; None if there is none of this id."""
        return Call(None, ("HGET", f"postroom:chunk:{chunk}", "lane"), lambda reply: reply and Lane(text(reply)))

    def first_rows(self, batch: str, start: int, count: int) -> Call[list[int]]:
        """The first rows of `count` chunks of a batch, from the `start`th on."""
        key = f"postroom:batch:{batch}:chunks"
        return Call(None, ("LRANGE", key, start, start + count - 1), lambda reply: [int(row) for row in reply])

    def eviction_policy(self) -> Call[str | None]:
        """Redis' maxmemory-policy, None if it does not tell."""
        name = "maxmemory-policy"
        return Call(None, ("CONFIG", "GET", name), lambda reply: decode_texts(reply).get(name))

    def payload(self, chunk: str) -> Call[bytes | None]:
        return Call(None, ("GET", f"postroom:payload:{chunk}"), lambda reply: reply)

    def status(self, id: str) -> Call[MailStatus | None]:
        return self._step("status", {"id": id}, lambda reply: decode_status(id, reply))

    def batch(self, batch: str) -> Call[BatchRecord | None]:
        """The batch with its counts; None if there is none of this id."""
        return Call(None, ("HMGET", f"postroom:batch:{batch}", *BATCH_FIELDS), decode_batch)

    def failed(self, batch: str, start: int) -> Call[FailedPage]:
        """The mails of a page of chunks, from the `start`th on, that were not accepted when the report was taken."""
        return self._step("failed", {"batch": batch, "start": start}, decode_failed)

    def states(self, chunk: str) -> Call[str | None]:
        """The states of a chunk's mails, one letter each (see `STATES`)."""
        return Call(None, ("HGET", f"postroom:chunk:{chunk}", "states"), lambda reply: reply and text(reply))

    def stats(self) -> Call[dict[str, int]]:
        """Counters since the ledger began: doubts, resends, reports by body and by caretaker, and so on."""
        return Call(None, ("HGETALL", "postroom:stats"), decode_stats)

    def account(self, name: str) -> Call[dict[str, str]]:
        """The pause of an account; empty if there is none."""
        return Call(None, ("HGETALL", f"postroom:account:{name}"), decode_texts)

    def lane_length(self, lane: Lane) -> Call[int]:
        """Singles that wait in a lane."""
        return Call(None, ("LLEN", f"postroom:lane:{lane}:singles"), int)

    def garbage_length(self) -> Call[int]:
        """Foreign messages that are kept."""
        return Call(None, ("LLEN", "postroom:garbage"), int)

    def owners(self) -> Call[dict[str, float]]:
        """Workers and when each was last heard of (milliseconds of Redis' clock)."""
        return Call(None, ("ZRANGE", "postroom:owners", 0, -1, "WITHSCORES"), decode_scores)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _pace_rules(settings: Settings) -> dict[str, Any]:
    rates = {"all": settings.rate, **{lane.value: settings.lane_rate(lane) for lane in Lane}}
    return {
        "recipients": settings.rate_unit == "recipients",
        "kept": settings.rate_kept,
        **{name: rate.per_second for name, rate in rates.items() if rate is not None},
    }


def _recipients(counts: Sequence[int]) -> str | None:
    """How many recipients each mail has, for the pace; None if it is one each, as it mostly is."""
    return msgspec.json.encode(counts).decode() if any(count != 1 for count in counts) else None


def _two_texts(reply: Any) -> tuple[str, str]:
    return text(reply[0]), text(reply[1])


def _packed(terms: Terms) -> dict[str, Any]:
    lane, policy, expires_in, send_at = terms
    return {"lane": lane, "policy": policy, "expires_in": _ms(expires_in), "send_at": _ms(send_at or 0)}


def _pack_outcome(
    places: Sequence[int], outcome: Outcome, delay: float
) -> tuple[Sequence[int], str, str, str, str, int]:
    errors = msgspec.json.encode(outcome.errors).decode() if outcome.errors else ""
    # The wait of a 429 that does not say how long, or of a limit that is used up, is the account's, not this mail's.
    unasked = 0.0 if outcome.kind in (Kind.LIMITED, Kind.ACCEPTED) else delay
    wait = unasked if outcome.wait_seconds is None else outcome.wait_seconds
    return places, outcome.kind.value, outcome.reason or "", outcome.receipt or "", errors, _ms(wait)
