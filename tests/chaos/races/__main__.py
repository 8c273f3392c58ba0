"""`python -m tests.chaos.races cancel|same_key [--times N] [--seed N]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.races import cancel, same_key


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.races")
    parser.add_argument("race", choices=("cancel", "same_key"))
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    race = cancel.run if asked.race == "cancel" else same_key.run
    with tempfile.TemporaryDirectory(prefix="races-") as directory:
        return race(Path(directory), asked.times, asked.seed).show_and_append()


if __name__ == "__main__":
    sys.exit(main())
