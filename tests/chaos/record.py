"""Record: what the ledger says of every mail and batch, in the form that the oracle judges."""

import base64
import json
from typing import NamedTuple

import msgspec
import redis

from postroom.answers import STATES
from postroom.ids import mail_id
from postroom.names import FINISHED, Lane, State
from tests.chaos.producer import AFTER
from tests.ledger_snapshot import Snapshot

FINISHED_NAMES = tuple(map(str, FINISHED))


class MailRecord(NamedTuple):
    """A mail. Times are Unix seconds. `doubts` and `reason` are from its note; `nonce` is of the window in doubt."""

    id: str
    chunk: str
    batch: str | None
    state: str
    policy: str
    expires: float
    send_at: float = 0.0
    attempts: int = 0
    doubts: int = 0
    reason: str = ""
    nonce: str = ""
    #: The state that the report has of it, if it has changed since.
    was: str | None = None


class BatchRecord(NamedTuple):
    """A batch. `counts` are the counters kept beside it, `report` those of its report."""

    id: str
    is_sealed: bool
    total: int
    counts: dict[str, int]
    report: dict[str, int] | None
    is_final: bool = True


class Record(NamedTuple):
    """All of the ledger. `reports` is how many reports were recorded; `waiting` what is left to do, by name."""

    mails: dict[str, MailRecord]
    batches: dict[str, BatchRecord]
    reports: int
    waiting: dict[str, int]
    #: The batches whose `then` was published.
    thens: frozenset[str] = frozenset()


def read(client: "redis.Redis") -> Record:
    """`client` answers in bytes."""
    snapshot = Snapshot.of(client)
    mails = {mail.id: mail for chunk in snapshot.chunks for mail in _mails(snapshot, chunk)}
    batches = {id: _batch(snapshot, id) for id in snapshot.batches}
    reports = sum(snapshot.stats.get(f"reported_by_{who}", 0) for who in ("body", "caretaker"))
    return Record(mails, batches, reports, _waiting(client, snapshot), _thens(client))


def _mails(snapshot: Snapshot, chunk: str) -> list[MailRecord]:
    fields = _fields(snapshot, f"chunk:{chunk}")
    found = []
    for place, letter in enumerate(snapshot.chunks[chunk].states):
        stored = snapshot.mail(chunk, place)
        note = stored.note
        found.append(
            MailRecord(
                id=mail_id(chunk, place),
                chunk=chunk,
                batch=chunk.partition(".")[0] if "." in chunk else None,
                state=str(STATES[letter]),
                policy=fields["policy"].decode(),
                expires=int(fields["expires"]) / 1000,
                send_at=int(fields.get("send_at", 0)) / 1000,
                attempts=stored.attempts,
                doubts=note.get("doubts", 0),
                reason=note.get("reason") or "",
                nonce=note.get("nonce") or "",
                was=(note.get("was") or {}).get("state"),
            )
        )
    return found


def _batch(snapshot: Snapshot, id: str) -> BatchRecord:
    fields = _fields(snapshot, f"batch:{id}")
    return BatchRecord(
        id=id,
        is_sealed="sealed" in fields,
        total=int(fields.get("total", 0)),
        counts={state: int(fields.get(state, 0)) for state in map(str, State)},
        report=msgspec.msgpack.decode(fields["report"], type=dict[str, int]) if "report" in fields else None,
        is_final="final_at" in fields,
    )


def _fields(snapshot: Snapshot, key: str) -> dict[str, bytes]:
    """A hash, its values as they are."""
    values = snapshot._values[key]
    return {name.decode(): value for name, value in zip(values[::2], values[1::2], strict=True)}


def _thens(client: "redis.Redis") -> frozenset[str]:
    """The first argument of each message, which is the batch."""
    messages = map(json.loads, client.lrange(AFTER, 0, -1))
    return frozenset(json.loads(base64.b64decode(message["body"]))[0][0] for message in messages)


def _waiting(client: "redis.Redis", snapshot: Snapshot) -> dict[str, int]:
    lanes = {f"wake-ups of {lane}": int(client.llen(lane)) for lane in Lane}
    return {**lanes, "windows": len(snapshot.windows)}
