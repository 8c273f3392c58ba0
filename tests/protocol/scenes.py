"""Scenes: where the protocol is tried. Few mails, few workers, few faults, and each scene about something else."""

from dataclasses import dataclass, replace
from typing import Any, Literal

#: What SendGrid answers: accepted with a receipt; refused for good; 503; 429; the connection lost before the last byte
#: of the body was written; accepted but the reply lost; lost without being accepted.
ANSWERS = ("accepted", "rejected", "retry", "limited", "unsent", "lost_accepted", "lost")


@dataclass(frozen=True, slots=True)
class Scene:
    policy: Literal["hold", "resend"]
    #: Rows of one chunk of a batch, or else singles of one lane.
    batch: bool = False
    mails: int = 1
    #: How many mails a claim takes.
    window: int = 1
    #: Tries at sending one mail.
    attempts: int = 3
    workers: int = 2
    answers: tuple[str, ...] = ("accepted", "lost_accepted", "lost")
    #: Each may happen once, and one that stands here twice, twice.
    faults: tuple[str, ...] = ()
    #: SendGrid tells of what it has accepted, at any time, any number of times.
    evidence: bool = True
    #: The mails' deadline may be over at any time.
    expires: bool = False
    #: Wake-ups are counted, may be lost, and may be doubled. Else a task may begin at any time.
    wake_ups: bool = False
    #: A mail that kills whatever worker posts it.
    poison: int | None = None

    def but(self, **changes: Any) -> "Scene":
        return replace(self, **changes)
