"""Senders: whom a mail says it is from. A key may send from its own domains only."""

from collections.abc import Iterator
from typing import Any

import msgspec

from postroom import mail as mails
from producers.gateway.answers import Error, Refused, errors
from producers.gateway.keys import ANY_DOMAIN, Key


class _Address(msgspec.Struct, gc=False):
    email: str


class _Personalization(msgspec.Struct, rename={"sender": "from"}, gc=False):
    sender: _Address | None = None


class _Mail(msgspec.Struct, rename={"sender": "from"}, gc=False):
    """What is looked at; msgspec passes over the rest without making objects of it."""

    sender: _Address
    personalizations: list[_Personalization]


_decode = msgspec.json.Decoder(_Mail).decode


def check(body: bytes, key: Key, row: int | None = None) -> None:
    """Raises `Refused` (403) for a mail from another domain, and `InvalidMail` for what is no JSON."""
    if ANY_DOMAIN in key.from_domains:
        return
    for field, address in _senders(body):
        if not key.allows(address):
            raise _forbidden(field, key, row)


def _senders(body: bytes) -> Iterator[tuple[str, str]]:
    try:
        mail = _decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        yield from _senders_of_any(mails.load(body))
        return
    yield "from", mail.sender.email
    for place, each in enumerate(mail.personalizations):
        if each.sender is not None:
            yield f"personalizations.{place}.from", each.sender.email


def _senders_of_any(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Of a body that may have any form. What is not of the right type is left to the rules of a mail."""
    holders: list[tuple[str, Any]] = [("from", body)]
    personalizations = body.get("personalizations")
    if isinstance(personalizations, list):
        holders += [(f"personalizations.{place}.from", each) for place, each in enumerate(personalizations)]
    for field, holder in holders:
        sender = holder.get("from") if isinstance(holder, dict) else None
        address = sender.get("email") if isinstance(sender, dict) else None
        if isinstance(address, str):
            yield field, address


def _forbidden(field: str, key: Key, row: int | None) -> Refused:
    entry = Error(
        "The from address is not of a domain that this key may send from.",
        field,
        f"It may send from {', '.join(key.from_domains)}. `postroom keys add --from-domain` makes a key for another.",
        msgspec.UNSET if row is None else row,
    )
    return Refused(errors(403, [entry]), "sender")
