"""Handling: does something with many mails, one by one, and tells with which ones it could not be done, and why."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from postroom.errors import CannotRetry, NotDead, QueueUnavailable, UnknownId
from producers.cli.counting import counting
from producers.cli.failure import CommandFailed, explained
from producers.cli.interruption import Interrupted, Interruption
from producers.cli.letters import no_mail
from producers.cli.mails import MOST_LISTED
from producers.cli.output import BAD, GOOD, QUIET, WARNING, Output

#: The most that a document lists.
MOST_IN_JSON = 1000


class NotDone(msgspec.Struct, frozen=True):
    """A mail with which it could not be done. `reason` is a word for programs."""

    id: str
    reason: str
    state: str | None
    message: str
    advice: str


class Handling:
    """One command's work. `done` is what is done with a mail, e.g. "queued again"; `word` is the same for programs.

    `act` does it with the mail of an id. It may raise `UnknownId`, `CannotRetry`, `NotDead`, or a `CommandFailed` that
    has the mail's state among its details.
    """

    def __init__(self, act: Callable[[str], None], *, done: str, word: str) -> None:
        self._act = act
        self._done = done
        self._word = word
        self.count = 0
        self.failed: list[NotDone] = []

    def run(self, out: Output, ids: Iterable[str]) -> None:
        """Once for each id. Raises `CommandFailed` when it is interrupted, or Redis goes away."""
        ids = list(dict.fromkeys(ids))
        with Interruption(abrupt=True) as interruption, counting(out, len(ids)) as tell:
            for number, id in enumerate(ids, start=1):
                try:
                    interruption.check()
                    self._try(id)
                except Interrupted as interrupted:
                    raise self._stopped("interrupted", "Stopped", len(ids), interrupted.code) from None
                except QueueUnavailable as error:
                    what = f"Redis is not reachable ({error.detail})"
                    raise self._stopped("queue_unavailable", what, len(ids)) from None
                tell(number, f"{number:,} of {len(ids):,}: {self.summary}")

    def _try(self, id: str) -> None:
        try:
            self._act(id)
        except UnknownId:
            self._fail(id, no_mail(id))
        except (CannotRetry, NotDead, CommandFailed) as error:
            self._fail(id, explained(error))
        else:
            self.count += 1

    def _fail(self, id: str, failed: CommandFailed | None) -> None:
        assert failed is not None
        state = failed.details.get("state")
        self.failed.append(NotDone(id, failed.word, state and str(state), failed.message, failed.advice))

    def _stopped(self, word: str, what: str, total: int, code: int = 1) -> CommandFailed:
        left = total - self.count - len(self.failed)
        return CommandFailed(
            word,
            f"{what}: {self.summary}, {left} were not tried.",
            code=code,
            advice="The same command goes on with what is left.",
            **self._document(),
        )

    @property
    def summary(self) -> str:
        return f"{self.count} {self._done}" + (f", {len(self.failed)} not" if self.failed else "")

    def _document(self) -> dict[str, Any]:
        return {
            self._word: self.count,
            f"not_{self._word}": msgspec.to_builtins(self.failed[:MOST_IN_JSON]),
            "truncated": len(self.failed) > MOST_IN_JSON,
        }

    def show(self, out: Output) -> int:
        """Say what was done and what was not; returns the exit code."""
        out.document(self._document())
        out.say((self.summary, WARNING if self.failed else GOOD))
        for failure in self.failed[:MOST_LISTED]:
            out.say(("  ✗ ", BAD), failure.message)
        if len(self.failed) > MOST_LISTED:
            out.say(f"  … and {len(self.failed) - MOST_LISTED} more; --json lists up to {MOST_IN_JSON:,}")
        for advice in dict.fromkeys(failure.advice for failure in self.failed if failure.advice):
            out.say(("  → ", QUIET), advice)
        return 1 if self.failed else 0
