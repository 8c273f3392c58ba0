"""Journal: one line of JSON for each thing that happened at the gateway. Ids only: no address, no token, no path."""

import sys
import time
from typing import Any, TextIO

import msgspec


class Journal:
    """Writes to standard error, unless told otherwise."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def write(self, event: str, **what: Any) -> None:
        """What is None is left out."""
        line = {"time": round(time.time(), 3), "event": event}
        line.update((name, value) for name, value in what.items() if value is not None)
        self._stream.write(msgspec.json.encode(line).decode() + "\n")
        self._stream.flush()
