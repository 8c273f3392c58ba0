"""Gateway: the real one, as `postroom gateway` runs it, and keys for it."""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroom.settings import Settings
from producers.gateway.key_store import KeyStore
from producers.gateway.keys import new_key
from tests.servers import Program, RedisServer, SandboxServer, Worker, eventually, running

#: What a refusal may take (seconds) when Redis is away: 1, and half of that for a busy machine.
SOON = 1.5


class Gateway(Program):
    def __init__(self, directory: Path, redis_url: str, *words: str, **environment: str) -> None:
        self.redis_url = redis_url
        command = [sys.executable, "-W", "error", "-m", "producers.cli", "gateway", "--port", "0", *words]
        environment = {"POSTROOM_REDIS_URL": redis_url, **environment}
        super().__init__("gateway", command, directory / "gateway.log", environment)

    def is_ready(self) -> bool:
        return self._listening() is not None

    def _listening(self) -> re.Match[str] | None:
        return re.search(r"gateway listening on (http://\S+)\n", self.log_since_start())

    @property
    def url(self) -> str:
        listening = self._listening()
        assert listening, f"the gateway does not listen:\n{self.log_tail()}"
        return listening[1]

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0

    def journal(self) -> list[dict[str, Any]]:
        """What it has written of requests, in order."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def token(self, name: str = "shop", **options: Any) -> str:
        return token(self.redis_url, name, **options)

    def client(self, token: str | None = None, **options: Any) -> httpx.Client:
        """An HTTP client for it, with a token; "" for none."""
        token = self.token() if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, verify=False, timeout=30, **options)


def token(redis_url: str, name: str = "shop", **options: Any) -> str:
    """Make a key, which may send from example.com unless told otherwise, and return its token."""
    key, token = new_key(name, **{"from_domains": ["example.com"], "now": time.time(), **options})
    with KeyStore(Settings(redis_url=redis_url)) as store:
        store.add(key)
    return token


def memory_bytes(pid: int, what: str = "VmRSS") -> int:
    """What Linux says of a process' memory; `VmHWM` is the most there ever was."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("only Linux tells how much memory another process has")
    return 1024 * int(status.read_text().split(f"{what}:")[1].split()[0])


class House:
    """A Redis, a local SendGrid, a worker, and a gateway with a key."""

    def __init__(self, redis: RedisServer, sandbox: SandboxServer, gateway: Gateway) -> None:
        self.redis = redis
        self.sandbox = sandbox
        self.gateway = gateway
        self.token = gateway.token()

    def accepted(self, id: str) -> dict[str, Any]:
        """The body that SendGrid has accepted of this mail, once it has."""
        receipt = eventually(lambda: self._receipts().get(id), describe=f"mail {id} is accepted")
        found = httpx.get(f"{self.sandbox.url}/api/mails/{receipt}", trust_env=False, verify=False)
        body: dict[str, Any] = found.raise_for_status().json()["body"]
        return body

    def _receipts(self) -> dict[str, str]:
        return {id: accepted["receipt"] for accepted in self.sandbox.accepted() for id in accepted["postroom_ids"]}


@contextmanager
def house(directory: Path) -> Iterator[House]:
    with running(RedisServer(directory)) as redis, running(SandboxServer(directory)) as sandbox:
        environment = {"POSTROOM_REDIS_URL": redis.url, "POSTROOM_SENDGRID_URL": sandbox.url}
        with (
            running(Worker("worker", directory, [], environment)),
            running(Gateway(directory, redis.url)) as gateway,
        ):
            yield House(redis, sandbox, gateway)
