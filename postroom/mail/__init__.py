"""Mail: one body of SendGrid's v3 `mail/send`, from what the caller has to the bytes that go on the wire.

The payload is SendGrid's JSON itself; fields that are not known here pass through.
"""

from postroom.errors import InvalidMail
from postroom.mail.encoding import canonical, marked, own_ids, wire
from postroom.mail.recipients import domain_faults, recipients, redirect
from postroom.mail.rules import faults
from postroom.mail.source import MailLike, SupportsGet, load

__all__ = [
    "MailLike",
    "SupportsGet",
    "canonical",
    "domain_faults",
    "faults",
    "load",
    "prepare",
    "recipients",
    "redirect",
    "wire",
]


def prepare(mail: MailLike, postroom_id: str, *, now: float) -> bytes:
    """The bytes of a mail for the wire: `load`, `faults` and `wire` in one.

    Raises `InvalidMail` with all faults at once. `now` is the Unix time that `send_at` is measured from.
    """
    body = load(mail)
    if found := [*faults(body, now=now), *own_ids(body)]:
        raise InvalidMail(found)
    return marked(body, postroom_id)
