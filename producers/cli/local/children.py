"""Children: programs that a command starts. Each is in a process group of its own, so Ctrl-C ends only the command."""

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from producers.cli.failure import CommandFailed
from producers.cli.interruption import Interruption

#: Where `worker` and `sandbox` are: site-packages, or the top of the repository.
HOME = Path(__file__).parents[3]

#: A real key or address must not get into a stack that is for trying things out.
NOT_INHERITED = ("SENDGRID_", "CELERY_", "FLOWER_", "POSTROOM_SENDGRID_", "POSTROOM_REDIS_")

#: Between two looks at a child that is starting, seconds.
LOOK = 0.05


def child_environment() -> dict[str, str]:
    """The environment of this process, so that a child finds Postroom's packages wherever they are."""
    environment = dict(os.environ)  # noqa: TID251  # handed on, not read
    if str(HOME) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{HOME}{os.pathsep}{path}" if path else str(HOME)
    return environment


def stack_environment(settings: Mapping[str, str], *, keep: bool) -> dict[str, str]:
    """The same with these settings in place of its own. `keep` the other settings that it has, such as the window."""
    strangers = NOT_INHERITED if keep else (*NOT_INHERITED, "POSTROOM_")
    kept = {name: value for name, value in child_environment().items() if not name.startswith(strangers)}
    return {**kept, **settings, "PYTHONUNBUFFERED": "1"}


def python(*words: str) -> list[str]:
    """A command of this Python; what lies in the working directory is not imported."""
    return [sys.executable, "-P", *words]


class Child:
    """A running program. All that it prints goes to `log`."""

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], directory: Path
    ) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  # the command is this package's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def check(self) -> None:
        """Raise `CommandFailed`, with the end of its log, if it has ended."""
        if (code := self._process.poll()) is None:
            return
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        last = "\n".join(self.log().splitlines()[-15:])
        raise CommandFailed(
            "child_ended",
            f"The {self.name} has ended ({how}).",
            advice=f"The last lines of its log:\n{last}",
            child=self.name,
        )

    def wait_until(self, is_ready: Callable[[], bool], seconds: float, interruption: Interruption) -> None:
        """Raises `CommandFailed` if it ends, or is not ready in time; `Interrupted`."""
        give_up = time.monotonic() + seconds
        while not is_ready():
            self.check()
            if time.monotonic() > give_up:
                raise CommandFailed("not_ready", f"The {self.name} is not ready after {seconds:g} s.", child=self.name)
            interruption.pause(LOOK)

    def ask_to_end(self) -> None:
        """SIGTERM, to all of its process group."""
        self._signal(signal.SIGTERM)

    def end(self, patience: float) -> None:
        """Return when it has ended: by itself within `patience` seconds, or killed then."""
        self.ask_to_end()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            # It may have ended just now; macOS calls that a lack of permission.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
