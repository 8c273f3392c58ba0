"""Evidence: what SendGrid's Event Webhook tells. Whatever happens to a mail there, SendGrid has accepted it before.

Each event has the mail's `postroom_id` (a custom argument) at its top level, and `sg_message_id`, which begins with the
receipt (https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event). Events come late, several times and
in any order; the absence of one proves nothing.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from postroom import ids
from postroom.delivery import RANKS, DeliveryState, Mark, Told, recipient_hash
from postroom.errors import InvalidEvents

#: The part of `sg_message_id` that SendGrid's machines have added to the receipt.
_ADDED = re.compile(r"\.(?:filter|recv).*", re.DOTALL)
#: A longer receipt is none.
_RECEIPT_LIMIT = 100
#: So much of a reason is kept (characters).
_REASON_LIMIT = 300
#: Later times are none (Unix seconds; the year 2106).
_TIME_LIMIT = 2**32

#: What an event says of a delivery. (A bounce of the type `blocked` is a state of its own.)
_STATES = {
    "processed": DeliveryState.PROCESSED,
    "deferred": DeliveryState.DEFERRED,
    "delivered": DeliveryState.DELIVERED,
    "dropped": DeliveryState.DROPPED,
    "bounce": DeliveryState.BOUNCED,
}
#: What a recipient does who has got the mail.
_DEEDS = {
    "open": "",
    "click": "",
    "spamreport": Mark.SPAM,
    "unsubscribe": Mark.UNSUBSCRIBED,
    "group_unsubscribe": Mark.UNSUBSCRIBED,
    "group_resubscribe": Mark.RESUBSCRIBED,
}

#: The body of a webhook request, or the events in it.
Events = bytes | str | Iterable[Any]


class News(NamedTuple):
    """What was told of a mail: its chunk, and the event. Two that tell the same are equal."""

    chunk: str
    told: Told


class Evidence(msgspec.Struct, frozen=True):
    """What was read: how many mails were proved to be accepted, and how many events were about other mail."""

    mails: int
    others: int


class Reading:
    """The events of one request, taken one after another."""

    def __init__(self) -> None:
        self._news: dict[News, None] = {}
        self._others = 0

    def take(self, event: object) -> None:
        news = news_of(event)
        if news is None:
            self._others += 1
        else:
            self._news[news] = None

    def news(self) -> list[News]:
        """Each once; mails of which something is told stand beside the others of their chunk."""
        return sorted(self._news, key=lambda news: news.chunk)

    def evidence(self) -> Evidence:
        return Evidence(len({(chunk, told.row) for chunk, told in self._news}), self._others)


def listed(events: Events) -> Iterable[Any]:
    """The events in what SendGrid has posted. Raises `InvalidEvents`."""
    if isinstance(events, (bytes, str)):
        try:
            events = msgspec.json.decode(events)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise InvalidEvents(f"the body is no JSON: {error}") from None
    if isinstance(events, (str, dict)) or not isinstance(events, Iterable):
        raise InvalidEvents("SendGrid posts an array of events, and this is none")
    return events


def news_of(event: object) -> News | None:
    """None for an event of other mail."""
    if not isinstance(event, dict):
        return None
    id = event.get("postroom_id")
    if not isinstance(id, str) or not ids.is_mail_id(id):
        return None
    place = ids.place_of(id)
    return News(place.chunk, Told(place.place, _receipt(event), *_delivery(id, event)))


def _receipt(event: dict[str, Any]) -> str:
    message_id = event.get("sg_message_id")
    receipt = _ADDED.sub("", message_id) if isinstance(message_id, str) else ""
    return receipt if receipt.isascii() and receipt.isprintable() and len(receipt) <= _RECEIPT_LIMIT else ""


def _delivery(id: str, event: dict[str, Any]) -> tuple[Any, ...]:
    """Recipient, rank, time, reason, mark and its time; nothing for an event that tells of no delivery."""
    address, at, what = event.get("email"), event.get("timestamp"), event.get("event")
    if not isinstance(address, str) or not isinstance(what, str) or type(at) is not int or not 0 < at < _TIME_LIMIT:
        return ()
    if what in _STATES:
        is_block = what == "bounce" and event.get("type") == "blocked"
        state = DeliveryState.BLOCKED if is_block else _STATES[what]
        return recipient_hash(id, address), RANKS[state], at, _reason(event, state)
    if what in _DEEDS:
        mark = _DEEDS[what]
        return recipient_hash(id, address), RANKS[DeliveryState.DELIVERED], 0, "", mark, at if mark else 0
    return ()


def _reason(event: dict[str, Any], state: DeliveryState) -> str:
    """Why a delivery has not come about: what the recipient's server answered, or what SendGrid says."""
    reason = event.get("response" if state is DeliveryState.DEFERRED else "reason")
    if state in (DeliveryState.PROCESSED, DeliveryState.DELIVERED) or not isinstance(reason, str):
        return ""
    return reason[:_REASON_LIMIT].encode(errors="replace").decode()
