"""Messages: Django messages of each kind, and the bodies that they become."""

import time
from base64 import b64decode
from typing import Any
from zoneinfo import ZoneInfo

from django.core.mail import EmailMessage, EmailMultiAlternatives

from postroom import mail as mails
from producers import InvalidMail
from producers.django.body import body_of
from tests import django_site

django_site.set_up()

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def message(kind: type[EmailMessage] = EmailMultiAlternatives, **fields: Any) -> Any:
    """A message; what its constructor does not know becomes an attribute."""
    known = ("subject", "body", "from_email", "to", "cc", "bcc", "reply_to", "headers", "attachments", "alternatives")
    given = {"subject": "Hello", "body": "Hello Ann", "to": ["ann@example.com"], **fields}
    made = kind(**{name: value for name, value in given.items() if name in known})
    for name in given.keys() - set(known):
        setattr(made, name, given[name])
    return made


def unchecked(made: Any = None, **fields: Any) -> dict[str, Any]:
    options = {name: fields.pop(name) for name in ("defaults", "merge_field_format") if name in fields}
    return body_of(made or message(**fields), zone=ZoneInfo("Europe/Berlin"), **options)


def body(made: Any = None, **fields: Any) -> dict[str, Any]:
    """The body, which SendGrid would take."""
    written = unchecked(made, **fields)
    assert mails.faults(mails.load(written), now=time.time()) == []
    return written


def faults(**fields: Any) -> list[str]:
    """The fields that are at fault: of the message, or by SendGrid's rules."""
    try:
        written = mails.load(unchecked(**fields))
    except InvalidMail as error:
        return [fault.field for fault in error.faults]
    return [fault.field for fault in mails.faults(written, now=time.time())]


def content(written: dict[str, Any]) -> list[tuple[str, str]]:
    return [(part["type"], part["value"]) for part in written["content"]]


def attached(made: Any) -> list[dict[str, Any]]:
    return [part | {"content": b64decode(part["content"])} for part in body(made)["attachments"]]
