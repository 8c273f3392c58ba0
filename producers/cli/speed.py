"""Speed: how fast a batch goes, and how long the rest will take. Pure: no clock, no I/O."""

from collections import deque

#: The rate is that of the last so many seconds: of now, and yet steady to look at.
SPAN = 10.0


class Speed:
    """Is told how many mails are finished, and when (seconds of any clock)."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def saw(self, now: float, finished: int) -> None:
        self._seen.append((now, finished))
        while self._seen[-1][0] - self._seen[0][0] > SPAN and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Mails a second; 0 as long as nothing is known.

        >>> speed = Speed()
        >>> speed.saw(0.0, 0)
        >>> speed.saw(2.0, 50)
        >>> speed.rate
        25.0
        """
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last > first else 0.0

    def seconds_left(self, unfinished: int) -> float | None:
        """None when nothing moves."""
        return unfinished / self.rate if self.rate > 0 else None


def in_short(seconds: float | None) -> str:
    """A duration for a glance.

    >>> in_short(8.2), in_short(190), in_short(7300), in_short(None)
    ('9s', '3m10s', '2h01m', '?')
    """
    if seconds is None:
        return "?"
    whole = int(seconds) + (seconds > int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
