"""Event: what SendGrid tells of a mail that it has accepted, a recipient at a time.

An ordinary recipient gets the mail. An address asks for something else by its word, as `bounce+order-17@sandbox.test`
does (anything may stand behind a `+`): `FATES` has all the words.
"""

import base64
import re
import secrets
from collections.abc import Iterator
from typing import Any, NamedTuple

from sandbox.addresses import DOMAIN
from sandbox.mails import Mail

Event = dict[str, Any]


class Step(NamedTuple):
    """One event of a recipient's mail: its word, seconds after it was accepted, and fields of its own."""

    what: str
    after: int
    fields: Event


def _bounce(type: str, status: str, reason: str) -> Step:
    return Step("bounce", 2, {"type": type, "status": status, "reason": reason})


def _dropped(reason: str) -> Step:
    return Step("dropped", 0, {"reason": reason, "status": "5.0.0"})


PROCESSED = Step("processed", 0, {})
DELIVERED = Step("delivered", 1, {"response": "250 2.0.0 OK"})
DEFERRED = Step("deferred", 1, {"response": "451 4.7.1 Please try again later", "attempt": "1"})

ORDINARY = (PROCESSED, DELIVERED)

#: What the words ask for. `ADDRESS` in a text becomes the recipient's address: servers do quote it.
FATES: dict[str, tuple[Step, ...]] = {
    "bounce": (PROCESSED, _bounce("bounce", "5.1.1", "550 5.1.1 <ADDRESS>: no such user here")),
    "blocked": (PROCESSED, _bounce("blocked", "5.7.1", "550 5.7.1 Message refused: the sender has a bad reputation")),
    "dropped": (_dropped("Bounced Address"),),
    "deferred": (PROCESSED, DEFERRED, DELIVERED._replace(after=60)),
    "late-bounce": (*ORDINARY, _bounce("bounce", "5.2.2", "552 5.2.2 <ADDRESS>: mailbox is full")._replace(after=600)),
    "open": (*ORDINARY, Step("open", 60, {"useragent": "Mozilla/5.0", "ip": "192.0.2.1"})),
    "spamreport": (*ORDINARY, Step("spamreport", 120, {})),
    "unsubscribe": (*ORDINARY, Step("unsubscribe", 120, {})),
}

_ADDRESS = re.compile(rf"(?P<word>{'|'.join(FATES)})(\+.*)?" + re.escape(DOMAIN))


def fate_of(address: str) -> tuple[Step, ...]:
    """The events that an address asks for."""
    asked = _ADDRESS.fullmatch(address.lower())
    return FATES[asked["word"]] if asked else ORDINARY


def events_of(mail: Mail) -> Iterator[Event]:
    """All that SendGrid will ever tell of a mail, recipient by recipient, as it posts it."""
    body = mail.body()
    place = 0
    for personalization in body["personalizations"]:
        told = (body.get("custom_args") or {}) | (personalization.get("custom_args") or {})
        if categories := body.get("categories"):
            told["category"] = categories
        for field in ("to", "cc", "bcc"):
            for person in personalization.get(field) or ():
                for step in fate_of(person["email"]):
                    yield told | _event(mail, person["email"], place, step)
                place += 1


def _event(mail: Mail, address: str, place: int, step: Step) -> Event:
    own = {
        name: value.replace("ADDRESS", address) if isinstance(value, str) else value
        for name, value in step.fields.items()
    }
    return {
        "email": address.lower(),
        "timestamp": int(mail.time) + step.after,
        "smtp-id": f"<{mail.receipt}@geopod-ismtpd-1>",
        "event": step.what,
        "sg_event_id": base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="),
        "sg_message_id": f"{mail.receipt}.recvd-5f54b5d587-pczjm-1-67BADEEA-6.{place}",
        **own,
    }
