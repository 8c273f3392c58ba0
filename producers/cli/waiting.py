"""Waiting: until a mail or a batch is finished, through an outage of Redis, with a word when nothing moves."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from postroom.connection import Unreachable
from postroom.errors import QueueUnavailable
from postroom.names import FINISHED
from postroom.settings import Settings
from producers.cli.failure import CommandFailed
from producers.cli.fleet import START_A_WORKER, Fleet
from producers.cli.interruption import Interrupted, Interruption
from producers.cli.progress import Display
from producers.client import Postroom

if TYPE_CHECKING:
    from postroom.answers import MailStatus
    from producers.results import Progress

T = TypeVar("T")

#: Between two looks, seconds; the first is short, for a mail that is sent at once.
FIRST_LOOK, LAST_LOOK = 0.05, 0.5
#: So long (seconds) Redis may be away before waiting is given up.
PATIENCE = 60.0
#: When nothing has moved for so long (seconds), look for the reason.
STANDSTILL = 5.0


@dataclass(frozen=True, slots=True)
class Subject(Generic[T]):
    """What is waited for, by its `id`.

    `look` may raise `QueueUnavailable`; `mark` changes as it comes closer to its end; `words` says where it stands;
    `command` is the one that shows it later.
    """

    id: str
    command: str
    look: Callable[[], T]
    is_over: Callable[[T], bool]
    mark: Callable[[T], object]
    words: Callable[[T], str]


def mail(postroom: Postroom, id: str) -> "Subject[MailStatus]":
    return Subject(
        id,
        "status",
        look=lambda: postroom.status(id),
        is_over=lambda status: status.state in FINISHED,
        mark=lambda status: status.state in FINISHED,
        words=lambda status: f"The mail is {status.state}.",
    )


def batch(postroom: Postroom, id: str, shown: Display) -> "Subject[Progress]":
    """A batch that was just enqueued; `shown` is told how far it is."""
    shown.begin()

    def look() -> "Progress":
        progress = postroom.progress(id)
        shown.sent(progress)
        return progress

    return Subject(
        id,
        "report",
        look=look,
        is_over=lambda progress: progress.is_final,
        mark=lambda progress: progress.finished,
        words=lambda progress: (
            f"{progress.finished} of {progress.total} mails are finished, {progress.accepted} of them accepted."
        ),
    )


class Waiting(Generic[T]):
    """Looks at a subject again and again, a little less often each time."""

    def __init__(self, subject: Subject[T], settings: Settings, shown: Display, interruption: Interruption) -> None:
        self._subject = subject
        self._shown = shown
        self._interruption = interruption
        self._standstill = _Standstill(settings, shown)
        self._away_since: float | None = None
        self._seen: T | None = None

    def until_over(self, seconds: float) -> T:
        """What is seen when it is over. Raises `CommandFailed` when the time is up, or when interrupted."""
        give_up = time.monotonic() + seconds
        pause = FIRST_LOOK
        while True:
            seen = self._look()
            if seen is not None and self._subject.is_over(seen):
                return seen
            if (left := give_up - time.monotonic()) <= 0:
                raise self._ended("timeout", "The time is up.")
            self._pause(min(pause, left))
            pause = min(LAST_LOOK, pause * 1.5)

    def _look(self) -> T | None:
        """What is seen; None while Redis is away."""
        try:
            self._seen = self._subject.look()
        except QueueUnavailable as error:
            self._bear(error)
            return None
        self._away_since = None
        self._standstill.saw(self._subject.mark(self._seen))
        return self._seen

    def _bear(self, error: QueueUnavailable) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._shown.note(f"Redis does not answer ({error.detail}); still trying.")
        if time.monotonic() - self._away_since > PATIENCE:
            raise self._ended("queue_unavailable", f"Redis has been away for {PATIENCE:g} s.") from None

    def _pause(self, seconds: float) -> None:
        try:
            self._interruption.pause(seconds)
        except Interrupted as interrupted:
            raise self._ended("interrupted", "No longer waiting.", interrupted.code) from None

    def _ended(self, word: str, what: str, code: int = 1) -> CommandFailed:
        where = "" if self._seen is None else f" {self._subject.words(self._seen)}"
        id = self._subject.id
        return CommandFailed(
            word,
            f"{what}{where} Sending goes on without this command.",
            code=code,
            advice=f"See it later: postroom {self._subject.command} {id}. Stop what is left: postroom cancel {id}",
            id=id,
            seen=self._seen,
        )


class _Standstill:
    """Looks for the reason when nothing moves, and says it once."""

    def __init__(self, settings: Settings, shown: Display) -> None:
        self._settings = settings
        self._shown = shown
        self._mark: object = None
        self._since = time.monotonic()
        self._said = False

    def saw(self, mark: object) -> None:
        now = time.monotonic()
        if mark != self._mark:
            self._mark, self._since = mark, now
        elif not self._said and now - self._since > STANDSTILL:
            self._since = now
            with suppress(Unreachable):
                self._say(self._reasons())

    def _reasons(self) -> list[str]:
        with Fleet(self._settings) as fleet:
            if not fleet.alive():
                return [f"No worker is alive, so nothing is sent. Start one: {START_A_WORKER}"]
            return [f"The account {name} is paused: {why}." for name, why in fleet.pauses().items()]

    def _say(self, reasons: list[str]) -> None:
        for reason in reasons:
            self._shown.note(reason)
            self._said = True
