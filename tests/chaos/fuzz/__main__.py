"""`python -m tests.chaos.fuzz [--times N] [--seed N]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.fuzz.fuzzing import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fuzz")
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        return run(Path(directory), asked.times, asked.seed).show_and_append()


if __name__ == "__main__":
    sys.exit(main())
