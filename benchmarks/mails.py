"""Mails: distinct ones of about 3 kB, the same for all who are measured."""

from collections.abc import Iterator
from typing import Any

PARAGRAPH = "<p>Dear reader {number}, this is what happened in our town this week. Thank you for your time.</p>\n"
BODY = PARAGRAPH * 30


def mails(count: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Bodies of SendGrid's v3 `mail/send`, to `reader{start}@example.com` and so on."""
    for number in range(start, start + count):
        yield {
            "personalizations": [{"to": [{"email": f"reader{number}@example.com"}]}],
            "from": {"email": "news@example.com", "name": "The News"},
            "subject": f"The week, for reader {number}",
            "content": [{"type": "text/html", "value": BODY.replace("{number}", str(number))}],
        }
