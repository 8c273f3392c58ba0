"""Takeover: how long the mails that still waited in a dead worker's hands waited for the next claim by another."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.diary import Diary, Entry
from tests.chaos.fleet import Death


class Orphan(NamedTuple):
    """A source that a dead worker was at work on, or had popped the wake-up of, with mails waiting in it."""

    death: Death
    source: str


class Takeovers:
    """`waiting` says how many mails of a source can be claimed now."""

    def __init__(self, diary: Diary, waiting: Callable[[str], int]) -> None:
        self._diary = diary
        self._waiting = waiting
        self._entries: list[Entry] = []
        self._at_work: dict[int, dict[str, int]] = {}
        self.orphans: list[Orphan] = []

    def look(self) -> None:
        for entry in self._diary.read():
            self._entries.append(entry)
            at_work = self._at_work.setdefault(entry.pid, {})
            if entry.word == "popped":
                at_work[entry.source] = at_work.get(entry.source, 0) + 1
            elif entry.word == "left":
                at_work[entry.source] = at_work.get(entry.source, 0) - 1

    def died(self, death: Death) -> None:
        """To be told at once: afterwards others may have claimed what was waiting."""
        self.look()
        for source, count in self._at_work.pop(death.pid, {}).items():
            if count > 0 and self._waiting(source) > 0:
                self.orphans.append(Orphan(death, source))

    def waits(self) -> "Waits":
        self.look()
        claims: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._entries:
            if entry.word == "claimed":
                claims[entry.source].append(entry)
        waits = Waits([], [], 0)
        for orphan in self.orphans:
            taken = next((c for c in claims[orphan.source] if c.time > orphan.death.time), None)
            if taken is None:
                waits = waits._replace(never=waits.never + 1)
            elif any(self._between(orphan, other, taken.time, claims[orphan.source]) for other in self.orphans):
                waits.again.append(taken.time - orphan.death.time)
            else:
                waits.once.append(taken.time - orphan.death.time)
        return waits

    def _between(self, orphan: Orphan, other: Orphan, taken: float, claims: list[Entry]) -> bool:
        """Whether another worker died over the same source, with no claim between the two deaths."""
        if other.source != orphan.source or other is orphan or other.death.time > taken:
            return False
        first, last = sorted((orphan.death.time, other.death.time))
        return not any(first < claim.time < last for claim in claims)


class Waits(NamedTuple):
    """Seconds from a kill to the next claim.

    `once`: a single worker died over the source meanwhile. `again`: several did, one after another, and each wake-up
    that gets lost is repeated after twice the time. `never`: how many were not claimed again (expired, or unresolved).
    """

    once: list[float]
    again: list[float]
    never: int


def percentile(values: list[float], share: float) -> float | None:
    """The smallest value that at least this share of them does not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[max(1, math.ceil(share * len(ordered))) - 1], 2)
