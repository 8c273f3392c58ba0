"""Classify: what a reply means for the mail. Pure, but for a line in the log when the settings must be wrong.

| reply | outcome |
| --- | --- |
| 202 with a receipt; 200 for a mail in SendGrid's sandbox mode | accepted (and if no more are allowed: limited) |
| 400 404 405 406 413 415 451 and other 4xx; 403 about the From address | rejected, with SendGrid's errors |
| 401 402 407, other 403 | refused: the account, not the mail (401 is also SendGrid's word for a used-up quota) |
| 429 | limited |
| 408 425 500, 3xx | retry |
| 503 | unavailable |
| 502 504 and other 5xx; 2xx without a receipt; lost; anything else | doubt |
| unsent | unsent |
| not started | released |

A 4xx that nobody has seen yet is read like 400, as RFC 9110, section 15, has it. A 5xx is not read like 500: it may
come from a proxy that had passed the mail on.
"""

import logging
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from postroom.outcome import Kind, Outcome
from worker.reply import Fate, Reply

#: No longer wait is believed (seconds); SendGrid's limits are per minute or shorter.
LONGEST_WAIT = 3600.0
#: A limit that is over by now still holds back so long (seconds).
SHORTEST_WAIT = 1.0
#: How much of SendGrid's errors is kept.
ERRORS_LIMIT = 20
ERRORS_BYTES_LIMIT = 4096
_TEXT_BYTES_LIMIT = 1000
_ERROR_FIELDS = ("message", "field", "help", "error_id")

#: A number above this is a time since 1970, not a number of seconds to wait.
_EPOCH = 1_000_000_000

_KINDS = {
    200: Kind.DOUBT,
    401: Kind.REFUSED,
    402: Kind.REFUSED,
    407: Kind.REFUSED,
    408: Kind.RETRY,
    425: Kind.RETRY,
    429: Kind.LIMITED,
    500: Kind.RETRY,
    503: Kind.UNAVAILABLE,
}

logger = logging.getLogger(__name__)


def classify(reply: Reply, *, sandbox_mode: bool, now: float) -> Outcome:
    """The outcome of the attempt that got this reply.

    `sandbox_mode` is `asks_for_sandbox(body)`, asked of the mail that was sent; it matters for status 200 only. `now`
    is the time in seconds since 1970.
    """
    if reply.fate is Fate.ANSWERED:
        return _answered(reply, sandbox_mode, now)
    if reply.fate is Fate.UNSENT:
        return Outcome(Kind.UNSENT, reply.reason)
    if reply.fate is Fate.LOST:
        return Outcome(Kind.DOUBT, reply.reason)
    return Outcome(Kind.RELEASED, reply.reason)


def asks_for_sandbox(body: bytes) -> bool:
    """Whether a mail asks SendGrid to check it and not to send it, which is answered with 200 and no receipt."""
    if b'"sandbox_mode"' not in body:
        return False
    mail = _json(body)
    for name in ("mail_settings", "sandbox_mode", "enable"):
        mail = mail.get(name) if isinstance(mail, dict) else None
    return mail is True


def _answered(reply: Reply, sandbox_mode: bool, now: float) -> Outcome:
    status, reason = reply.status, f"http_{reply.status}"
    if status == 202 and reply.receipt:
        return Outcome(Kind.ACCEPTED, receipt=reply.receipt, wait_seconds=_used_up(reply, now))
    if status == 202:
        return Outcome(Kind.DOUBT, "no_receipt")
    if status == 200 and sandbox_mode:
        return Outcome(Kind.ACCEPTED, receipt=reply.receipt)
    if 300 <= status < 400:
        logger.error("SendGrid's address answered %d: check POSTROOM_SENDGRID_URL, redirects are not followed", status)
        return Outcome(Kind.RETRY, reason)
    errors = sendgrid_errors(reply.body) if 400 <= status < 600 else None
    kind = _kind(status, errors)
    wait = wait_seconds(reply, now) if kind in (Kind.LIMITED, Kind.UNAVAILABLE) else None
    return Outcome(kind, reason, None, errors, wait)


def _used_up(reply: Reply, now: float) -> float | None:
    """How long to wait after a mail that was accepted, and was the last one that the limit allows; None: go on."""
    if b"x-ratelimit-remaining: 0" not in reply.head.lower() or reply.field("X-RateLimit-Remaining") != "0":
        return None
    return wait_seconds(reply, now)


def _kind(status: int, errors: list[dict[str, Any]] | None) -> Kind:
    if status == 403:
        return Kind.REJECTED if _about_sender(errors or []) else Kind.REFUSED
    return _KINDS.get(status, Kind.REJECTED if 400 <= status < 500 else Kind.DOUBT)


def _about_sender(errors: list[dict[str, Any]]) -> bool:
    """Whether SendGrid objects to the From address: "The from address does not match a verified Sender Identity. …"."""
    return any(
        (error.get("field") or "").split(".")[0] == "from" or "from address" in (error.get("message") or "").lower()
        for error in errors
    )


def sendgrid_errors(body: bytes) -> list[dict[str, Any]] | None:
    """The `errors` of a reply, as `[{"message", "field", "help"}, …]`, texts or None each; None for an empty body.

    At most 20 errors and 4 kB. A body that is not SendGrid's JSON (a proxy's page) becomes one error with its start
    as the message.
    """
    if not body.strip():
        return None
    answer = _json(body)
    found = answer.get("errors") if isinstance(answer, dict) else None
    errors = [_error(each) for each in found] if isinstance(found, list) else []
    return _bounded([error for error in errors if any(error.values())] or [_error(body.decode("utf-8", "replace"))])


def _error(found: object) -> dict[str, str | None]:
    """One error, reduced to the fields that SendGrid documents; empty if it has none of them."""
    fields = found if isinstance(found, dict) else {"message": found}
    kept = {name: fields[name] for name in _ERROR_FIELDS if name in fields}
    return {name: _cut(value) for name, value in kept.items() if value is None or isinstance(value, str)}


def _cut(text: str | None) -> str | None:
    return text and text.encode("utf-8", "replace")[:_TEXT_BYTES_LIMIT].decode("utf-8", "ignore")


def _bounded(errors: list[dict[str, str | None]]) -> list[dict[str, Any]]:
    """As many of the first as the limits allow."""
    kept: list[dict[str, Any]] = []
    size_bytes = 0
    for error in errors[:ERRORS_LIMIT]:
        size_bytes += sum(len((text or "").encode()) for text in error.values())
        if size_bytes > ERRORS_BYTES_LIMIT:
            break
        kept.append(error)
    return kept


def wait_seconds(reply: Reply, now: float) -> float | None:
    """How long a 429 or 503 asks to wait, from 1 second to an hour; None if it does not say.

    `X-RateLimit-Reset` is a time in seconds since 1970 (a small number is read as seconds to wait); it is compared
    with the reply's own `Date`, so that a wrong clock here does no harm. `Retry-After` is seconds or a date.
    """
    now = _date(reply.field("Date")) or now
    for text in (reply.field("X-RateLimit-Reset"), reply.field("Retry-After")):
        moment = _number(text) if text and text.isascii() and text.isdigit() else _date(text)
        if moment is not None:
            wait = moment - now if moment > _EPOCH else moment
            return min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)
    return None


def _number(digits: str) -> float:
    return float(digits[:16])


def _date(text: str | None) -> float | None:
    """An HTTP date in seconds since 1970, or None for anything else."""
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None


def _json(body: bytes) -> Any:
    """What JSON says, or None if it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
