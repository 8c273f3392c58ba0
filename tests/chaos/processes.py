"""Processes: the children of a zygote, as the supervisor sees them: started, signalled, and found dead."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.servers import ROOT, clean_environment


class Ended(NamedTuple):
    """A child that has ended. `status` is its exit code, or a signal as a negative number."""

    pid: int
    status: int


class Processes:
    """A zygote and what it has forked; all of it is gone after `close()`."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._ended: deque[Ended] = deque()
        self._rest = b""
        with (directory / "zygote.log").open("ab") as log:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.zygote"],
                cwd=ROOT,
                env=clean_environment() | {"PYTHONPATH": str(ROOT)} | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self.running: set[int] = set()
        self._answer("ready", timeout=60)

    def start(self, role: str, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Fork a worker or a producer, and return its pid. What it prints goes to a log of this name."""
        wanted = {
            "role": role,
            "arguments": list(arguments),
            "environment": dict(environment),
            "log": str(self._directory / f"{name}.log"),
        }
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(json.dumps(wanted).encode() + b"\n")
        self._zygote.stdin.flush()
        pid = self._answer("started", timeout=10)
        self.running.add(pid)
        return pid

    def signal(self, pid: int, number: int) -> None:
        """Nothing happens to one that has ended."""
        if pid in self.running:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def ended(self) -> Iterator[Ended]:
        """Those that have ended since the last call."""
        self._read(0.0)
        while self._ended:
            yield self._ended.popleft()

    def close(self) -> None:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        with suppress(BrokenPipeError):
            self._zygote.stdin.close()
        try:
            self._zygote.wait(10)
        finally:
            if self._zygote.poll() is None:
                self._zygote.send_signal(signal.SIGKILL)
                self._zygote.wait()
            self._zygote.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, word: str, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for message in self._read(0.1):
                if word in message:
                    return int(message[word])
        raise AssertionError(f"the zygote is not {word}: {(self._directory / 'zygote.log').read_text()}")

    def _read(self, timeout: float) -> list[dict[str, Any]]:
        """What the zygote says; the ends of children are put aside."""
        assert self._zygote.stdout is not None
        pipe = self._zygote.stdout.fileno()
        messages = []
        while select.select([pipe], [], [], 0.0 if messages else timeout)[0]:
            part = os.read(pipe, 65536)
            if not part:
                raise AssertionError(f"the zygote has ended: {(self._directory / 'zygote.log').read_text()}")
            *lines, self._rest = (self._rest + part).split(b"\n")
            for message in map(json.loads, lines):
                if "ended" in message:
                    self.running.discard(message["ended"])
                    self._ended.append(Ended(message["ended"], message["status"]))
                messages.append(message)
        return messages
