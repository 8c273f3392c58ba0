"""Evidence: what SendGrid's Event Webhook proves. Whatever happens to a mail there, SendGrid has accepted it before.

Each event has the mail's `postroom_id` (a custom argument) at its top level, and `sg_message_id`, which begins with the
receipt (https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event). Events come late, several times and
in any order; the absence of one proves nothing.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from postroom import ids
from postroom.errors import InvalidEvents

#: The part of `sg_message_id` that SendGrid's machines have added to the receipt.
_ADDED = re.compile(r"\.(?:filter|recv).*", re.DOTALL)
#: A longer receipt is none.
_RECEIPT_LIMIT = 100

#: The body of a webhook request, or the events in it.
Events = bytes | str | Iterable[Any]


class Proof(NamedTuple):
    """SendGrid has accepted this mail; `receipt` is empty where the event does not tell it."""

    id: str
    receipt: str


class Evidence(msgspec.Struct, frozen=True):
    """What was read: how many mails were proved to be accepted, and how many events were about other mail."""

    mails: int
    others: int


def proofs_in(events: Events) -> tuple[list[Proof], int]:
    """Each proof once, and how many events tell of no mail of Postroom's. Raises `InvalidEvents`."""
    proofs: dict[Proof, None] = {}
    others = 0
    for event in _listed(events):
        proof = _proof(event)
        if proof is None:
            others += 1
        else:
            proofs[proof] = None
    return list(proofs), others


def _listed(events: Events) -> Iterable[Any]:
    if isinstance(events, (bytes, str)):
        try:
            events = msgspec.json.decode(events)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InvalidEvents(f"the body is no JSON: {error}") from None
    if isinstance(events, dict) or not isinstance(events, Iterable):
        raise InvalidEvents("SendGrid posts an array of events, and this is none")
    return events


def _proof(event: object) -> Proof | None:
    if not isinstance(event, dict):
        return None
    id, message_id = event.get("postroom_id"), event.get("sg_message_id")
    if not isinstance(id, str) or not ids.is_mail_id(id):
        return None
    receipt = _ADDED.sub("", message_id) if isinstance(message_id, str) else ""
    is_receipt = receipt.isascii() and receipt.isprintable() and len(receipt) <= _RECEIPT_LIMIT
    return Proof(id, receipt if is_receipt else "")
