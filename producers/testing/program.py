"""Program: a server that the fixtures start. It ends with the test session, even one that is killed."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: Where `worker` and `sandbox` are: site-packages, or the top of the repository.
HOME = Path(__file__).parents[2]

#: What a user has set for the program under test must not reach these servers: a key, an address.
NOT_INHERITED = ("POSTROOM_", "SENDGRID_", "CELERY_", "FLOWER_")

#: Runs a command, and ends its process group when the pipe at standard input is closed, by the death of pytest.
LEASH = 'exec 3<&0 </dev/null; { read -r _ <&3; kill -KILL 0; } & exec 3<&-; exec "$@"'

#: Seconds: for a start, and between two looks at a server that is starting.
START, LOOK = 30.0, 0.02

#: Of a log, so many are shown.
LINES = 15


class NotStarted(Exception):
    """A server has not come up. The text has the end of its log."""


def python(*words: str) -> list[str]:
    """A command of this Python; what lies in the working directory is not imported."""
    return [sys.executable, "-P", *words]


class Program:
    """A running server, in a process group of its own. All that it prints goes into a file."""

    def __init__(
        self, name: str, command: Sequence[str], directory: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        self._skipped = 0
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  # the command is this package's own
                ["/bin/sh", "-c", LEASH, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment() | dict(settings or {}),
                cwd=directory,
                start_new_session=True,
            )

    def log(self) -> str:
        """The last lines that it has printed, of those since `skip_log`."""
        new = self._log.read_bytes()[self._skipped :].decode(errors="replace")
        return "\n".join(new.splitlines()[-LINES:])

    def skip_log(self) -> None:
        self._skipped = self._log.stat().st_size

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Raises `NotStarted`."""
        give_up = time.monotonic() + START
        while not is_ready():
            if self._process.poll() is not None:
                raise NotStarted(f"the {self.name} has ended, code {self._process.returncode}:\n{self.log()}")
            if time.monotonic() > give_up:
                raise NotStarted(f"the {self.name} is not ready after {START:g} s:\n{self.log()}")
            time.sleep(LOOK)

    def end(self) -> None:
        """At once: nothing that it has is needed any more."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()


def _environment() -> dict[str, str]:
    inherited = dict(os.environ)  # noqa: TID251  # handed on, not read
    kept = {name: value for name, value in inherited.items() if not name.startswith(NOT_INHERITED)}
    if str(HOME) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        path = kept.get("PYTHONPATH")
        kept["PYTHONPATH"] = f"{HOME}{os.pathsep}{path}" if path else str(HOME)
    return kept | {"PYTHONUNBUFFERED": "1"}
