"""Soak: half a million mails through one worker, and its memory after each batch. `python -m benchmarks.soak`.

Flat is what does not grow with the number of mails: the most of the second half is held against that of the first.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.accounting import memory_bytes
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from benchmarks.scale import running_fleet
from benchmarks.scale_producer import store
from postroom.settings import Settings
from producers import Postroom

BATCH = 50_000
#: Megabytes by which the memory of threads that come and go differs anyway.
FLAT = 4.0


def samples(directory: Path, batches: int) -> Iterator[float]:
    """The worker's memory (PSS, MB) after each batch."""
    with running_fleet(directory, 1) as fleet, Postroom(Settings(redis_url=fleet.redis.url)) as postroom:
        for number in through(range(1, batches + 1), "batch {}".format):
            report = postroom.wait(store(BATCH, fleet.environment).id, timeout=600)
            if report.counts["accepted"] != BATCH:
                raise AssertionError(f"of {BATCH} mails of batch {number}: {report.counts}")
            yield memory_bytes(fleet.workers[0].pid) / 2**20


def growth(taken: list[float]) -> float:
    """By how many MB the most memory of the second half is above that of the first."""
    middle = len(taken) // 2
    return max(taken[middle:]) - max(taken[:middle])


def finding(taken: list[float]) -> Finding:
    grown = growth(taken)
    return Finding(
        title="Half a million mails through one worker",
        place=60,
        text=f"Batches of {BATCH:,}; the worker's memory (PSS, MB) after each.",
        tables=[
            Table(
                columns=["mails", "MB"],
                rows=[[f"{number * BATCH:,}", f"{sample:.1f}"] for number, sample in enumerate(taken, 1)],
            )
        ],
        targets=[
            Target(
                what=f"most memory of a worker, second half of {len(taken) * BATCH:,} mails against the first",
                wanted=f"≤ {FLAT:g} MB more",
                found=f"{grown:+.1f} MB",
                reached=grown <= FLAT,
            )
        ],
        data={"batch": BATCH, "pss_mb": taken, "grown_mb": grown},
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--batches", type=int, default=10, help=f"of {BATCH:,} mails, at least 2")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        taken = list(samples(Path(directory), options.batches))
    hand_over("soak", finding(taken), options)


if __name__ == "__main__":
    main()
