"""Run: what a chaos program has found, and where it is written down."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

RESULTS = Path(__file__).parent.parent / "results.jsonl"

#: So many violations are told, each with so many characters.
TOLD, CHARACTERS = 100, 1000


class Run:
    """The figures of one run, and each violation of an invariant in words."""

    def __init__(self, what: str, **conditions: Any) -> None:
        self.what = what
        self.conditions = conditions
        self.figures: Counter[str] = Counter()
        self.broken: list[str] = []
        self._started_at = time.time()
        self._started = time.monotonic()

    def expect(self, holds: bool, invariant: str, detail: object = "") -> bool:
        """Note a violation, unless it holds; whether it does."""
        if not holds:
            self.broken.append(f"{invariant}: {detail}"[:CHARACTERS])
        return holds

    def as_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "at": round(self._started_at),
            "seconds": round(time.monotonic() - self._started, 1),
            **self.conditions,
            "figures": dict(sorted(self.figures.items())),
            "broken": len(self.broken),
            "told": self.broken[:TOLD],
        }

    def show_and_append(self) -> int:
        """Print it, append it to the results, and return the exit code: 1 if anything is broken."""
        document = self.as_dict()
        for name, value in document.items():
            print(f"{name:>12}  {value}")
        with RESULTS.open("ab") as results:
            results.write(msgspec.json.encode(document) + b"\n")
        return 1 if self.broken else 0
