"""Arena: all that one round needs: a Valkey, a sandbox, a fleet, a producer; and the verdict of the oracle over it."""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from postroom.settings import Settings
from sandbox import acceptance
from tests.chaos import failpoints, oracle, producer, record
from tests.chaos.clock import true_time
from tests.chaos.diary import Diary
from tests.chaos.fleet import Arming, Fleet, Hits, unarmed
from tests.chaos.load import Mix
from tests.chaos.network import Network, network
from tests.chaos.processes import Processes
from tests.chaos.takeover import Takeovers
from tests.chaos.watch import Watch
from tests.servers import RedisServer, SandboxServer, free_port, running

#: Seconds from one sample of the watch to the next.
SAMPLE_EVERY = 0.25
#: Seconds of one step of a round.
STEP = 0.02

SETTINGS: Mapping[str, str] = {
    "SENDGRID_API_KEY": "SG.chaos",
    "POSTROOM_REQUEST_DEADLINE": "2",
    "POSTROOM_GRACE": "12",
    "POSTROOM_WINDOW": "8",
    "POSTROOM_THREADS": "4",
    "POSTROOM_BACKOFF_BASE": "0.5",
    "POSTROOM_BACKOFF_CAP": "5",
    "POSTROOM_CHUNK_MAILS": "20",
}


class FixedSandbox(SandboxServer):
    """A sandbox that keeps its port."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.command[self.command.index("--port") + 1] = str(free_port())


class Load(NamedTuple):
    """What the producer enqueues: at `rate` mails a second, up to `jobs` jobs."""

    seed: str
    mix: Mix = Mix()
    rate: float = 80.0
    jobs: int = 1_000_000


class Producing:
    """The producer process, started again whenever it has been killed, until it has ended by itself."""

    def __init__(self, processes: Processes, directory: Path, load: Load, hits: Hits) -> None:
        self._processes = processes
        self._load = load
        self._hits = hits
        self._pid: int | None = None
        self._arms: Mapping[str, str] = {}
        self.path = directory / "returned.jsonl"
        self.arming: Arming = unarmed
        self._is_ending = False
        self.is_over = False
        self.kills = 0
        self.surprises: list[str] = []

    def start(self) -> None:
        load = self._load
        arguments = ["--file", str(self.path), "--seed", load.seed, "--rate", str(load.rate), "--jobs", str(load.jobs)]
        arguments += ["--mix", msgspec.json.encode(load.mix).decode()]
        self._arms = self.arming()
        environment = {failpoints.HITS: str(self._hits.path), **self._arms}
        self._pid = self._processes.start("producer", "producer", arguments, environment)

    def ended(self, status: int) -> None:
        self._pid = None
        if status == -signal.SIGKILL:
            self.kills += 1
            self.start()
            if self._is_ending:
                self.end()
        else:
            self.is_over = True
            if status:
                self.surprises.append(f"the producer ended with {status}")

    def owns(self, pid: int) -> bool:
        return pid == self._pid

    def end(self) -> None:
        """Let it end after its job, or kill it, if it is armed. What it has begun and not ended then stays so."""
        self.arming = unarmed
        self._is_ending = True
        if self._pid is not None:
            self._processes.signal(self._pid, signal.SIGKILL if self._arms else signal.SIGTERM)


class Arena:
    """Made by `arena()`. `tick()` is to be called all the time; it looks after the processes and takes samples."""

    def __init__(
        self,
        directory: Path,
        redis: RedisServer,
        sandbox: SandboxServer,
        processes: Processes,
        size: int,
        load: Load,
        settings: Settings,
        network: Network,
    ) -> None:
        self.directory = directory
        self.redis = redis
        self.sandbox = sandbox
        self.processes = processes
        self.settings = settings
        self.network = network
        self.hits = Hits(directory / "hits")
        self.fleet = Fleet(processes, directory, size, self.hits)
        self.producing = Producing(processes, directory, load, self.hits)
        self.watch = Watch(redis.client(socket_timeout=2), 2 * size * settings.threads)
        self.takeovers = Takeovers(Diary(self.fleet.diary_path), self.watch.claimable)
        self.fleet.on_death = self.takeovers.died
        self._sample_at = 0.0

    def tick(self) -> None:
        self._share_out_the_dead()
        self.fleet.tick()
        self.takeovers.look()
        if time.monotonic() >= self._sample_at:
            self._sample_at = time.monotonic() + SAMPLE_EVERY
            self.watch.sample()

    def steps(self, seconds: float) -> Iterator[float]:
        """Tick until so much time has passed; yields the time that has, after each step."""
        start = time.monotonic()
        while (passed := time.monotonic() - start) < seconds:
            self.tick()
            yield passed
            time.sleep(STEP)

    def wait_for_producer(self, timeout: float = 60.0) -> None:
        """Until it has done all its jobs."""
        for _ in self.steps(timeout):
            if self.producing.is_over:
                return

    def calm_down(self, timeout: float = 180.0) -> float:
        """Nothing is done to anybody any more. Returns the seconds until all was quiet, or `timeout`."""
        self.fleet.disarm()
        self.producing.end()
        for passed in self.steps(timeout):
            if self.producing.is_over and self.watch.left() == 0:
                return passed
        return timeout

    def evidence(self) -> oracle.Evidence:
        settings = self.settings
        limits = oracle.Limits(settings.request_deadline, settings.window * settings.threads)
        log = self.sandbox.log_path
        accepted = list(acceptance.read(log)) if log.exists() else []
        ledger = record.read(self.redis.client())
        return oracle.Evidence(producer.read(self.producing.path), accepted, ledger, limits, true_time())

    def violations(self, evidence: oracle.Evidence) -> list[str]:
        return [
            *oracle.judge(evidence),
            *self.watch.violations,
            *self.fleet.surprises,
            *self.producing.surprises,
        ]

    def _share_out_the_dead(self) -> None:
        self.fleet.hits.read()
        for pid, status in self.processes.ended():
            if self.producing.owns(pid):
                self.producing.ended(status)
            else:
                self.fleet.ended(pid, status)


@contextmanager
def arena(
    directory: Path,
    load: Load,
    *,
    size: int = 5,
    proxied: bool = False,
    fixed_sandbox: bool = False,
    **environment: str,
) -> Iterator[Arena]:
    """Start all of it but the load.

    `proxied`: workers and producer reach Redis and the sandbox over the ways "redis" and "sandbox" of the network.
    `fixed_sandbox`: the sandbox keeps its port when it is stopped and started again.
    `environment` overrules `SETTINGS`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(directory)))
        sandbox = stack.enter_context(running((FixedSandbox if fixed_sandbox else SandboxServer)(directory)))
        ways = stack.enter_context(network(directory, load.seed))
        addresses = {
            "POSTROOM_REDIS_URL": ways.through("redis", redis.url) if proxied else redis.url,
            "POSTROOM_SENDGRID_URL": ways.through("sandbox", sandbox.url) if proxied else sandbox.url,
        }
        variables: dict[str, Any] = {**SETTINGS, **addresses, **environment}
        settings = Settings.from_environment(
            {name: value for name, value in variables.items() if not name.startswith("CHAOS_")}
        )
        processes = stack.enter_context(Processes(directory, variables))
        yield Arena(directory, redis, sandbox, processes, size, load, settings, ways)
