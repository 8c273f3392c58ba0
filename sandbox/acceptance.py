"""Acceptance log: one line of JSON per accepted request, in the file before the answer goes out.

Each line is one `write` to a file opened for appending, so it outlives a SIGKILL of anything, the sandbox included
(not a power cut). It is the truth for tests of loss and duplicates: `read(path)`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from postroom.errors import ConfigurationError


class Acceptance(msgspec.Struct, frozen=True):
    """One accepted request. `time` is in seconds since 1970; `attempt` is the request's `X-Postroom-Attempt`."""

    time: float
    receipt: str
    postroom_ids: list[str]
    attempt: int | None
    recipients: list[str]
    subject: str | None


class AcceptanceLog:
    """The log, opened for appending. Raises `ConfigurationError` when the file cannot be opened."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigurationError(f"the acceptance log {path} cannot be written: {error.strerror}") from None

    def write(self, acceptance: Acceptance) -> None:
        """Append one line. Raises `OSError` when it could not be written whole."""
        line = msgspec.json.encode(acceptance) + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"the acceptance log took {written} of {len(line)} bytes")

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> Iterator[Acceptance]:
    """The accepted requests in a log, oldest first."""
    with path.open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Acceptance)
