"""Workers: the processes of a gateway, which share one port. One that dies is started again."""

import os
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

#: Between two looks at the processes, and before one that died is started again, seconds.
LOOK = 0.1
PAUSE = 1.0


class Workers:
    """So many processes that do `work`, forked from this one, which only watches. `work` returns at SIGTERM."""

    def __init__(self, count: int, work: Callable[[], None]) -> None:
        self._count = count
        self._work = work
        self._pids: set[int] = set()
        self._is_stopping = False

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C, and the end of all of them."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while self._pids or not self._is_stopping:
            while len(self._pids) < self._count and not self._is_stopping:
                self._start()
            time.sleep(LOOK)
            self._reap()

    def _start(self) -> None:
        if pid := os.fork():
            self._pids.add(pid)
            if self._is_stopping:
                self._tell(pid)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        code = 1
        try:
            self._work()
            code = 0
        except Exception:  # noqa: BLE001  # this process ends here, and says why
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        for pid in list(self._pids):
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._pids.discard(pid)
                if not self._is_stopping:
                    time.sleep(PAUSE)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True
        for pid in self._pids:
            self._tell(pid)

    def _tell(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
