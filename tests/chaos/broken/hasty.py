"""Hasty: an arena that ends its round at the first violation, or when nothing more comes to an end."""

import time
from contextlib import suppress
from typing import Any

import redis

from postroom.names import FINISHED
from tests.chaos.arena import Arena
from tests.chaos.broken.judges import AT_ANY_MOMENT, each_is_one_mail, only_sendgrid_rejects
from tests.chaos.oracle import Evidence

#: From one look at log and ledger to the next, seconds.
LOOK_EVERY = 2.0
#: Longer (seconds) than anything that the ledger waits for by itself: a grace, a report, the third wake-up of a chunk.
STANDSTILL = 21.0
#: In all, an arena may take so long to be quiet (seconds).
QUIET_WITHIN = 75.0


class Caught(Exception):
    """A build has broken the promise."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(sentences)
        self.sentences = sentences


class Senseless(Exception):
    """A build's scripts fail by themselves, which would prove nothing."""


class HastyArena(Arena):
    """`standstill` is to be longer where a round has something wait longer."""

    standstill = STANDSTILL
    _look_at = 0.0
    _picture: Any = None
    _changed_at = 0.0

    def tick(self) -> None:
        super().tick()
        if time.monotonic() >= self._look_at:
            with suppress(redis.RedisError):
                self._look()
            self._look_at = time.monotonic() + LOOK_EVERY

    def go_on(self, seconds: float) -> None:
        for _ in self.steps(seconds):
            pass

    def calm_down(self, timeout: float = QUIET_WITHIN) -> float:
        self.fleet.disarm()
        self.producing.end()
        self._changed_at = time.monotonic()
        for passed in self.steps(timeout):
            if self.producing.is_over and self.watch.left() == 0:
                return passed
            if time.monotonic() > self._changed_at + self.standstill:
                return passed
        return timeout

    def violations(self, evidence: Evidence) -> list[str]:
        self._check_scripts()
        return [*super().violations(evidence), *each_is_one_mail(evidence), *only_sendgrid_rejects(evidence)]

    def _look(self) -> None:
        evidence = self.evidence()
        found = [sentence for judgement in AT_ANY_MOMENT for sentence in judgement(evidence)]
        found += [*self.watch.violations, *self.fleet.surprises, *self.producing.surprises]
        if found:
            self._check_scripts()
            raise Caught(found)
        ends = {mail.id: (mail.state in FINISHED, mail.doubts) for mail in evidence.record.mails.values()}
        picture = (ends, evidence.record.reports)
        if picture != self._picture:
            self._picture, self._changed_at = picture, time.monotonic()

    def _check_scripts(self) -> None:
        for log in self.directory.glob("*.log"):
            if "user_script" in log.read_text(errors="replace") or "ResponseError" in log.read_text(errors="replace"):
                raise Senseless(f"scripts have failed: see {log}")
