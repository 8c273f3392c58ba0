"""Producer: a process that enqueues a batch, and tells what that cost.

`python -m benchmarks.scale_producer HOW COUNT`
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.mails import NEWS, mails, personalizations
from producers import Batch, Postroom
from tests.servers import clean_environment


class Produced(msgspec.Struct):
    """The batch's id, the producer's processor time for it (seconds), and the most memory it ever had."""

    id: str
    cpu_seconds: float
    peak_mb: float


#: How a batch is enqueued: of so many usual mails; of one mail to so many recipients, a request each; or merged.
HOW: dict[str, Callable[[Postroom, int], Batch]] = {
    "batch": lambda postroom, count: postroom.enqueue_batch(mails(count)),
    "each": lambda postroom, count: postroom.enqueue_batch(
        NEWS | {"personalizations": [each]} for each in personalizations(count)
    ),
    "merged": lambda postroom, count: postroom.enqueue_merge(NEWS, personalizations(count)),
}


def store(count: int, environment: dict[str, str], how: str = "batch") -> Produced:
    """Run a producer. It makes the mails one by one while they are taken."""
    command = [sys.executable, "-m", "benchmarks.scale_producer", how, str(count)]
    done = subprocess.run(command, env=clean_environment() | environment, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Produced)


def produce(how: str, count: int) -> Produced:
    with Postroom() as postroom:
        before = time.process_time()
        batch = HOW[how](postroom, count)
        return Produced(batch.id, time.process_time() - before, peak_mb())


def peak_mb() -> float:
    """Since this program began; `getrusage` would count what its parent had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(produce(sys.argv[1], int(sys.argv[2]))).decode())
