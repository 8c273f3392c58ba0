"""Outcome: what one attempt at sending one mail came to. Values, not exceptions."""

from enum import StrEnum
from typing import Any

import msgspec


class Kind(StrEnum):
    """What the ledger does with the mail of this attempt."""

    #: SendGrid answered 202 with a receipt (200 for a mail in SendGrid's sandbox mode).
    ACCEPTED = "accepted"
    #: SendGrid refused the mail for good.
    REJECTED = "rejected"
    #: SendGrid did not take it, and may later: try again after a backoff; uses an attempt.
    RETRY = "retry"
    #: 503: as RETRY, but five in a row, fleet-wide, pause the account.
    UNAVAILABLE = "unavailable"
    #: Provably never got to SendGrid: try again; uses no attempt. Five in a row pause the account.
    UNSENT = "unsent"
    #: 429: everybody waits `wait_seconds`; uses no attempt.
    LIMITED = "limited"
    #: 401, or 403 that is not about the sender: the account is at fault, not the mail; uses no attempt.
    REFUSED = "refused"
    #: SendGrid may or may not have accepted it.
    DOUBT = "doubt"
    #: The attempt was never started: back to the queue as if never claimed.
    RELEASED = "released"


class Outcome(msgspec.Struct, frozen=True):
    """What one attempt came to.

    `reason` is a word for machines and logs, never quoting the mail: `http_400`, `timeout`, `connection_reset`.
    `errors` is SendGrid's own list (it may quote addresses, so it stays in the ledger); `receipt` its `X-Message-Id`;
    `wait_seconds` how long SendGrid asked to wait.
    """

    kind: Kind
    reason: str | None = None
    receipt: str | None = None
    errors: list[dict[str, Any]] | None = None
    wait_seconds: float | None = None
