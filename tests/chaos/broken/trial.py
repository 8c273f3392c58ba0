"""Trial: runs one round against the sources that it is part of, as a program, and says what was wrong.

It ends at the first violation. The last line of its output is JSON: `{"violations", "seconds", "events"}`.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from tests.chaos import arena as arenas
from tests.chaos.broken.hasty import Caught, HastyArena
from tests.chaos.broken.rounds import ROUNDS
from tests.chaos.run import Run
from tests.chaos.scenarios import SCENARIOS

#: Seconds, for scenarios that end by themselves.
MINUTES = 1.0


class OutOfTime(BaseException):
    """It has taken too long."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("round", choices=[*SCENARIOS, *ROUNDS])
    parser.add_argument("--seed", default="1")
    parser.add_argument("--times", type=int)
    parser.add_argument("--limit", type=int, default=120, help="seconds")
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(options.limit)
    arenas.Arena = HastyArena
    scenario = (SCENARIOS | ROUNDS)[options.round]
    run = Run(options.round, options.seed, options.times or scenario.times, MINUTES, options.directory)
    try:
        scenario.play(run)
        violations = run.figures.violations
    except Caught as caught:
        violations = caught.sentences
    except OutOfTime:
        violations = [f"unfinished: the round had not ended after {options.limit} s"]
    finally:
        signal.alarm(0)
        run.close()
    events = dict(run.figures.events)
    print(json.dumps({"violations": violations[:10], "seconds": round(run.seconds, 1), "events": events}))
    return 1 if violations else 0


def _out_of_time(*_: object) -> None:
    raise OutOfTime


if __name__ == "__main__":
    sys.exit(main())
