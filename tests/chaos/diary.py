"""Diary: what the workers of a fleet say that they do, a line each; from it is measured who goes on with whose work.

A line is `time pid word source`. The source is a chunk or a lane. The words: `popped` (its wake-up came), `claimed`,
and `left` (its task is through).
"""

import os
from collections.abc import Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.chaos.clock import true_time
from tests.chaos.journal import Journal, Reader

VARIABLE = "CHAOS_DIARY"

_journals: list[Journal] = []


class Entry(NamedTuple):
    time: float
    pid: int
    word: str
    source: str

    @classmethod
    def of(cls, line: str) -> Self:
        time, pid, word, source = line.split(" ")
        return cls(float(time), int(pid), word, source)


class Diary:
    """The entries of a fleet."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def read(self) -> Iterator[Entry]:
        """The entries since it was read last."""
        return map(Entry.of, self._reader.lines())


def keep(environment: Mapping[str, str]) -> None:
    """Keep the diary that the environment names, or none."""
    _journals.clear()
    if VARIABLE in environment:
        _journals.append(Journal(environment[VARIABLE]))


def note(word: str, source: str) -> None:
    for journal in _journals:
        journal.write(f"{true_time():.6f} {os.getpid()} {word} {source}")


def weave_messages() -> None:
    """Have a worker note what it pops. To be woven outside of the fail points, so that they come after the note."""
    from kombu.transport.virtual.base import Transport as MessageTransport

    from postroom.names import DELIVER, DRAIN

    deliver_message = MessageTransport._deliver

    @wraps(deliver_message)
    def woven_deliver_message(transport: Any, message: Any, queue: str) -> Any:
        headers = message.get("headers", {})
        if headers.get("task") == DELIVER:
            note("popped", headers["id"])
        elif headers.get("task") == DRAIN:
            note("popped", queue)
        return deliver_message(transport, message, queue)

    MessageTransport._deliver = woven_deliver_message


def weave_work() -> None:
    """Have a worker note what it claims and leaves. To be woven inside of the fail points."""
    from worker.delivery import Delivery
    from worker.post_office import PostOffice

    claim = Delivery._claim

    @wraps(claim)
    def woven_claim(delivery: Any) -> Any:
        window = claim(delivery)
        if window.claimed.verdict == "claimed":
            note("claimed", getattr(delivery._source, "id", delivery._source.lane))
        return window

    Delivery._claim = woven_claim
    for name in ("deliver", "drain"):
        _weave_leaving(PostOffice, name)


def _weave_leaving(owner: Any, name: str) -> None:
    method = getattr(owner, name)

    @wraps(method)
    def woven(office: Any, source: str) -> Any:
        try:
            return method(office, source)
        finally:
            note("left", source)

    setattr(owner, name, woven)
