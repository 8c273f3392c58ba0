"""Clock: moves what a process takes for the time. To be done before anything else is imported."""

import time
from collections.abc import Mapping

#: The environment variable: by how many seconds the clock is ahead, negative for behind.
VARIABLE = "CHAOS_CLOCK"

_true_time = time.time
_shift = 0.0


def move(environment: Mapping[str, str]) -> None:
    """Have `time.time` tell another time from now on, also to those that have already imported it."""
    global _shift  # noqa: PLW0603  # there is one clock
    _shift = float(environment.get(VARIABLE, "0"))


def _moved_time() -> float:
    return _true_time() + _shift


def true_time() -> float:
    """The time in seconds since 1970, whatever the process is made to believe."""
    return time.clock_gettime(time.CLOCK_REALTIME)


time.time = _moved_time
