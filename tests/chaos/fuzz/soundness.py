"""Soundness: whether all that the ledger has of some chunks goes together, seen without the ledger's own code."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from postroom.answers import STATES
from postroom.names import FINISHED, State
from tests.ledger_snapshot import Snapshot


def flaws(client: Any, good: frozenset[str]) -> Iterator[str]:
    """What does not go together of the chunks with these ids. `client` answers in bytes."""
    try:
        snapshot = Snapshot.of(client)
    except UnicodeDecodeError:
        return  # an id of bytes, which only nonsense has
    sound = {id: chunk.states for id, chunk in snapshot.chunks.items() if id in good}
    yield from _states(sound)
    yield from _batches(snapshot, sound)
    yield from _windows(snapshot, sound)
    yield from _work_left(snapshot, sound)


def _states(sound: dict[str, str]) -> Iterator[str]:
    if any(not set(states) <= set(STATES) for states in sound.values()):
        yield "a mail is in no state"


def _batches(snapshot: Snapshot, sound: dict[str, str]) -> Iterator[str]:
    for id, record in snapshot.batches.items():
        letters = "".join(states for chunk, states in sound.items() if chunk.startswith(f"{id}."))
        if letters and "sealed" in record and len(letters) == int(record["total"]):
            counts = {str(state): int(record[state]) for state in State if int(record.get(state, 0))}
            if counts != Counter(str(STATES[letter]) for letter in letters):
                yield "the counts of a batch are no recount"
            is_finished = all(STATES[letter] in FINISHED for letter in letters)
            if is_finished != ("final_at" in record) and "reported_at" not in record:  # then it may be retried by hand
                yield "a batch is final too early, or never"


def _windows(snapshot: Snapshot, sound: dict[str, str]) -> Iterator[str]:
    holders: Counter[tuple[str, int]] = Counter()
    live: Counter[str] = Counter()
    for groups, _, _ in snapshot.windows.values():
        live.update(groups.keys())
        holders.update((chunk, row) for chunk, rows in groups.items() for row in rows)
    if not snapshot.windows.keys() <= snapshot.scores("overdue").keys():
        yield "a window has no end"
    for id, states in sound.items():
        for row, letter in enumerate(states):
            if letter == "s" and holders[id, row] != 1:
                yield f"a mail that is sending is held by {holders[id, row]} windows"
        if snapshot.chunks[id].live != live[id]:
            yield "a chunk's number of windows is wrong"


def _work_left(snapshot: Snapshot, sound: dict[str, str]) -> Iterator[str]:
    due, doubts, deadlines = snapshot.scores("due"), snapshot.scores("doubts"), snapshot.scores("deadlines")
    for id, states in sound.items():
        for row, letter in enumerate(states):
            mail = f"{id}.{row}" if "." in id else id
            if letter == "w" and mail not in due and not _is_unsealed(snapshot, id):
                yield "a mail that waits has no time to go on"
            if letter == "d" and mail not in doubts:
                yield "a mail in doubt has no end of its grace"
        if "." not in id and states in ("q", "o"):
            where = f"lane:{_lane(snapshot, id)}:" + ("singles" if states == "q" else "alone")
            if id not in snapshot.items(where):
                yield "a single is queued in no lane"
        is_finished = all(STATES[letter] in FINISHED for letter in states)
        if not is_finished and id not in deadlines and not _is_unsealed(snapshot, id):
            yield "an unfinished chunk has no deadline"


def _is_unsealed(snapshot: Snapshot, chunk: str) -> bool:
    batch, dot, _ = chunk.partition(".")
    record = snapshot.batches.get(batch, {})
    return bool(dot) and ("sealed" not in record or "cursor" not in record)


def _lane(snapshot: Snapshot, chunk: str) -> str:
    values = snapshot._values[f"chunk:{chunk}"]
    lane: bytes = dict(zip(values[::2], values[1::2], strict=True))[b"lane"]
    return lane.decode(errors="replace")
