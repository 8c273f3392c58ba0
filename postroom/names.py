"""The words that both sides of Redis share: lanes, states and tasks."""

from enum import StrEnum


class Lane(StrEnum):
    """A queue. In `TRANSACTIONAL` a person is waiting."""

    TRANSACTIONAL = "transactional"
    BULK = "bulk"


class State(StrEnum):
    """Where a mail stands. It is in exactly one of these at any time."""

    QUEUED = "queued"
    SENDING = "sending"
    IN_DOUBT = "in_doubt"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNRESOLVED = "unresolved"


#: The states that a mail does not leave by itself.
FINISHED = (
    State.ACCEPTED,
    State.REJECTED,
    State.EXHAUSTED,
    State.EXPIRED,
    State.CANCELLED,
    State.UNRESOLVED,
)


class OnDoubt(StrEnum):
    """What to do with a mail that SendGrid may or may not have accepted, once the grace is over."""

    RESEND = "resend"
    HOLD = "hold"


DRAIN = "postroom.drain"
DELIVER = "postroom.deliver"
REPORT = "postroom.report"
