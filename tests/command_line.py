"""Command line: runs `postroom …` as a user does, with its output into pipes or onto a terminal."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from producers.cli import main
from tests.servers import ROOT, clean_environment

POSTROOM = [sys.executable, "-m", "producers.cli"]


class Ran(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def environment_of(variables: Mapping[str, str]) -> dict[str, str]:
    return clean_environment() | {"PYTHONPATH": str(ROOT)} | dict(variables)


def postroom(*words: str | Path, stdin: str = "", **environment: str) -> Ran:
    """Run a command to its end, in this process, for that is quicker."""
    out, err = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode())))
        code = main([*map(str, words)])
    return Ran(code, _text(out), _text(err))


def _text(written: TextIOWrapper) -> str:
    written.seek(0)
    return written.read()


def spawned(*words: str | Path, directory: Path = ROOT, timeout: float = 60, **environment: str) -> Ran:
    """Run a command to its end, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-P", *POSTROOM[1:], *map(str, words)],
        env=environment_of(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ran(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def started(*words: str | Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command that is running, with pipes; killed at the end if it still runs."""
    with subprocess.Popen(
        [*POSTROOM, *map(str, words)],
        env=environment_of(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A command on a terminal of 120 columns. `screen` is all that it wrote, escape sequences included."""

    def __init__(self, words: tuple[str | Path, ...], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            [*POSTROOM, *map(str, words)],
            env={**environment_of(environment), "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # it starts no thread
        )
        os.close(slave)
        self.screen = ""

    def expect(self, text: str, timeout: float = 30) -> None:
        """Return when `text` stands on the screen."""
        deadline = time.monotonic() + timeout
        while text not in self.screen:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not come up: {self.screen}")

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def wait(self, timeout: float = 60) -> int:
        """Read to the end, and return the exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            read = os.read(self._master, 65_536) if ready else b""
        except OSError:  # Linux' way to say that nobody writes to the terminal any more
            read = b""
        self.screen += read.decode(errors="replace")
        return bool(read)

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._master)


@contextmanager
def terminal(*words: str | Path, **environment: str) -> Iterator[Terminal]:
    """Run a command on a terminal."""
    shown = Terminal(words, environment)
    try:
        yield shown
    finally:
        shown.close()
