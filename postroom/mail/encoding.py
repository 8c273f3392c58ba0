"""Encoding: a body as the bytes that go on the wire, and as the bytes that tell one body from another."""

from typing import Any

import msgspec

from postroom.errors import Fault, InvalidMail
from postroom.mail.limits import STRINGS_BYTES
from postroom.mail.recipients import personalizations
from postroom.mail.rules import oversized_args
from postroom.mail.source import check_size

#: The custom argument by which SendGrid's events tell whose mail they are about.
ID = "postroom_id"

encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def wire(body: dict[str, Any], postroom_id: str) -> bytes:
    """The body as JSON, with `custom_args.postroom_id` added to what `custom_args` it has.

    Raises `InvalidMail` if it has a `postroom_id` of its own already, if its `custom_args` come to more than 10,000
    bytes for a personalization, ours included, and if it comes to more than 30 MB in all.
    """
    if found := own_ids(body):
        raise InvalidMail(found)
    return marked(body, postroom_id)


def marked(body: dict[str, Any], postroom_id: str) -> bytes:
    """`wire`, of a body that is known to have no `postroom_id` of its own."""
    whole = {**body, "custom_args": {**(body.get("custom_args") or {}), ID: postroom_id}}
    encoded = encode(whole)
    if len(encoded) > STRINGS_BYTES and (found := list(oversized_args(whole))):
        raise InvalidMail(found)
    check_size(len(encoded))
    return encoded


def own_ids(body: dict[str, Any]) -> list[Fault]:
    """Where a body has a `postroom_id` of its own. That of a personalization would take the place of ours."""
    found = _own_id("custom_args", body)
    for number, personalization in personalizations(body):
        if "custom_args" in personalization:
            found += _own_id(f"personalizations.{number}.custom_args", personalization)
    return found


def _own_id(field: str, holder: dict[str, Any]) -> list[Fault]:
    args = holder.get("custom_args")
    if not isinstance(args, dict) or ID not in args:
        return []
    return [Fault(f"{field}.{ID}", "This custom argument is Postroom's own: use another name.")]


def canonical(body: dict[str, Any]) -> bytes:
    """The same bytes for equal bodies, whatever the order of their names: for fingerprints."""
    return _encode_sorted(body)
