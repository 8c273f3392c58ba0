"""Address: Django's address strings as SendGrid's address objects. Pure."""

import re
from collections.abc import Iterable
from email.utils import getaddresses
from typing import Any, NamedTuple

#: What needs no parser, as most addresses.
_is_bare = re.compile(r"[\w.+-]+@[\w.-]+").fullmatch
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')


class Address(NamedTuple):
    """An address as the site wrote it."""

    email: str
    name: str = ""

    def to_json(self) -> dict[str, str]:
        """With its domain in ASCII, as Django's SMTP backend writes it."""
        email = {"email": _in_ascii(self.email)}
        return email | {"name": self.name} if self.name else email


def addresses(texts: Iterable[Any]) -> list[Address]:
    """The addresses in strings like `Ann <ann@example.com>`; one string may hold several. What is empty is skipped.

    What is no address comes back as it is, for SendGrid's rules to name it.
    """
    return [address for text in texts if text for address in _addresses_in(str(text))]


def _addresses_in(text: str) -> list[Address]:
    if _is_bare(text):
        return [Address(text)]
    found = [Address(email, name) for name, email in getaddresses([text])]
    return found if len(found) == _parts(text) and all(address.email for address in found) else [Address(text)]


def _parts(text: str) -> int:
    """How many addresses the commas part.

    Before CVE-2023-27043 was mended, Python found two in `eve@example.com <ann@example.com>`.
    """
    return 1 + _QUOTED.sub("", text).count(",")


def _in_ascii(email: str) -> str:
    local, at, domain = email.rpartition("@")
    try:
        return f"{local}{at}{domain.encode('idna').decode()}"
    except UnicodeError:
        return email
