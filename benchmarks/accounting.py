"""Accounting: what a process and all that it has started have cost, as the kernel counts it (Linux)."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

#: The kernel tells times of processes in these (per second).
TICKS = os.sysconf("SC_CLK_TCK")
#: Between two looks at the memory (seconds). A look costs the kernel about a millisecond per process.
LOOK_INTERVAL = 0.25


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int
    #: User and system time of all its threads, ended ones included, and of its children that have ended.
    ticks: int


def cpu_seconds(pid: int) -> float:
    """Processor time so far of a process and its descendants. Those whose parent has not waited for them are lost."""
    return sum(process.ticks for process in _tree(pid)) / TICKS


def memory_bytes(pid: int) -> int:
    """Memory of a process and its descendants; what several of them share counts once (the sum of their PSS)."""
    return sum(map(_pss, tree(pid)))


class PeakMemory:
    """The most memory that a process and its descendants have had, looked at every quarter of a second."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, memory_bytes(self._pid))
            if self._over.wait(LOOK_INTERVAL):
                return


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    return [process.pid for process in _tree(pid)]


def _tree(pid: int) -> list[_Process]:
    """A process, its descendants, and whoever else is in the session that it leads."""
    processes = {process.pid: process for process in _all()}

    def belongs(process: _Process | None) -> bool:
        if process is None:
            return False
        return pid in (process.pid, process.session) or belongs(processes.get(process.parent))

    return [process for process in processes.values() if belongs(process)]


def _all() -> Iterator[_Process]:
    """See proc(5); the fields after the name, which may have spaces in it."""
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and (stat := _read(directory / "stat")):
            fields = stat.rsplit(")", 1)[1].split()
            yield _Process(int(directory.name), int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])))


def _pss(pid: int) -> int:
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _read(path: Path) -> str:
    """Empty for a process that has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
