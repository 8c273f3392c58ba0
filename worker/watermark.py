"""Watermark: how far this process has seen the ledger's step counter. A ledger that is behind it has lost something."""

import threading


class Watermark:
    """The highest step so far. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.step = 0

    def rise(self, step: int | None) -> None:
        """Take note of a step that the ledger has told."""
        if step is not None:
            with self._lock:
                self.step = max(self.step, step)


#: The one of this process, shared by its tasks and its caretaker.
watermark = Watermark()
