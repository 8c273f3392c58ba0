"""Broken builds as a program: `python -m tests.chaos.broken [NAME…] [--jobs 2]`.

Each build is made and run, and told to be caught (by what, with which violation, after how many seconds) or NOT CAUGHT.
A name may be a part of one. Exit code 1 if one was not caught, or if something was found with nothing broken.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.broken import tree
from tests.chaos.broken.builds import BUILDS, trials
from tests.chaos.broken.runner import Runner, Verdict

RESULTS = Path(__file__).parent / "results.jsonl"


def main() -> int:
    options = _parser().parse_args()
    chosen = [
        build for name, build in BUILDS.items() if not options.names or any(part in name for part in options.names)
    ]
    if options.round:
        chosen = [build for build in chosen if build.round in options.round]
    if options.list:
        for build in chosen:
            print(f"{build.name}: {build.round or build.test}{f' ({build.equivalent})' if build.equivalent else ''}")
        return 0
    with tree.snapshot() as right, ThreadPoolExecutor(options.jobs) as pool:
        for build in chosen:
            tree.check(right, build.edits)
        runner = Runner(right)
        runs = [pool.submit(runner.run_right, trial) for trial in ([] if options.broken_only else trials(chosen))]
        runs += [pool.submit(runner.run, build) for build in chosen]
        try:
            verdicts = list(_told(run.result() for run in runs))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            return 130
    wrong = [verdict for verdict in verdicts if not verdict.is_as_it_should_be]
    print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} as they should be")
    return 1 if wrong else 0


def _told(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    for verdict in verdicts:
        what = verdict.what if verdict.is_as_it_should_be else verdict.what.upper()
        print(
            f"{verdict.build:60} {what:10} {verdict.seconds:5.0f} s  {verdict.by}: {verdict.violation[:150]}",
            flush=True,
        )
        with RESULTS.open("a") as file:
            file.write(
                json.dumps({"date": datetime.now(UTC).isoformat(timespec="seconds"), **verdict._asdict()}) + "\n"
            )
        yield verdict


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.broken", description="Takes out one guard at a time.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="builds, by a part of their names (default: all)")
    parser.add_argument("--round", action="append", help="only the builds of this round")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (%(default)s)")
    parser.add_argument("--list", action="store_true", help="list the builds, and run nothing")
    parser.add_argument("--broken-only", action="store_true", help="leave out the runs with nothing broken")
    return parser


if __name__ == "__main__":
    sys.exit(main())
