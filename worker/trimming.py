"""Trimming: a finished chunk keeps the content of its dead letters alone, for a retry by hand."""

from postroom import payload
from postroom.ledger import Ledger
from worker.patience import Runs


def trim(chunk: str, ledger: Ledger, redis: Runs, *, give_up_at: float) -> None:
    """Raises `Unreachable` when stopping without Redis; a caretaker trims it then."""
    trimmed = False
    while not trimmed:
        kept = redis.run(ledger.kept(chunk), give_up_at=give_up_at)
        packed = redis.run(ledger.payload(chunk), give_up_at=give_up_at)
        rest = _rest(kept, packed) if kept and packed else b""
        trimmed = redis.run(ledger.trim(chunk, kept, rest), give_up_at=give_up_at)


def _rest(kept: str, packed: bytes) -> bytes:
    try:
        whole = payload.unpack(packed)
    except payload.DamagedPayload:
        return b""
    parts = [part if letter == "k" else None for letter, part in zip(kept, whole.parts, strict=False)]
    return payload.pack(parts, whole.template) if any(parts) else b""
