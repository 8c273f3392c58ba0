"""Scale: what a mail costs in batches of 10 thousand to a million, and with 1, 2 and 4 workers.

`python -m benchmarks.scale`. The workers are stopped while the batch is stored, so that Redis can be looked at with all
of it queued. Processor time is the kernel's; that of Redis covers both storing and sending.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accounting import cpu_seconds
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from benchmarks.scale_producer import store
from benchmarks.sink import Sink
from postroom.settings import Settings
from producers import Postroom
from tests.servers import RedisServer, Worker, running

SIZES = (10_000, 100_000)
FLEETS = (1, 2, 4)
#: The batch that fleets of several sizes share.
OF_FLEETS = 100_000
#: What stays within this is flat.
FLAT = 0.2
#: A batch that goes before, so that what is loaded once is loaded.
WARM_UP = 1_000
#: Redis has freed idle buffers by then (seconds).
BUFFERS_GONE = 3.0
#: Calls of `report` and `progress` that are timed.
LOOKS = 200


class Fleet(NamedTuple):
    """Servers, and workers that are ready."""

    redis: RedisServer
    sink: Sink
    workers: Sequence[Worker]
    environment: dict[str, str]

    def worker_cpu(self) -> float:
        return sum(cpu_seconds(worker.pid) for worker in self.workers)

    def redis_cpu(self) -> float:
        return cpu_seconds(self.redis.pid)

    def redis_bytes(self) -> int:
        """What the data take, once Redis has let go of its connections' buffers."""
        time.sleep(BUFFERS_GONE)
        with self.redis.client() as client:
            return int(client.info("memory")["used_memory"])

    def stop(self) -> None:
        for worker in self.workers:
            worker.pause()

    def go_on(self) -> None:
        for worker in self.workers:
            worker.resume()


@contextmanager
def running_fleet(directory: Path, workers: int) -> Iterator[Fleet]:
    (directory / "redis").mkdir()
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(directory / "redis")))
        sink = stack.enter_context(running(Sink(directory)))
        environment = {"POSTROOM_REDIS_URL": redis.url, "POSTROOM_SENDGRID_URL": sink.url}
        fleet = [Worker(f"worker{number}", directory, [], environment) for number in range(workers)]
        yield Fleet(redis, sink, [stack.enter_context(running(worker)) for worker in fleet], environment)


def measure(directory: Path, mails: int, workers: int) -> dict[str, Any]:
    with running_fleet(directory, workers) as fleet, Postroom(Settings(redis_url=fleet.redis.url)) as postroom:
        postroom.wait(store(WARM_UP, fleet.environment).id, timeout=120)
        fleet.stop()
        fleet.sink.wait(WARM_UP, timeout=10)
        fleet.sink.forget()
        empty, worker_cpu, redis_cpu = fleet.redis_bytes(), fleet.worker_cpu(), fleet.redis_cpu()
        produced = store(mails, fleet.environment)
        queued = fleet.redis_bytes()
        fleet.go_on()
        started = time.monotonic()
        report = postroom.wait(produced.id, timeout=7200)
        seconds = time.monotonic() - started
        fleet.sink.wait(mails, timeout=10)
        if not fleet.sink.different(mails) == fleet.sink.arrived() == report.counts["accepted"] == mails:
            raise AssertionError(f"of {mails} mails, {fleet.sink.arrived()} have arrived, and {report.counts}")
        return {
            "mails": mails,
            "workers": workers,
            "producer_us": per_mail(produced.cpu_seconds, mails),
            "worker_us": per_mail(fleet.worker_cpu() - worker_cpu, mails),
            "redis_us": per_mail(fleet.redis_cpu() - redis_cpu, mails),
            "mails_per_second": round(mails / seconds),
            "redis_bytes_queued": round((queued - empty) / mails, 1),
            "redis_bytes_after": round((fleet.redis_bytes() - empty) / mails, 1),
            "producer_peak_mb": round(produced.peak_mb, 1),
            "progress_ms": milliseconds(lambda: postroom.progress(produced.id)),
            "report_ms": milliseconds(lambda: postroom.report(produced.id)),
        }


def per_mail(seconds: float, mails: int) -> float:
    """Microseconds a mail."""
    return round(seconds / mails * 1e6, 1)


def milliseconds(call: Callable[[], object]) -> float:
    """The fastest of some calls: what it takes by itself."""
    taken = []
    for _ in range(LOOKS):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return round(min(taken) * 1000, 2)


def finding(found: list[dict[str, Any]]) -> Finding:
    by_size = [one for one in found if one["workers"] == 1]
    by_workers = [one for one in found if one["mails"] == OF_FLEETS]
    return Finding(
        title="Scale",
        place=40,
        text="Batches through the workers of one machine. Processor time per mail in µs; that of Redis for storing and "
        f"sending together; `progress` and `report` in ms, the fastest of {LOOKS} calls.",
        tables=[Table(columns=list(COLUMNS), rows=[[shown(one[name]) for name in COLUMNS.values()] for one in found])],
        targets=[
            *redis_targets(by_size),
            flat("cost per mail, " + sizes(by_size), [cost(one) for one in by_size]),
            flat("producer's peak memory, " + sizes(by_size), [one["producer_peak_mb"] for one in by_size]),
            flat("time of `progress`, " + sizes(by_size), [one["progress_ms"] for one in by_size]),
            flat("time of `report`, " + sizes(by_size), [one["report_ms"] for one in by_size]),
            flat(
                f"cost per mail, {', '.join(str(one['workers']) for one in by_workers)} workers",
                [cost(one) for one in by_workers],
            ),
        ],
        data=found,
    )


COLUMNS = {
    "mails": "mails",
    "workers": "workers",
    "producer": "producer_us",
    "worker": "worker_us",
    "Redis": "redis_us",
    "mails/s": "mails_per_second",
    "bytes queued": "redis_bytes_queued",
    "bytes after": "redis_bytes_after",
    "producer's peak, MB": "producer_peak_mb",
    "progress": "progress_ms",
    "report": "report_ms",
}


def shown(value: float) -> str:
    return f"{value:,}"


def cost(one: dict[str, Any]) -> float:
    return float(one["producer_us"] + one["worker_us"] + one["redis_us"])


def sizes(found: list[dict[str, Any]]) -> str:
    return f"{min(one['mails'] for one in found):,} to {max(one['mails'] for one in found):,} mails"


def redis_targets(found: list[dict[str, Any]]) -> Iterator[Target]:
    largest = max(found, key=lambda one: one["mails"])
    for what, name, limit in (("while queued", "redis_bytes_queued", 150), ("after", "redis_bytes_after", 40)):
        most = largest[name]
        yield Target(
            what=f"a mail of {largest['mails']:,} in Redis, {what}",
            wanted=f"≤ {limit} bytes",
            found=f"{most:.0f} bytes",
            reached=most <= limit,
        )


def flat(what: str, values: list[float]) -> Target:
    """Flat: the largest value is no more than a fifth above the smallest."""
    spread = max(values) / min(values) - 1
    return Target(what=what, wanted="flat (within 20 %)", found=f"within {spread:.0%}", reached=spread <= FLAT)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--mails", type=int, nargs="+", default=SIZES, help="sizes of batches, for one worker")
    arguments.add_argument("--workers", type=int, nargs="+", default=FLEETS, help=f"for a batch of {OF_FLEETS:,}")
    arguments.add_argument("--million", action="store_true", help="also a batch of a million, which takes minutes")
    options = arguments.parse_args()
    sizes = [*options.mails, *([1_000_000] if options.million else [])]
    runs = dict.fromkeys([(mails, 1) for mails in sizes] + [(OF_FLEETS, workers) for workers in options.workers])
    found = []
    for mails, workers in through(list(runs), lambda run: f"{run[0]:,} mails, workers: {run[1]}"):
        with tempfile.TemporaryDirectory() as directory:
            found.append(measure(Path(directory), mails, workers))
    hand_over("scale", finding(found), options)


if __name__ == "__main__":
    main()
