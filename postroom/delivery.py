"""Delivery: what SendGrid has told of one recipient of a mail, after it had accepted the mail."""

import base64
import hashlib
from enum import StrEnum
from typing import Any

import msgspec


class DeliveryState(StrEnum):
    """How a delivery stands. The last four are ends; of two that are told, the one with the later time counts."""

    #: SendGrid has taken the mail and has not tried yet.
    PROCESSED = "processed"
    #: The recipient's server asked to try again later, and SendGrid does, for up to 72 hours.
    DEFERRED = "deferred"
    #: The recipient's server has it. Nobody can tell whether it is in the inbox.
    DELIVERED = "delivered"
    #: SendGrid has not tried: the address bounced before, has unsubscribed, and so on.
    DROPPED = "dropped"
    #: The recipient's server refused the mail, not the address: SendGrid sends to it again.
    BLOCKED = "blocked"
    #: The recipient's server refused the address for good.
    BOUNCED = "bounced"


class Mark(StrEnum):
    """What a recipient has said, whatever the state. Each is kept with the last time that it was told."""

    SPAM = "spam"
    UNSUBSCRIBED = "unsubscribed"
    RESUBSCRIBED = "resubscribed"


#: The states in the order of the ledger's ranks, from 1.
STATES = tuple(DeliveryState)
RANKS = {state: rank for rank, state in enumerate(STATES, start=1)}


class Delivery(msgspec.Struct, frozen=True):
    """How the delivery to one recipient stands.

    `recipient` is a hash (see `recipient_hash`): the ledger has no addresses. `at` is when SendGrid says that it was
    (Unix seconds); None if it only follows from something else (who reports spam has got it). `reason` is what the
    recipient's server answered, or why SendGrid dropped the mail; it may quote the address.
    """

    recipient: str
    state: DeliveryState
    at: int | None = None
    reason: str | None = None
    spam_report: bool = False
    unsubscribed: bool = False


class Deliveries(msgspec.Struct, frozen=True):
    """How many recipients of a batch stand where, by what SendGrid's events have told.

    The first six add up to the recipients that were told of. `spam_reports` and `unsubscribed` count among those.
    """

    processed: int = 0
    deferred: int = 0
    delivered: int = 0
    dropped: int = 0
    blocked: int = 0
    bounced: int = 0
    spam_reports: int = 0
    unsubscribed: int = 0


class _More(msgspec.Struct, frozen=True):
    reason: str | None = None
    spam: int = 0
    unsubscribed: int = 0
    resubscribed: int = 0


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """One recipient, as `postroom/lua/delivery.lua` keeps it."""

    rank: int
    at: int
    more: _More = _More()

    def as_delivery(self, recipient: str) -> Delivery:
        return Delivery(
            recipient=recipient,
            state=STATES[self.rank - 1],
            at=self.at or None,
            reason=self.more.reason,
            spam_report=self.more.spam > 0,
            unsubscribed=self.more.unsubscribed > 0 and self.more.unsubscribed >= self.more.resubscribed,
        )


class Told(msgspec.Struct, frozen=True, array_like=True):
    """One event, as the step `events` takes it.

    It proves that SendGrid has accepted the mail at this `row` of its chunk, under this `receipt` if it tells one.
    Without a `recipient` it tells nothing more. `at` and `marked_at` are Unix seconds; 0 is before all others.
    """

    row: int
    receipt: str
    recipient: str = ""
    rank: int = 0
    at: int = 0
    reason: str = ""
    mark: str = ""
    marked_at: int = 0


_kept = msgspec.msgpack.Decoder(dict[str, _Kept])


def decode_deliveries(packed: Any) -> list[Delivery]:
    """From the ledger's bytes; empty for a mail of which nothing was told."""
    if not packed:
        return []
    return [kept.as_delivery(recipient) for recipient, kept in sorted(_kept.decode(packed).items())]


def recipient_hash(mail_id: str, address: str) -> str:
    """What stands for a recipient: 8 characters of the SHA-256 of `ID ADDRESS` (in lower case), as base64url.

    The mail's id makes the same address another one in each mail, so nothing can be found out by comparing mails.
    """
    digest = hashlib.sha256(f"{mail_id} {address.lower()}".encode(errors="replace")).digest()
    return base64.urlsafe_b64encode(digest[:6]).decode()
