"""Input: opens the file that a user names; `-` is standard input."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from producers.cli.failure import bad_input

STDIN = "-"


def called(name: str) -> str:
    """The file's name, for messages."""
    return "standard input" if name == STDIN else name


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The file's bytes. Raises `CommandFailed` when it cannot be opened."""
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115  # closed below, after errors of opening alone were handled
    except OSError as error:
        raise bad_input(f"{name} can't be read: {error.strerror}.") from None
    with file:
        yield file


def whole(name: str) -> bytes:
    """All of the file, without a byte order mark. Raises `CommandFailed`."""
    with opened(name) as file:
        try:
            return file.read().removeprefix(b"\xef\xbb\xbf")
        except OSError as error:
            raise bad_input(f"{name} can't be read: {error.strerror}.") from None
