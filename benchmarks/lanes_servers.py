"""Servers: what takes part when lanes are measured: Redis, a sink, one worker for both lanes or one for each."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.scale_producer import store
from postroom.settings import Settings
from producers import Postroom
from tests.servers import Program, RedisServer, Worker, eventually, running

#: The options of each worker.
QUEUES: dict[str, list[list[str]]] = {"one worker": [[]], "one a lane": [["-Q", "transactional"], ["-Q", "bulk"]]}


class Sink(Program):
    """A SendGrid that accepts all, after `latency` seconds."""

    def __init__(self, directory: Path, latency: float) -> None:
        self.log_path = directory / "arrivals.log"
        options = ["--log", str(self.log_path), "--latency", str(latency)]
        super().__init__("sink", [sys.executable, "-m", "benchmarks.lanes_sink", *options], directory / "sink.log")

    def is_ready(self) -> bool:
        return "port" in self.log_since_start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.log_since_start().split()[1]}"

    def total(self) -> int:
        return int(httpx.get(self.url, trust_env=False).text)

    def arrivals(self) -> dict[str, float]:
        """When each single arrived. Raises `AssertionError` if one did twice."""
        lines = [line.split() for line in self.log_path.read_text().splitlines()]
        arrived = {id: float(at) for id, at in lines}
        assert len(arrived) == len(lines), "a mail has arrived twice"
        return arrived


class Servers(NamedTuple):
    environment: dict[str, str]
    sink: Sink
    postroom: Postroom

    def store_campaign(self, mails: int) -> str:
        """Enqueue a batch, which workers begin to send when it is stored; returns its id."""
        return store(mails, self.environment).id

    def total_at(self, total: float) -> float:
        """When the sink has got so many mails (monotonic seconds)."""
        eventually(lambda: self.sink.total() >= total, timeout=300)
        return time.monotonic()


@contextmanager
def running_servers(latency: float, workers: str, bulk_rate: float | None = None) -> Iterator[Servers]:
    """`latency` is the sink's, `workers` one of `QUEUES`, `bulk_rate` the most mails a second of the lane `bulk`."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(running(RedisServer(directory)))
        sink = stack.enter_context(running(Sink(directory, latency)))
        environment = {"POSTROOM_REDIS_URL": redis.url, "POSTROOM_SENDGRID_URL": sink.url}
        if bulk_rate:
            environment["POSTROOM_RATE_BULK"] = f"{bulk_rate:.0f}/s"
        for number, queues in enumerate(QUEUES[workers]):
            stack.enter_context(running(Worker(f"worker{number}", directory, queues, environment)))
        yield Servers(environment, sink, stack.enter_context(Postroom(Settings.from_environment(environment))))
