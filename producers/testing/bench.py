"""Bench: where a test session's Redis and sandbox are, known before either is started."""

import os
import re
import socket
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"
VARIABLES = ("POSTROOM_REDIS_URL", "POSTROOM_SENDGRID_URL")

#: Databases of the user's own Redis: each process of pytest-xdist gets one, from the given one on.
_WORKER = re.compile(r"gw(\d+)")

_environ = os.environ  # noqa: TID251  # the plugin sets it, for clients that are made when a test's module is imported


class Port:
    """A port that nobody else gets. Until it is freed, for a server, whoever connects to it is refused at once."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        # So that a server can take it even if a child of this process still holds the socket, too.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, 0))
        self.number: int = self._socket.getsockname()[1]

    def free(self) -> None:
        self._socket.close()


class Address(NamedTuple):
    """A Redis, however its URL is spelt."""

    host: str
    port: int
    database: int

    @classmethod
    def of(cls, url: str) -> "Address":
        parts = urlsplit(url)
        host = parts.hostname or ""
        return cls(HOST if host == "localhost" else host, parts.port or 6379, int(parts.path.strip("/") or 0))


class Bench:
    """The addresses, and the environment that leads to them. `own_redis_url` is the user's own test Redis, if any."""

    def __init__(self, own_redis_url: str) -> None:
        self.redis_port = Port()
        self.sandbox_port = Port()
        self.has_own_redis = bool(own_redis_url)
        self.redis_url = _of_this_process(own_redis_url) or f"redis://{HOST}:{self.redis_port.number}/0"
        self.sandbox_url = f"http://{HOST}:{self.sandbox_port.number}"
        self._former = {name: _environ.get(name) for name in VARIABLES}

    def set_environment(self) -> None:
        _environ.update(zip(VARIABLES, (self.redis_url, self.sandbox_url), strict=True))

    def restore_environment(self) -> None:
        for name, value in self._former.items():
            if value is None:
                _environ.pop(name, None)
            else:
                _environ[name] = value

    def is_named_by_the_environment(self) -> bool:
        return _environ.get("POSTROOM_REDIS_URL") == self.redis_url

    def is_at(self, redis_url: str) -> bool:
        """Whether this URL is that of the session's Redis."""
        return Address.of(redis_url) == Address.of(self.redis_url)

    def close(self) -> None:
        self.restore_environment()
        self.redis_port.free()
        self.sandbox_port.free()


def _of_this_process(url: str) -> str:
    found = _WORKER.fullmatch(_environ.get("PYTEST_XDIST_WORKER", ""))
    if not (url and found):
        return url
    return urlunsplit(urlsplit(url)._replace(path=f"/{Address.of(url).database + int(found[1])}"))
