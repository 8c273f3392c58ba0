"""Merging: a template, which is a body without personalizations, and its recipients, which are personalizations of it.

What SendGrid would refuse is found a part at a time: the template once, and each recipient beside the few fields of the
template that SendGrid takes together with a recipient's own.
"""

from collections.abc import Mapping
from typing import Any

from postroom.errors import Fault, InvalidMail
from postroom.mail.checks import fault
from postroom.mail.encoding import ID, encode, own_ids
from postroom.mail.limits import STRINGS_BYTES
from postroom.mail.rules import faults, oversized_args
from postroom.mail.source import MailLike, SupportsGet, load

#: An address; or a personalization: a `sendgrid.helpers.mail.Personalization`, a mapping, or JSON as bytes.
RecipientLike = str | Mapping[str, Any] | bytes | bytearray | memoryview | SupportsGet

#: Somebody whom every template is fit for, to check a template without its recipients.
_ANYBODY = {"to": [{"email": "anybody@example.com"}], "subject": "Any"}
_CONTENT = [{"type": "text/plain", "value": "Any"}]

_OWN_RECIPIENTS = "The recipients of a merge are given beside the template: leave the personalizations out."


def load_template(template: MailLike) -> dict[str, Any]:
    """The body of a template: a mail without personalizations. Raises `InvalidMail`."""
    body = load(template)
    if body.pop("personalizations", None):
        raise InvalidMail(fault(_OWN_RECIPIENTS, "personalizations"))
    return body


def template_faults(template: dict[str, Any], *, now: float) -> list[Fault]:
    """What SendGrid would refuse in a template, whoever the recipients are."""
    body = {**template, "personalizations": [_ANYBODY]}
    return [*faults(body, now=now), *own_ids(body)]


def load_recipient(recipient: RecipientLike) -> dict[str, Any]:
    """The personalization of a recipient. Raises `InvalidMail`."""
    if isinstance(recipient, str):
        return {"to": [{"email": recipient}]}
    if not (
        isinstance(recipient, (bytes, bytearray, memoryview, Mapping)) or callable(getattr(recipient, "get", None))
    ):
        kind = type(recipient).__name__
        raise InvalidMail(fault(f"A recipient is an address, a personalization or its JSON as bytes, not {kind}."))
    return load(recipient)


def shared_with_recipients(template: dict[str, Any]) -> dict[str, Any]:
    """The fields of a valid template that SendGrid takes together with those of a recipient."""
    names = ("from", "subject", "template_id", "custom_args")
    shared: dict[str, Any] = {name: template[name] for name in names if name in template}
    return shared if template.get("content") is None else {**shared, "content": _CONTENT}


def recipient_faults(personalization: dict[str, Any], shared: dict[str, Any], *, now: float) -> list[Fault]:
    """What SendGrid would refuse in a recipient of a template, of which `shared` are the fields that matter here.

    Paths are those of a mail to this recipient alone: `personalizations.0.to.0.email`.
    """
    body = {**shared, "personalizations": [personalization]}
    return [*faults(body, now=now), *own_ids(body)]


def marked_recipient(personalization: dict[str, Any], shared: dict[str, Any], postroom_id: str) -> bytes:
    """The bytes of a valid recipient for the wire, with `custom_args.postroom_id` added.

    Raises `InvalidMail` if its `custom_args`, with ours and those of the template, come to more than 10,000 bytes.
    """
    whole = {**personalization, "custom_args": {**(personalization.get("custom_args") or {}), ID: postroom_id}}
    encoded = encode(whole)
    may_be_oversized = len(encoded) > STRINGS_BYTES or bool(shared.get("custom_args"))
    if may_be_oversized and (found := list(oversized_args({**shared, "personalizations": [whole]}))):
        raise InvalidMail(found)
    return encoded
