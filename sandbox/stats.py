"""Stats: counts of the requests to `POST /v3/mail/send`."""

from collections import Counter
from typing import Any


class Stats:
    """`accepted` are the lines of the acceptance log: a request that was accepted may have been answered badly."""

    def __init__(self) -> None:
        self.requests = 0
        self.accepted = 0
        self.by_status: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()

    def as_json(self) -> dict[str, Any]:
        """The counts; `refused` are the answers of 300 and above."""
        return {
            "requests": self.requests,
            "accepted": self.accepted,
            "refused": sum(count for status, count in self.by_status.items() if status >= 300),
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "faults": dict(self.faults),
        }
