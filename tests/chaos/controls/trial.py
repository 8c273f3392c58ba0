"""Trial: a fleet of plain Celery, a producer, the sandbox and a Valkey, and the faults that happen to them."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

from tests.chaos.races.run import Run
from tests.servers import Program, RedisServer, SandboxServer, running
from tests.stack import copies

VISIBILITY_SECONDS = 15
WORKERS, CONCURRENCY = 2, 4
#: What SendGrid usually takes, in seconds.
LATENCY = 0.03


class Worker(Program):
    def __init__(self, name: str, pool: str, directory: Path, environment: dict[str, str]) -> None:
        celery = [sys.executable, "-m", "celery", "-A", "tests.chaos.controls.plain", "worker", "--loglevel", "INFO"]
        size = ["--pool", pool, "--concurrency", str(CONCURRENCY), "--hostname", f"{name}@%h"]
        super().__init__(name, [*celery, *size], directory / f"{name}.log", environment)

    def is_ready(self) -> bool:
        return " ready." in self.log_since_start()

    def children(self) -> list[int]:
        """The pids of a prefork pool's processes."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]


def environment_of(
    redis: RedisServer, sandbox: SandboxServer, directory: Path, visibility_seconds: float
) -> dict[str, str]:
    return {
        "CONTROL_REDIS_URL": redis.url,
        "CONTROL_SENDGRID_URL": sandbox.url,
        "CONTROL_VISIBILITY_SECONDS": str(visibility_seconds),
        "CONTROL_REPORTS": str(directory / "reports"),
        "CONTROL_TAKEN": str(directory / "taken"),
    }


class Trial:
    """`endings` counts workers that ended by themselves; each is started again at once, as by a supervisor.

    `hung` counts those that did not end when they were asked to.
    """

    def __init__(self, redis: RedisServer, sandbox: SandboxServer, pool: str, directory: Path) -> None:
        self.redis = redis
        self.sandbox = sandbox
        self._taken_path = directory / "taken"
        self._reports_path = directory / "reports"
        environment = environment_of(redis, sandbox, directory, VISIBILITY_SECONDS)
        self.pool = pool
        self.workers = [Worker(f"plain{number}", pool, directory, environment) for number in range(WORKERS)]
        module = "tests.chaos.controls.producer"
        self.producer = Program("producer", [sys.executable, "-m", module], directory / "producer.log", environment)
        self.endings = 0
        self.hung = 0

    def supervise(self) -> None:
        """Start again what has ended by itself."""
        for worker in self.workers:
            if not worker.running:
                self.endings += 1
                worker.start()

    def is_idle(self) -> bool:
        """Whether Celery has nothing left, neither waiting nor unacknowledged; asked for 3 seconds."""
        with self.redis.client() as client:
            for _ in range(6):
                if client.llen("celery") or client.hlen("unacked"):
                    return False
                time.sleep(0.5)
        return True

    def let_finish(self, rounds: int) -> None:
        """Wait until Celery has nothing left.

        A worker looks for unacknowledged messages when it starts, and later only every 100 seconds for 10 of them; so
        the workers are restarted in good order once a visibility timeout, which speeds the control up.
        """
        for _ in range(rounds):
            until = time.monotonic() + VISIBILITY_SECONDS + 5
            while time.monotonic() < until:
                self.supervise()
                if self.is_idle():
                    return
                time.sleep(0.5)
            for worker in self.workers:
                self._restart(worker)

    def _restart(self, worker: Worker) -> None:
        """In good order, or by force if it does not end for that."""
        try:
            worker.stop(timeout=VISIBILITY_SECONDS + 20)
        except AssertionError:
            self.hung += 1
        worker.start()

    def count(self, found: Run) -> None:
        """Compare what was taken with what was sent and reported."""
        lines = [line.split() for line in self._taken_path.read_text().splitlines()]
        batches = {line[1] for line in lines if line[0] == "batch"}
        mails = {id for line in lines for id in (line[2:] if line[0] == "batch" else line[1:])}
        sent = copies(self.sandbox)
        reports = self._reports_path.read_text().splitlines() if self._reports_path.exists() else []
        reported = Counter(line.split()[0] for line in reports)
        found.figures["mails"] = len(mails)
        found.figures["lost"] = sum(not sent[id] for id in mails)
        found.figures["duplicated"] = sum(sent[id] > 1 for id in mails)
        found.figures["extra_copies"] = sum(max(0, sent[id] - 1) for id in mails)
        found.figures["batches"] = len(batches)
        found.figures["unreported"] = len(batches - reported.keys())
        found.figures["reported_twice"] = sum(reported[batch] > 1 for batch in batches)
        found.figures["workers_ended"] = self.endings
        found.figures["workers_hung"] = self.hung
        found.figures["left_in_celery"] = self._left()

    def _left(self) -> int:
        with self.redis.client() as client:
            return int(client.llen("celery")) + int(client.hlen("unacked"))


def kills(trial: Trial, random: Random, times: int) -> None:
    """SIGKILL, at any moment, of a whole worker, or (prefork) of one of its processes, which it replaces itself."""
    for _ in range(times):
        worker = random.choice(trial.workers)
        children = worker.children() if trial.pool == "prefork" and random.random() < 0.5 else []
        if children:
            os.kill(random.choice(children), signal.SIGKILL)
        else:
            worker.kill()
            worker.start()
        time.sleep(random.uniform(0, 1))


def slowness(trial: Trial, random: Random, times: int) -> None:
    """For a minute one mail in fifty takes SendGrid longer than the visibility timeout."""
    slow = {"fault": "latency", "latency": VISIBILITY_SECONDS + 10.0, "probability": 0.02}
    trial.sandbox.faults([slow, {"fault": "latency", "latency": LATENCY}])
    until = time.monotonic() + 60
    while time.monotonic() < until:
        time.sleep(1)
        trial.supervise()
    trial.sandbox.faults([{"fault": "latency", "latency": LATENCY}])


def outages(trial: Trial, random: Random, times: int) -> None:
    """kill -9 of Valkey, and up to a second until it is there again with all that it has acknowledged."""
    for _ in range(max(1, times // 10)):
        trial.redis.kill()
        time.sleep(random.uniform(0, 1))
        trial.redis.start()
        until = time.monotonic() + random.uniform(2, 5)
        while time.monotonic() < until:
            time.sleep(0.2)
            trial.supervise()


FAULTS: dict[str, Callable[[Trial, Random, int], None]] = {"kills": kills, "slow": slowness, "outages": outages}


@contextmanager
def running_trial(pool: str, directory: Path) -> Iterator[Trial]:
    with running(RedisServer(directory)) as redis, running(SandboxServer(directory)) as sandbox, ExitStack() as stack:
        trial = Trial(redis, sandbox, pool, directory)
        sandbox.faults([{"fault": "latency", "latency": LATENCY}])
        for program in (*trial.workers, trial.producer):
            stack.enter_context(running(program))
        yield trial


def run(directory: Path, pool: str, fault: str, kills: int, seed: int, *, rounds: int = 12) -> Run:
    """One fault, one pool. `rounds` is how many visibility timeouts are waited for quiet at most."""
    conditions = {"pool": pool, "fault": fault, "kills": kills, "seed": seed, "visibility_seconds": VISIBILITY_SECONDS}
    found = Run("controls.celery", **conditions)
    with running_trial(pool, directory) as trial:
        time.sleep(3)
        FAULTS[fault](trial, Random(f"{seed} {pool} {fault}"), kills)
        trial.producer.stop()
        trial.let_finish(rounds)
        trial.count(found)
    return found
