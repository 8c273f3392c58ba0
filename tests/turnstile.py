"""Turnstile: lets a test of one process run while no other process runs any."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Turnstile:
    """Files by which the processes of one run wait for each other; `run` names it.

    Who wants to be alone shuts the gate, so that nobody else begins, and waits until all others have ended.
    """

    def __init__(self, run: str) -> None:
        self._path = Path(tempfile.gettempdir()) / f"postroom-tests-{run}"

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
        return Path(f"{self._path}-{name}").open("ab")  # its lock ends when it is closed
