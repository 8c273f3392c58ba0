"""One large batch, from a generator to the report: `python -m benchmarks.large_batch [MAILS]` (default 100,000).

Prints the processor time per mail of producer, worker and Redis, the producer's peak memory beside that of a batch of
1,000, and whether every mail was accepted once by the sandbox's acceptance log and the report equals a recount.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postroom.settings import Settings
from producers import Postroom
from tests.servers import RedisServer, SandboxServer, Worker, clean_environment, running

SMALL = 1_000
TICKS = os.sysconf("SC_CLK_TCK")
PARAGRAPH = "<p>Dear reader {number}, this is what happened in our town this week. Thank you for your time.</p>\n"
BODY = PARAGRAPH * 30


def mails(count: int) -> Iterator[dict[str, Any]]:
    """Distinct mails of about 3 kB."""
    for number in range(count):
        yield {
            "personalizations": [{"to": [{"email": f"reader{number}@example.com"}]}],
            "from": {"email": "news@example.com", "name": "The News"},
            "subject": f"The week, for reader {number}",
            "content": [{"type": "text/html", "value": BODY.replace("{number}", str(number))}],
        }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, from the kernel's accounting."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def produce(count: int) -> None:
    """Be the producer: enqueue, and print what it took as JSON."""
    with Postroom() as postroom:
        before, started = time.process_time(), time.monotonic()
        batch = postroom.enqueue_batch(mails(count))
        taken = {
            "id": batch.id,
            "seconds": time.monotonic() - started,
            "cpu": time.process_time() - before,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    print(json.dumps(taken))


def run_producer(count: int, settings: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.large_batch", "--produce", str(count)]
    done = subprocess.run(command, env=clean_environment() | settings, capture_output=True, text=True, check=True)
    taken: dict[str, Any] = json.loads(done.stdout)
    return taken


def measure(count: int, directory: Path) -> dict[str, Any]:
    """Start the servers, send a small batch and then the large one."""
    (directory / "redis").mkdir()
    with running(RedisServer(directory / "redis")) as redis, running(SandboxServer(directory)) as sandbox:
        environment = {"POSTROOM_REDIS_URL": redis.url, "POSTROOM_SENDGRID_URL": sandbox.url}
        with (
            running(Worker("worker", directory, [], environment)) as worker,
            Postroom(Settings(redis_url=redis.url)) as postroom,
        ):
            small = run_producer(SMALL, environment)
            postroom.wait(small["id"], timeout=120)
            redis_before, worker_before = cpu_seconds(redis.pid), cpu_seconds(worker.pid)
            started = time.monotonic()
            large = run_producer(count, environment)
            report = postroom.wait(large["id"], timeout=3600)
            seconds = time.monotonic() - started
            redis_cpu, worker_cpu = cpu_seconds(redis.pid) - redis_before, cpu_seconds(worker.pid) - worker_before
            accepted = (id for entry in sandbox.accepted() for id in entry["postroom_ids"])
            copies = Counter(id for id in accepted if id.startswith(large["id"] + "."))
            with redis.client() as client:
                stats = {name.decode(): int(value) for name, value in client.hgetall("postroom:stats").items()}
    return {
        "mails": count,
        "counts": report.counts,
        "accepted_once": len(copies) == count and set(copies.values()) == {1},
        "report_equals_log": report.counts["accepted"] == len(copies),
        "stats": stats,
        "seconds": round(seconds, 1),
        "producer_us": round(large["cpu"] / count * 1e6),
        "worker_us": round(worker_cpu / count * 1e6),
        "redis_us": round(redis_cpu / count * 1e6),
        "producer_peak_mb": round(large["peak_mb"]),
        "producer_peak_mb_of_small": round(small["peak_mb"]),
    }


def main() -> None:
    if sys.argv[1:2] == ["--produce"]:
        return produce(int(sys.argv[2]))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(count, Path(directory)), indent=2))
    return None


if __name__ == "__main__":
    main()
