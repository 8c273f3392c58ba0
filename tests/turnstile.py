"""Turnstile: lets a test of one process run while no other process runs any."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Turnstile:
    """Files in a directory, by which processes wait for each other.

    Who wants to be alone shuts the gate, so that nobody else begins, and waits until all others have ended.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._locked("gate", fcntl.LOCK_EX), self._locked("tests", fcntl.LOCK_EX):
            yield

    @contextmanager
    def among_others(self) -> Iterator[None]:
        with self._locked("gate", fcntl.LOCK_EX) as gate:
            tests = self._file("tests")
            fcntl.flock(tests, fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
        with tests:
            yield

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[IO[bytes]]:
        with self._file(name) as file:
            fcntl.flock(file, how)
            yield file

    def _file(self, name: str) -> IO[bytes]:
        return (self._directory / name).open("ab")  # its lock ends when it is closed
