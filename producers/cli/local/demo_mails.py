"""Demo mails: ten, as a web app builds them with SendGrid's own helpers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sendgrid.helpers.mail import Mail

#: The sandbox does what the addresses of its own domain ask for: one 503 twice, one refusal.
PEOPLE = (
    ("Ada", "ada@example.com"),
    ("Ben", "ben@example.com"),
    ("Chloé", "chloe@example.com"),
    ("Dmitri", "503x2+dmitri@sandbox.test"),
    ("Emre", "emre@example.com"),
    ("Fatima", "fatima@example.com"),
    ("Gita", "reject+gita@sandbox.test"),
    ("Hiro", "hiro@example.com"),
    ("Inés", "ines@example.com"),
    ("Jonas", "jonas@example.com"),
)

_HTML = "<h1>Hello {name},</h1><p>your order <b>#{order}</b> is on its way.</p>"
_TEXT = "Hello {name},\n\nyour order #{order} is on its way.\n"


def demo_mails() -> "Iterator[Mail]":
    """A mail for each of `PEOPLE`."""
    from sendgrid.helpers.mail import Mail  # noqa: PLC0415  # only the demo needs it

    for order, (name, address) in enumerate(PEOPLE, 1001):
        yield Mail(
            from_email=("shop@example.com", "The Postroom Shop"),
            to_emails=[(address, name)],
            subject=f"{name}, your order #{order} is on its way",
            plain_text_content=_TEXT.format(name=name, order=order),
            html_content=_HTML.format(name=name, order=order),
        )
