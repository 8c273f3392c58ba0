"""Interruption: Ctrl-C and its like as a question, asked where stopping is safe."""

import signal
import time
from types import FrameType
from typing import Any, Self

#: SIGTERM comes from a supervisor, SIGHUP from a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: How long (seconds) an interruption may go unnoticed in a pause.
NAP = 0.05


class Interrupted(Exception):
    """Somebody wants this command to end. `code` is the exit code for it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class Interruption:
    """While this context lasts, a signal is only noted; `check()` and `pause()` raise `Interrupted` for it.

    A second one ends the command at once if it is `abrupt`, else it changes nothing. Signals that were ignored before
    (`nohup`) stay ignored.
    """

    def __init__(self, *, abrupt: bool) -> None:
        self._abrupt = abrupt
        self._number: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            if (former := signal.getsignal(number)) != signal.SIG_IGN:
                self._former[number] = former
                signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._abrupt and self._number is not None:
            raise KeyboardInterrupt
        self._number = self._number or number

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self._number is not None:
            raise Interrupted(self._number)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises `Interrupted`."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(NAP, left))
        self.check()
