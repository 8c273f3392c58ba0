"""An idle worker: its processor time, and its memory. `python -m benchmarks.idle [--seconds 60]`.

The worker has sent a batch before, so that all it loads and keeps is there. Then nothing is enqueued.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.accounting import cpu_seconds, memory_bytes
from benchmarks.mails import mails
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from tests.stack import running_stack

WARM_UP = 2_000


def measure(directory: Path, seconds: float) -> dict[str, float]:
    with running_stack(directory) as stack:
        stack.postroom.enqueue_batch(mails(WARM_UP)).wait(timeout=120)
        before, started = cpu_seconds(stack.worker.pid), time.monotonic()
        redis_before = cpu_seconds(stack.redis.pid)
        time.sleep(seconds)
        taken = time.monotonic() - started
        return {
            "seconds": round(taken, 1),
            "worker_percent": round((cpu_seconds(stack.worker.pid) - before) / taken * 100, 2),
            "redis_percent": round((cpu_seconds(stack.redis.pid) - redis_before) / taken * 100, 2),
            "worker_mb": round(memory_bytes(stack.worker.pid) / 2**20, 1),
        }


def finding(figures: dict[str, float]) -> Finding:
    percent = figures["worker_percent"]
    return Finding(
        title="An idle worker",
        place=50,
        text=f"{figures['seconds']:.0f} s, after a batch of {WARM_UP:,}. Memory is PSS: what is shared counts in part.",
        tables=[
            Table(
                columns=["worker, % of a core", "Redis, % of a core", "worker, MB"],
                rows=[[f"{figures[name]:g}" for name in ("worker_percent", "redis_percent", "worker_mb")]],
            )
        ],
        targets=[
            Target(what="CPU of an idle worker", wanted="< 1 % of a core", found=f"{percent} %", reached=percent < 1)
        ],
        data=figures,
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=60)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        (figures,) = [measure(Path(directory), seconds) for seconds in through([options.seconds], "{:g} s".format)]
    hand_over("idle", finding(figures), options)


if __name__ == "__main__":
    main()
