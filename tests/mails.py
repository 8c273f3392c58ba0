"""Mails: the bodies that tests send."""

from collections.abc import Iterator
from typing import Any


def mail(to: str = "ann@example.com", *, subject: str = "Hello", text: str = "Hello Ann") -> dict[str, Any]:
    return {
        "personalizations": [{"to": [{"email": to}]}],
        "from": {"email": "shop@example.com"},
        "subject": subject,
        "content": [{"type": "text/plain", "value": text}],
    }


def addresses(count: int, name: str = "reader") -> list[str]:
    return [f"{name}{number}@example.com" for number in range(count)]


def mails(count: int, name: str = "reader") -> Iterator[dict[str, Any]]:
    """As many mails, to `reader0@example.com` and so on."""
    return (mail(to) for to in addresses(count, name))
