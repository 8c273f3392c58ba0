"""Rule: one fault, and which mails it strikes."""

from enum import StrEnum
from typing import Annotated

import msgspec


class Kind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    LIMITED = "limited"
    STATUS = "status"
    REJECTED = "rejected"
    SENDER = "sender"
    HANG = "hang"
    RESET = "reset"
    RESET_EARLY = "reset_early"
    ACCEPT_THEN_STATUS = "accept_then_status"
    ACCEPT_THEN_HANG = "accept_then_hang"
    ACCEPT_THEN_RESET = "accept_then_reset"
    ACCEPT_THEN_CLOSE = "accept_then_close"
    NO_RECEIPT = "no_receipt"
    DRIP = "drip"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    HUGE = "huge"


MEANINGS = {
    Kind.LATENCY: "Accepts and answers late, by `latency` seconds, even if the client has left. Any other fault can "
    "have a latency, too.",
    Kind.LIMITED: "429 with X-RateLimit headers; the limit ends after `reset_after` seconds.",
    Kind.STATUS: "Answers `status`: 302 (to another host, `location`), 401, 403, 413, 500, 502, 503 or 504.",
    Kind.REJECTED: "400 with an error text that quotes the address.",
    Kind.SENDER: "403 because the From address is no verified sender.",
    Kind.HANG: "Reads the request and never answers.",
    Kind.RESET: "Reads the request, then breaks the connection off (RST).",
    Kind.RESET_EARLY: "Breaks the connection off (RST) before it reads the body. At run time only, without `match`: "
    "the addresses are in the body.",
    Kind.ACCEPT_THEN_STATUS: "Accepts, then answers `status` all the same.",
    Kind.ACCEPT_THEN_HANG: "Accepts and never answers.",
    Kind.ACCEPT_THEN_RESET: "Accepts, then breaks the connection off (RST).",
    Kind.ACCEPT_THEN_CLOSE: "Accepts, then closes the connection without a reply.",
    Kind.NO_RECEIPT: "Accepts and answers 202, but without X-Message-Id.",
    Kind.DRIP: "Accepts and replies one byte each `interval` seconds, for ever.",
    Kind.GARBAGE: "Accepts and replies with something that is not HTTP.",
    Kind.TRUNCATED: "Accepts and replies 202, but closes before the announced end of the body.",
    Kind.HUGE: "Accepts and replies 202 with a body that has no end.",
}

#: The faults that strike once the mail is accepted.
ACCEPTING = frozenset(
    {
        Kind.ACCEPT_THEN_STATUS,
        Kind.ACCEPT_THEN_HANG,
        Kind.ACCEPT_THEN_RESET,
        Kind.ACCEPT_THEN_CLOSE,
        Kind.NO_RECEIPT,
        Kind.DRIP,
        Kind.GARBAGE,
        Kind.TRUNCATED,
        Kind.HUGE,
    }
)

STATUSES = (302, 401, 403, 413, 500, 502, 503, 504)

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault, and which mails it strikes. As JSON it is one rule of `PUT /api/faults`.

    Raises `ValueError` when a field is missing that the fault needs, or one is there that makes no sense with it.
    """

    fault: Kind
    #: Strikes mails with a recipient that contains this (any letter case); None: all.
    match: str | None = None
    #: How many requests of one mail it strikes before it goes well; None: always.
    times: Count | None = None
    #: How many requests it strikes in all; None: no limit.
    at_most: Count | None = None
    #: The chance that it strikes a request.
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    #: Seconds to wait before anything happens.
    latency: Seconds = 0.0
    #: For `status` and `accept_then_status`.
    status: int | None = None
    #: The error's text, in place of SendGrid's usual one for this status.
    message: str | None = None
    #: For 302: where to.
    location: str = "http://elsewhere.sandbox.test/v3/mail/send"
    #: For `limited`: seconds until X-RateLimit-Reset.
    reset_after: Seconds = 1.0
    #: For `drip`: seconds between bytes.
    interval: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    def __post_init__(self) -> None:
        if self.fault in (Kind.STATUS, Kind.ACCEPT_THEN_STATUS):
            if self.status not in STATUSES:
                raise ValueError(f"the fault `{self.fault}` needs a `status`, one of {', '.join(map(str, STATUSES))}")
        elif self.status is not None:
            raise ValueError(f"the fault `{self.fault}` has no `status`")
        if self.fault is Kind.RESET_EARLY and self.match is not None:
            raise ValueError("`reset_early` strikes before the recipients are known, so it cannot have a `match`")
        if self.fault is Kind.LATENCY and self.latency == 0:
            raise ValueError("the fault `latency` needs a `latency` in seconds")
