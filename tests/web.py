"""Web: apps on web servers, and clients that listen to their server-sent events."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.servers import ROOT, Program, RedisServer, eventually, free_port

EXAMPLES = ROOT / "examples"
#: An answer without Redis comes within a second (seconds); this allows for a busy machine.
SOON = 1.5
#: What is answered while it is away.
AWAY = {
    "error": "queue_unavailable",
    "detail": "The mail queue does not answer right now. Please try again.",
    "may_be_enqueued": False,
}
PYTHON = [sys.executable, "-W", "error", "-m"]
#: How the frameworks' servers are started; `{port}` is where they listen, `{app}` is like `module:app`.
SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}", "{app}"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", "{app}"],
    "flask": ["flask", "--app", "{app}", "run", "--port", "{port}"],
    "gunicorn": ["gunicorn", "--bind", "127.0.0.1:{port}", "{app}"],
}


class Event(NamedTuple):
    """One event of a stream; a comment, which is a sign of life, has no name."""

    name: str
    data: Any
    id: str | None = None


class WebApp(Program):
    """An app on a server that warns of nothing. `path` is where it answers, with whatever status, once it is ready."""

    def __init__(
        self, server: str, app: str, directory: Path, *words: str, path: str = "/", **environment: str
    ) -> None:
        port = free_port()
        app = app if ":" in app else f"{app}:app"
        self.url = f"http://127.0.0.1:{port}"
        self.path = path
        command = [word.format(port=port, app=app) for word in [*SERVERS[server], *words]]
        environment = {"PYTHONPATH": f"{ROOT}:{EXAMPLES}", **environment}
        super().__init__(f"{app} on {server}", [*PYTHON, *command], directory / f"{server}.log", environment)

    def is_ready(self) -> bool:
        try:
            return self.get(self.path).status_code > 0
        except httpx.TransportError:
            return False

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, trust_env=False, verify=False, timeout=30)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return httpx.post(self.url + path, **content, trust_env=False, verify=False, timeout=30)

    @contextmanager
    def listening(self, path: str) -> Iterator[Iterator[Event]]:
        """The events of a stream as they come; the client leaves at the end of the block."""
        with httpx.stream("GET", self.url + path, trust_env=False, verify=False, timeout=30) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            yield events_of(response.iter_lines())

    def listen(self, path: str) -> list[Event]:
        """All events of a stream, up to its end."""
        with self.listening(path) as events:
            return list(events)


class Listener(threading.Thread):
    """Somebody who listens in the background, to the end of one stream."""

    def __init__(self, app: WebApp, path: str) -> None:
        super().__init__(daemon=True)
        self._app = app
        self._path = path
        self.events: list[Event] = []
        self.start()

    def run(self) -> None:
        with self._app.listening(self._path) as events:
            for event in events:
                self.events.append(event)

    @property
    def names(self) -> list[str]:
        """What has happened so far; a name that comes several times in a row stands once."""
        heard = [event.name for event in self.events if event.name]
        return [name for place, name in enumerate(heard) if heard[place - 1 : place] != [name]]

    def hears(self, name: str) -> Event:
        """Wait for an event."""
        return eventually(
            lambda: next((event for event in self.events if event.name == name), None),
            timeout=30,
            describe=lambda: f"{name}, after {self.names}",
        )


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            if "event" in fields:
                yield Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
            elif "" in fields:
                yield Event("", None)
            fields = {}


def looks(redis: RedisServer) -> int:
    """How often Redis has been asked how far a batch is."""
    client = redis.client(decode_responses=True)
    try:
        return int(client.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0))
    finally:
        client.close()


def nobody_looks(redis: RedisServer) -> bool:
    """Whether a second goes by in which Redis is not asked how far a batch is."""
    before = looks(redis)
    time.sleep(1)
    return looks(redis) == before


def connections(redis: RedisServer) -> int:
    """How many connections Redis has, besides the one that asks."""
    client = redis.client(decode_responses=True)
    try:
        return int(client.info("clients")["connected_clients"]) - 1
    finally:
        client.close()
