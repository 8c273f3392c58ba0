"""Terms: how a mail or a batch is to be sent."""

from typing import NamedTuple

from postroom.names import Lane, OnDoubt


class Terms(NamedTuple):
    """What the caller asked for, with the defaults filled in. Times are seconds; `send_at` is Unix time, or None."""

    lane: Lane
    policy: OnDoubt
    expires_in: float
    send_at: float | None
