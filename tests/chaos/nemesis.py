"""Nemesis: decides what is done to whom. All its choices come from a seed, so that a run can be replayed."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from tests.chaos import clock
from tests.chaos.failpoints import KILL, PRODUCER_POINTS, STOP, WORKER_POINTS
from tests.chaos.fleet import Fleet, Member


class Nemesis:
    """`hits` are the confirmed hits so far: points that were hit less often are chosen more often."""

    def __init__(self, seed: str, hits: Callable[[], Counter[str]]) -> None:
        self.chance = random.Random(seed)
        self._hits = hits
        self._patience: dict[int, float] = {}
        self._sleep: dict[int, float] = {}

    def worker_kill(self) -> Mapping[str, str]:
        return {KILL: self._trap(WORKER_POINTS)}

    def worker_stop(self) -> Mapping[str, str]:
        return {STOP: self._trap(WORKER_POINTS)}

    def producer_kill(self) -> Mapping[str, str]:
        return {KILL: self._trap(PRODUCER_POINTS)}

    def _trap(self, points: Mapping[str, int]) -> str:
        names = sorted(points)
        hits = self._hits()
        weights = [1 / (1 + hits[name]) ** 2 for name in names]
        point = self.chance.choices(names, weights)[0]
        return f"{point}:{self.chance.randint(1, points[point])}"

    def clock(self) -> Mapping[str, str]:
        """A clock that is right, or an hour ahead or behind."""
        return {clock.VARIABLE: self.chance.choice(("0", "3600", "-3600"))}

    def kill_the_old(self, fleet: Fleet, youngest: float, oldest: float) -> None:
        """Kill each worker at an age (seconds) between these, wherever it is then."""
        for member in self._old(fleet, youngest, oldest):
            fleet.send(member, signal.SIGKILL)

    def kill_one(self, fleet: Fleet, pids: Collection[int]) -> bool:
        """One of these; False if there is none."""
        members = [member for member in fleet.members.values() if member.pid in pids]
        if members:
            fleet.send(self.chance.choice(members), signal.SIGKILL)
        return bool(members)

    def end_the_old(self, fleet: Fleet, youngest: float, oldest: float) -> None:
        """The same by SIGTERM."""
        for member in self._old(fleet, youngest, oldest):
            if signal.SIGTERM not in member.signals:
                fleet.send(member, signal.SIGTERM)

    def stop_the_old(self, fleet: Fleet, youngest: float, oldest: float) -> None:
        """Stop them, unless a fail point has; those that have been woken are replaced after three seconds."""
        for member in self._old(fleet, youngest, oldest):
            if member.woken_at is None:
                if member.stopped_at is None:
                    fleet.send(member, signal.SIGSTOP)
            elif time.monotonic() > member.woken_at + 3 and signal.SIGTERM not in member.signals:
                fleet.send(member, signal.SIGTERM)

    def wake_zombies(self, fleet: Fleet, shortest: float, longest: float) -> int:
        """Wake those that have been stopped for so long (seconds); returns how many."""
        woken = 0
        for member in fleet.stopped():
            limit = self._sleep.setdefault(member.pid, self.chance.uniform(shortest, longest))
            if member.stopped_at is not None and time.monotonic() - member.stopped_at > limit:
                fleet.wake(member)
                woken += 1
        return woken

    def _old(self, fleet: Fleet, youngest: float, oldest: float) -> list[Member]:
        """Each worker has an age of its own at which it counts as old."""
        limits = {
            pid: self._patience.setdefault(pid, self.chance.uniform(youngest, oldest)) for pid in list(fleet.members)
        }
        return [member for member in fleet.members.values() if member.age > limits[member.pid]]
