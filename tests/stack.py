"""Stack: a Redis, a local SendGrid, a worker, and a producer for them; what tests of a whole module share."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx

from postroom.call import Call
from postroom.connection import Connection
from postroom.ids import chunk_id, mail_id
from postroom.ledger import Ledger
from postroom.settings import Settings
from producers import Postroom
from tests.servers import RedisServer, SandboxServer, Worker, running

T = TypeVar("T")


class Stack(NamedTuple):
    redis: RedisServer
    sandbox: SandboxServer
    worker: Worker
    postroom: Postroom
    settings: Settings

    def ask(self, call: Call[T]) -> T:
        """Run a call of the ledger."""
        return ask(self.redis.url, call)

    def batch_ids(self, batch: str) -> list[str]:
        """The ids of a batch's mails, by row."""
        return batch_ids(self.redis.url, batch)

    def sandbox_stats(self) -> Any:
        return sandbox_stats(self.sandbox)

    def copies(self) -> Counter[str]:
        """How many copies of each mail SendGrid has accepted."""
        return copies(self.sandbox)


def ask(redis_url: str, call: Call[T]) -> T:
    connection = Connection(redis_url, timeout=5)
    try:
        return connection.run(call)
    finally:
        connection.close()


def ledger() -> Ledger:
    return Ledger(Settings())


def batch_ids(redis_url: str, batch: str) -> list[str]:
    first_rows = ask(redis_url, ledger().first_rows(batch, 0, 10_000))
    chunks = [chunk_id(batch, row) for row in first_rows]
    sizes = [len(ask(redis_url, ledger().states(chunk)) or "") for chunk in chunks]
    return [mail_id(chunk, place) for chunk, size in zip(chunks, sizes, strict=True) for place in range(size)]


def copies(sandbox: SandboxServer) -> Counter[str]:
    return Counter(id for accepted in sandbox.accepted() for id in accepted["postroom_ids"])


def sandbox_stats(sandbox: SandboxServer) -> Any:
    return httpx.get(f"{sandbox.url}/api/stats", trust_env=False, verify=False).raise_for_status().json()


@contextmanager
def running_stack(directory: Path, *arguments: str, **environment: str) -> Iterator[Stack]:
    """Start it; the arguments are those of `celery worker`, the names variables of its environment."""
    with running(RedisServer(directory)) as redis, running(SandboxServer(directory)) as sandbox:
        environment = {"POSTROOM_REDIS_URL": redis.url, "POSTROOM_SENDGRID_URL": sandbox.url, **environment}
        settings = Settings.from_environment(environment)
        worker = Worker("worker", directory, arguments, environment)
        with running(worker), Postroom(settings) as postroom:
            yield Stack(redis, sandbox, worker, postroom, settings)
