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


#: A template for merging; SendGrid has its text.
NEWS: dict[str, Any] = {
    "from": {"email": "news@example.com", "name": "The Example"},
    "template_id": "d-0123456789abcdef0123456789abcdef",
    "categories": ["news"],
}
#: So many of the recipients below are bad, spread evenly.
BAD = 30


def personalizations(count: int) -> Iterator[dict[str, Any]]:
    """One recipient after another, each with a name and a code."""
    bad = bad_rows(count)
    for row in range(count):
        address = f"reject+{row}@sandbox.test" if row in bad else f"reader{row}@example.com"
        data = {"name": f"Reader {row}", "code": f"{row * 2654435761 % 2**32:08x}"}
        yield {"to": [{"email": address}], "dynamic_template_data": data}


def bad_rows(count: int) -> set[int]:
    return {number * count // BAD for number in range(BAD)}
