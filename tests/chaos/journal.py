"""Journal: a file of lines that outlives the death of whoever writes them."""

import os
from collections.abc import Iterator
from pathlib import Path


class Journal:
    """Each line is one `write` to a file opened for appending, so that many processes may share it."""

    def __init__(self, path: str | Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, line: str) -> None:
        os.write(self._file, line.encode() + b"\n")


class Reader:
    """Reads the whole lines that have come since it read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> Iterator[str]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield line.decode().rstrip("\n")
