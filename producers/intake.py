"""Intake: from what the caller hands over to the bytes that go on the wire, checked."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from postroom import mail as mails
from postroom.errors import Fault, InvalidMail, shown
from postroom.mail import MailLike
from postroom.names import Lane, OnDoubt
from postroom.settings import Settings
from postroom.terms import Terms

T = TypeVar("T")


class Taken(NamedTuple):
    """A mail's body as it goes on the wire (of a merged one, its personalization), and how many recipients it has.

    `digest` is that of what the caller handed over (empty unless asked for).
    """

    body: bytes
    digest: bytes
    recipients: int


def terms(
    settings: Settings,
    *,
    lane: Lane | str,
    expires_in: float | None,
    send_at: float | datetime | None,
    on_doubt: OnDoubt | str,
) -> Terms:
    """Check the arguments of an enqueue. Raises `ValueError`, saying what they may be."""
    try:
        lane = Lane(lane)
    except ValueError:
        raise ValueError(f"lane must be 'transactional' or 'bulk', not {shown(lane)}") from None
    try:
        policy = OnDoubt(on_doubt)
    except ValueError:
        raise ValueError(f"on_doubt must be 'resend' or 'hold', not {shown(on_doubt)}") from None
    if expires_in is None:
        expires_in = settings.expires_in(lane)
    if not _is_number(expires_in) or not 0 < expires_in < 10 * 366 * 86_400:
        raise ValueError(f"expires_in is in seconds, more than 0 and less than ten years, not {shown(expires_in)}")
    return Terms(lane, policy, float(expires_in), _unix_seconds(send_at))


def iterator_of(items: Iterable[T], noun: str = "mails") -> Iterator[T]:
    """Raises `TypeError` for what cannot be gone through, and for one item in place of many."""
    if not isinstance(items, Iterable) or isinstance(items, (str, bytes, dict)):
        raise TypeError(f"{noun} must be an iterable of {noun}, not {shown(items)}; for one mail there is enqueue")
    return iter(items)


def _unix_seconds(send_at: float | datetime | None) -> float | None:
    if send_at is None:
        return None
    if isinstance(send_at, datetime):
        if send_at.tzinfo is None:
            raise ValueError("send_at has no time zone; use datetime.now(UTC) and its like, or Unix seconds")
        send_at = send_at.timestamp()
    if not _is_number(send_at) or not 0 < send_at < 10**11:
        raise ValueError(f"send_at is in Unix seconds, or a datetime, not {shown(send_at)}")
    return float(send_at)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def fingerprint(digest: bytes, terms: Terms) -> str:
    """What a key stands for: the mail (or nothing yet, for a batch) and its terms."""
    text = f"{terms.lane}|{terms.policy}|{terms.expires_in!r}|{terms.send_at!r}"
    return hashlib.sha256(digest + text.encode()).hexdigest()


def hashed(key: str | None) -> str | None:
    """A key as Redis sees it. Raises `ValueError` for an empty one."""
    if key is None:
        return None
    if not isinstance(key, str) or not key:
        raise ValueError("key must be a string that is not empty")
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def faults_of_site(body: dict[str, Any], terms: Terms, domains: frozenset[str] | None) -> list[Fault]:
    """What SendGrid would take, but not this site's settings, or the arguments of this call."""
    faults = mails.domain_faults(body, domains) if domains else []
    if terms.send_at is not None and "send_at" in body:
        faults.append(Fault("send_at", "give send_at in the mail or as an argument of enqueue, not both"))
    return faults


class Intake:
    """Checks mails under one set of settings."""

    def __init__(self, settings: Settings) -> None:
        self._redirect_to = settings.redirect_to
        self._domains = settings.domains

    def take(self, mail: MailLike, id: str, *, terms: Terms, digest: bool = False) -> Taken:
        """Raises `InvalidMail` with all faults."""
        body = mails.load(mail)
        if not (digest or self._redirect_to or self._domains or terms.send_at):
            return Taken(mails.prepare_body(body, id, now=time.time()), b"", mails.count_recipients(body))
        canonical = hashlib.sha256(mails.canonical(body)).digest() if digest else b""
        self._check(body, terms)
        if self._redirect_to:
            body = mails.redirect(body, self._redirect_to)
        return Taken(mails.wire(body, id), canonical, mails.count_recipients(body))

    def _check(self, body: dict[str, Any], terms: Terms) -> None:
        domains = None if self._redirect_to else self._domains
        if faults := [*mails.faults(body, now=time.time()), *faults_of_site(body, terms, domains)]:
            raise InvalidMail(faults)
