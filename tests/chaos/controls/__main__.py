"""`python -m tests.chaos.controls [--kills N] [--seed N] [--pool POOL] [--fault FAULT]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.controls.trial import FAULTS, VISIBILITY_SECONDS, run

POOLS = ("prefork", "threads")
COLUMNS = (
    *("mails", "lost", "duplicated", "batches", "unreported", "reported_twice"),
    *("workers_ended", "workers_hung", "left_in_celery"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.controls")
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs of workers; a tenth as many of Valkey")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pool", choices=POOLS, action="append")
    parser.add_argument("--fault", choices=list(FAULTS), action="append")
    asked = parser.parse_args()
    rows = []
    for pool in asked.pool or POOLS:
        for fault in asked.fault or FAULTS:
            with tempfile.TemporaryDirectory(prefix="controls-") as directory:
                found = run(Path(directory), pool, fault, asked.kills, asked.seed)
            found.show_and_append()
            rows.append((f"{pool}, {fault}", *(str(found.figures[column]) for column in COLUMNS)))
    print(f"\nPlain Celery, acks_late, visibility timeout {VISIBILITY_SECONDS} s:\n")
    for row in (("", *COLUMNS), *rows):
        print(f"{row[0]:<20}", *(f"{cell:>14}" for cell in row[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
