"""Scenes: where the protocol is tried. Few mails, few workers, few faults, and each scene is about something else."""

from dataclasses import dataclass, replace
from typing import Any, Literal

#: How a request may end. "lost" is the reply, after the whole body was written; "unsent" is the connection, before its
#: last byte; "retry" is 503 or 500, "limited" is 429 or a refusal of the account. SendGrid's word is taken for true:
#: what it answers with an error, it has not accepted.
ANSWERS = ("accepted", "rejected", "retry", "limited", "unsent", "lost_accepted", "lost")


@dataclass(frozen=True, slots=True)
class Scene:
    """The terms of the mails, and what may happen to them."""

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
    #: Each may happen once; one that stands here twice, twice. See `World` for what they are.
    faults: tuple[str, ...] = ()
    #: SendGrid tells of what it has accepted, at any time, any number of times.
    evidence: bool = True
    #: The mails' deadline may be over at any time.
    expires: bool = False
    #: Wake-ups are counted, and may be lost or doubled. Else a task may begin at any time, as if they always were.
    wake_ups: bool = False
    #: A mail that kills each worker that posts it.
    poison: int | None = None

    def but(self, **changes: Any) -> "Scene":
        return replace(self, **changes)


ONCE = ("kill", "pause", "no_reply")

#: Where the whole promise must hold. Together they try everything that may happen, each fault with each other.
SCENES = {
    "a single, hold": Scene("hold", answers=ANSWERS, faults=(*ONCE, *ONCE)),
    "a single, hold, its producer and its deadline": Scene(
        "hold", answers=ANSWERS, faults=(*ONCE, "abandon", "cancel"), expires=True
    ),
    "a single, resend": Scene("resend", answers=ANSWERS, faults=ONCE),
    "a single, resend, its producer and its deadline": Scene(
        "resend", answers=("accepted", "retry", "lost_accepted"), faults=("kill", "pause", "cancel"), expires=True
    ),
    "a single, resend, three workers": Scene(
        "resend", workers=3, answers=("accepted", "limited", "lost_accepted"), faults=(*ONCE, "pause")
    ),
    "a single, hold, messages out of order": Scene(
        "hold", answers=("accepted", "retry", "limited", "lost_accepted"), faults=(*ONCE, "delay")
    ),
    "a single, resend, messages out of order": Scene(
        "resend", answers=("accepted", "limited", "lost_accepted"), faults=("pause", "no_reply", "delay")
    ),
    "a single, wake-ups": Scene("resend", wake_ups=True, faults=("kill", "pause", "double"), evidence=False),
    "a single, Redis away": Scene("resend", faults=("away", "pause", "no_reply")),
    "rows, hold": Scene(
        "hold", batch=True, mails=2, window=2, answers=("accepted", "limited", "lost_accepted"), faults=("pause",)
    ),
    "rows, hold, replies lost": Scene(
        "hold", batch=True, mails=2, window=2, answers=("accepted", "limited"), faults=("pause", "no_reply")
    ),
    "rows, hold, one at a time": Scene(
        "hold", batch=True, mails=2, answers=("accepted", "limited", "lost_accepted"), faults=("kill", "no_reply")
    ),
    "rows, resend": Scene("resend", batch=True, mails=2, window=2, answers=("accepted", "lost_accepted"), faults=()),
    "rows, resend, workers killed": Scene(
        "resend", batch=True, mails=2, window=2, answers=("accepted",), faults=("kill", "no_reply"), evidence=False
    ),
    "rows, wake-ups": Scene(
        "hold", batch=True, mails=2, answers=("accepted",), wake_ups=True, faults=("kill", "no_reply"), evidence=False
    ),
    "rows, wake-ups, retries": Scene("hold", batch=True, mails=2, answers=("accepted", "retry"), wake_ups=True),
    "rows, one kills its workers": Scene("resend", batch=True, mails=3, window=3, answers=("accepted",), poison=0),
}

#: Too large for every day.
DEEP = {
    "a single, resend, everything twice": Scene(
        "resend", answers=ANSWERS, faults=(*ONCE, *ONCE, "abandon", "cancel", "delay"), expires=True
    ),
    "rows, hold": Scene(
        "hold",
        batch=True,
        mails=2,
        window=2,
        answers=("accepted", "limited", "lost_accepted"),
        faults=(*ONCE, "delay"),
    ),
    "rows, resend": Scene(
        "resend",
        batch=True,
        mails=2,
        window=2,
        answers=("accepted", "limited", "lost_accepted"),
        faults=("kill", "no_reply"),
        evidence=False,
    ),
    "rows, wake-ups, three workers": Scene(
        "resend",
        batch=True,
        mails=2,
        workers=3,
        answers=("accepted", "limited", "lost"),
        wake_ups=True,
        faults=("kill", "no_reply", "double"),
        evidence=False,
    ),
}

#: Where the model and the ledger in Redis walk side by side.
OFTEN = (*ONCE, "abandon", "cancel", "delay") * 2
WALKS = (
    Scene("hold", answers=ANSWERS, faults=OFTEN, expires=True),
    Scene("resend", answers=ANSWERS, faults=OFTEN, expires=True),
    Scene("hold", batch=True, mails=2, window=2, answers=ANSWERS, faults=OFTEN, expires=True),
    Scene("resend", batch=True, mails=3, window=2, workers=3, answers=ANSWERS, faults=OFTEN),
    Scene("resend", batch=True, mails=3, window=2, answers=ANSWERS, faults=(*OFTEN, "double"), wake_ups=True),
)
