"""Fleet: workers that are started armed, killed, stopped, deployed anew, and started again when they have died."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.chaos import diary, failpoints
from tests.chaos.clock import true_time
from tests.chaos.journal import Reader
from tests.chaos.processes import Processes

#: What a worker is armed with, by its variables.
Arming = Callable[[], Mapping[str, str]]


def unarmed() -> Mapping[str, str]:
    return {}


class Death(NamedTuple):
    """A worker that died by SIGKILL. `point` is where, or "random"."""

    time: float
    pid: int
    point: str


class Member:
    """A worker process."""

    def __init__(self, number: int, pid: int, arms: Mapping[str, str]) -> None:
        self.number = number
        self.pid = pid
        self.arms = arms
        self.started = time.monotonic()
        #: Sent by the supervisor: its end is no surprise.
        self.signals: set[int] = set()
        #: Since when it is stopped, and when it was woken last (monotonic seconds).
        self.stopped_at: float | None = None
        self.woken_at: float | None = None

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self.started


class Hits:
    """The confirmed hits of fail points: what the processes wrote before they struck."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader = Reader(path)
        self.counts: Counter[str] = Counter()
        self.of_pid: dict[int, tuple[float, str]] = {}

    def read(self) -> None:
        for line in self._reader.lines():
            moment, point, pid = line.split(" ")
            self.counts[point] += 1
            self.of_pid[int(pid)] = (float(moment), point)


class Fleet:
    """`size` workers. `arming` is asked for each one that is started."""

    def __init__(self, processes: Processes, directory: Path, size: int, hits: Hits) -> None:
        self._processes = processes
        self._directory = directory
        self._size = size
        self._numbers = 0
        self.hits = hits
        self.diary_path = directory / "diary"
        self.arming: Arming = unarmed
        #: The same for those that nothing is to be done to any more.
        self.calm: Arming = unarmed
        self.members: dict[int, Member] = {}
        self.deaths: list[Death] = []
        #: What should not have happened, each in a sentence.
        self.surprises: list[str] = []
        self.started = 0
        self.ended_well = 0
        self.on_death: Callable[[Death], None] = lambda _: None

    @property
    def concurrency(self) -> int:
        """Workers at a time."""
        return self._size

    def tick(self) -> None:
        """Start workers in the places of the dead."""
        while len(self.members) < self._size:
            self.start()

    def start(self) -> Member:
        arms = self.arming()
        self._numbers += 1
        number = self._numbers
        environment = {diary.VARIABLE: str(self.diary_path), failpoints.HITS: str(self.hits.path), **arms}
        arguments = ("--loglevel", "WARNING", "--hostname", f"victim{number}@%h")
        pid = self._processes.start("worker", f"worker{number % self._size}", arguments, environment)
        member = Member(number, pid, arms)
        self.members[pid] = member
        self.started += 1
        return member

    def ended(self, pid: int, status: int) -> None:
        """To be told of the end of a process."""
        member = self.members.pop(pid)
        moment, point = self.hits.of_pid.get(pid, (true_time(), "random"))
        if status == -signal.SIGKILL:
            self.deaths.append(Death(moment, pid, point))
            self.on_death(self.deaths[-1])
        elif status == 0 and signal.SIGTERM in member.signals:
            self.ended_well += 1
        else:
            self.surprises.append(f"worker {pid} (log worker{member.number % self._size}) ended with {status}")

    def send(self, member: Member, number: int) -> None:
        member.signals.add(number)
        self._processes.signal(member.pid, number)

    def stopped(self) -> list[Member]:
        """Those that have stopped themselves, or were stopped."""
        found = [member for member in self.members.values() if _is_stopped(member.pid)]
        for member in found:
            member.stopped_at = member.stopped_at or time.monotonic()
        return found

    def wake(self, member: Member) -> None:
        member.stopped_at, member.woken_at = None, time.monotonic()
        self.send(member, signal.SIGCONT)

    def disarm(self) -> None:
        """Nothing happens to anybody any more; those who are still armed or stopped are killed and replaced."""
        self.arming = self.calm
        for member in self.members.values():
            if not {failpoints.KILL, failpoints.STOP}.isdisjoint(member.arms) or _is_stopped(member.pid):
                self.send(member, signal.SIGKILL)


def _is_stopped(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] == "T"
