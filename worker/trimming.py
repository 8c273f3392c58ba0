"""Trimming: a finished chunk keeps the content of those mails only that were not accepted, for a retry by hand."""

from postroom import payload
from postroom.ledger import Ledger
from worker.patience import Runs


def trim(chunk: str, ledger: Ledger, redis: Runs, *, give_up_at: float) -> None:
    """Raises `Unreachable` when stopping without Redis; a caretaker trims it then."""
    trimmed = False
    while not trimmed:
        states = redis.run(ledger.states(chunk), give_up_at=give_up_at) or ""
        packed = redis.run(ledger.payload(chunk), give_up_at=give_up_at)
        kept = _kept(states, packed) if packed is not None else b""
        trimmed = redis.run(ledger.trim(chunk, states, kept), give_up_at=give_up_at)


def _kept(states: str, packed: bytes) -> bytes:
    try:
        whole = payload.unpack(packed)
    except payload.DamagedPayload:
        return b""
    bodies = [None if state == "a" else body for state, body in zip(states, whole, strict=True)]
    return payload.pack(bodies) if any(bodies) else b""
