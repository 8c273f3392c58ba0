"""The chaos suite as a program: `python -m tests.chaos SCENARIO`. Without a scenario it lists them.

Exit code 0: nothing was wrong; 1: something was; 130: Ctrl-C. Each run adds a line to `tests/chaos/results.jsonl`.
"""

import argparse
import json
import secrets
import signal
import sys
from pathlib import Path

from tests.chaos.results import RESULTS, append
from tests.chaos.run import Run
from tests.chaos.scenarios import SCENARIOS


def main() -> int:
    options = _parser().parse_args()
    if options.scenario is None:
        for name, scenario in SCENARIOS.items():
            print(f"{name:12} {scenario.line} ({scenario.times} {scenario.unit})")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    scenario = SCENARIOS[options.scenario]
    run = Run(options.scenario, options.seed, options.times or scenario.times, options.minutes, options.directory)
    run.say(f"{options.scenario} with --seed {options.seed}: {run.times} {scenario.unit}", end="\n")
    try:
        scenario.play(run)
    except KeyboardInterrupt:
        run.say("interrupted", end="\n")
        return 130
    finally:
        run.close()
    result = run.result()
    append(result, options.results)
    print(json.dumps(result, indent=1))
    return 1 if run.figures.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kills and disturbs a real fleet.")
    parser.add_argument("scenario", nargs="?", choices=list(SCENARIOS))
    parser.add_argument("--seed", default=secrets.token_hex(4), help="all choices follow from it (default: a new one)")
    parser.add_argument("--times", "--kills", type=int, help="how often it is done (default: see the list)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of an outage, or at most of a batch (%(default)g)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that gets the figures")
    parser.add_argument("--directory", type=Path, help="where logs are kept of a round that went wrong")
    return parser


if __name__ == "__main__":
    sys.exit(main())
