"""Mail: one body of SendGrid's v3 `mail/send`, from what the caller has to the bytes that go on the wire.

The payload is SendGrid's JSON itself; fields that are not known here pass through.
"""

from typing import Any

from postroom.errors import InvalidMail
from postroom.mail.encoding import canonical, marked, own_ids, wire
from postroom.mail.help import HELP, help_of
from postroom.mail.merging import RecipientLike
from postroom.mail.recipients import count as count_recipients
from postroom.mail.recipients import domain_faults, recipients, redirect
from postroom.mail.rules import faults
from postroom.mail.source import MailLike, SupportsGet, load

__all__ = [
    "HELP",
    "MailLike",
    "RecipientLike",
    "SupportsGet",
    "canonical",
    "count_recipients",
    "domain_faults",
    "faults",
    "help_of",
    "load",
    "prepare",
    "prepare_body",
    "recipients",
    "redirect",
    "wire",
]


def prepare(mail: MailLike, postroom_id: str, *, now: float) -> bytes:
    """The bytes of a mail for the wire: `load`, `faults` and `wire` in one.

    Raises `InvalidMail` with all faults at once. `now` is the Unix time that `send_at` is measured from.
    """
    return prepare_body(load(mail), postroom_id, now=now)


def prepare_body(body: dict[str, Any], postroom_id: str, *, now: float) -> bytes:
    """`prepare`, of a body that is loaded already."""
    if found := [*faults(body, now=now), *own_ids(body)]:
        raise InvalidMail(found)
    return marked(body, postroom_id)
