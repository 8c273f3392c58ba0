"""Backoff: how long to wait before the attempt that follows attempt *n*. Pure: no clock, no I/O."""

import random as _random
from collections.abc import Callable

#: 2 to a higher power than this is no float.
_HIGHEST_POWER = 1023


def backoff_seconds(attempt: int, *, base: float, cap: float, random: Callable[[], float] = _random.random) -> float:
    """The wait in seconds after a failed attempt, counted from 1: `random() * min(cap, base * 2 ** (attempt - 1))`.

    Full jitter: any wait from 0 up to the limit is as likely as any other, so that mails that failed together do not
    come back together. `base` and `cap` are seconds; `random` gives a number from 0 (included) to 1 (excluded).
    Raises `ValueError` for an attempt below 1.

    >>> [backoff_seconds(attempt, base=2, cap=600, random=lambda: 0.5) for attempt in (1, 2, 3, 9, 10)]
    [1.0, 2.0, 4.0, 256.0, 300.0]
    >>> backoff_seconds(1_000_000, base=2, cap=600, random=lambda: 0.999)
    599.4
    """
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, not {attempt}")
    return random() * min(cap, base * 2.0 ** min(attempt - 1, _HIGHEST_POWER))
