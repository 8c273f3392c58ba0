"""Run: the rounds of one scenario under one seed, and the figures that come of them."""

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from postroom.names import OnDoubt
from tests.chaos import oracle
from tests.chaos.arena import Arena, Load, arena
from tests.chaos.load import Mix
from tests.chaos.nemesis import Nemesis
from tests.chaos.takeover import Waits, percentile

MIX = Mix()


class Figures:
    """What all rounds so far have come to. `events` are what was done: redis kills, cuts, messages tampered with."""

    def __init__(self) -> None:
        self.rounds = 0
        self.mails = 0
        self.accepted = 0
        self.kills = 0
        self.producer_kills = 0
        self.hits: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.duplicates: Counter[str] = Counter()
        self.doubts = 0
        self.most_in_doubt = 0
        self.waits = Waits([], [], 0)
        self.violations: list[str] = []

    def add(self, arena: Arena, evidence: oracle.Evidence, violations: list[str]) -> None:
        mails = evidence.record.mails.values()
        self.rounds += 1
        self.mails += len(evidence.sent_mails)
        self.accepted += len(evidence.accepted)
        self.kills += len(arena.fleet.deaths)
        self.producer_kills += arena.producing.kills
        self.hits += arena.hits.counts
        self.states.update(mail.state for mail in evidence.sent_mails)
        self.duplicates.update(mail.policy for mail in mails if evidence.copies[mail.id] > 1)
        self.doubts += sum(mail.doubts for mail in mails)
        self.most_in_doubt = max([self.most_in_doubt, *oracle.doubts_of_owners(evidence.record).values()])
        self.waits = Waits(*(a + b for a, b in zip(self.waits, arena.takeovers.waits(), strict=True)))
        self.violations += violations

    def as_json(self) -> dict[str, Any]:
        found = self.violations
        return {
            "rounds": self.rounds,
            "mails": self.mails,
            "states": dict(sorted(self.states.items())),
            "accepted_requests": self.accepted,
            "kills": self.kills,
            "producer_kills": self.producer_kills,
            "hits": dict(sorted(self.hits.items())),
            "events": dict(sorted(self.events.items())),
            "lost": sum(sentence.startswith(("lost", "unfinished")) for sentence in found),
            "false_accepted": sum(sentence.startswith("false accepted") for sentence in found),
            "duplicates": {policy: self.duplicates[policy] for policy in map(str, OnDoubt)},
            "doubts": self.doubts,
            "in_doubt_per_kill_max": self.most_in_doubt,
            "kill_to_next_claim": {
                "one_died": _distribution(self.waits.once),
                "several_died": _distribution(self.waits.again),
                "never": self.waits.never,
            },
            "violations": found[:100],
        }


def _distribution(seconds: list[float]) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {"count": len(seconds), **{name: percentile(seconds, share) for name, share in shares.items()}}


class Run:
    """`times` is how much of it: kills, cuts, whatever the scenario counts."""

    def __init__(self, scenario: str, seed: str, times: int, minutes: float, directory: Path | None = None) -> None:
        self.scenario = scenario
        self.seed = seed
        self.times = times
        self.minutes = minutes
        self.directory = directory or Path(tempfile.mkdtemp(prefix="chaos-"))
        self.figures = Figures()
        #: Of the last round.
        self.evidence: oracle.Evidence
        self._start = time.monotonic()

    @contextmanager
    def round(self, mix: Mix = MIX, *, rate: float = 80.0, jobs: int = 1_000_000, **options: Any) -> Iterator[Arena]:
        """A round of its own seed: an arena and, at the end, the verdict. The rest are the options of `arena`.

        What a round has left behind is kept if something was wrong with it.
        """
        number = self.figures.rounds
        directory = self.directory / f"{self.scenario}-{self.seed}-{number}"
        known = len(self.figures.violations)
        load = Load(f"{self.seed}/{number}", mix, rate, jobs)
        with self._interruptible(directory), arena(directory, load, **options) as place:
            yield place
            quiet = place.calm_down()
            evidence = place.evidence()
            violations = place.violations(evidence)
            self.figures.add(place, evidence, violations)
            self.evidence = evidence
        self.say(f"round {number}: {len(evidence.record.mails)} mails, quiet after {quiet:.0f} s", end="\n")
        for sentence in violations[:20]:
            self.say(f"VIOLATION {sentence} ({directory})", end="\n")
        if len(self.figures.violations) == known:
            shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def _interruptible(self, directory: Path) -> Iterator[None]:
        """A round that is broken off by Ctrl-C leaves nothing behind."""
        try:
            yield
        except KeyboardInterrupt:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def nemesis(self, place: Arena) -> Nemesis:
        """One for this round; it knows the hits of all rounds."""
        return Nemesis(f"{self.seed}/{self.figures.rounds}", lambda: self.figures.hits + place.hits.counts)

    def count(self, event: str, times: int) -> None:
        self.figures.events[event] += times

    def violation(self, sentence: str) -> None:
        self.figures.violations.append(sentence)
        self.say(f"VIOLATION {sentence}", end="\n")

    def left(self, event: str) -> int:
        """How often it is still to be done. Kills count by themselves, other events by `count`."""
        done = self.figures.kills if event == "kills" else self.figures.events[event]
        return max(0, self.times - done)

    def enough(self, event: str, in_round: int) -> bool:
        """Whether it has been done often enough, with what was done in this round; shows it on a terminal."""
        left = self.left(event)
        if sys.stderr.isatty():
            self.say(f"round {self.figures.rounds}: {event}: {self.times - left + in_round} of {self.times}")
        return in_round >= left

    def say(self, text: str, end: str = "") -> None:
        start, clear = ("\r", "\x1b[K") if sys.stderr.isatty() else ("", "")
        if end or start:
            sys.stderr.write(f"{start}{self.seconds:6.0f} s  {text}{clear}{end}")
            sys.stderr.flush()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def result(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": os.environ.get("CHAOS_COMMIT"),
            "seconds": round(self.seconds),
            **self.figures.as_json(),
        }

    def close(self) -> None:
        """Remove what is left, unless it is evidence."""
        if self.directory.exists() and not any(self.directory.iterdir()):
            self.directory.rmdir()


#: A scenario gets its run, and makes rounds.
Play = Callable[[Run], None]
