"""Postroom, one `enqueue` for each mail (README.md, "Use it")."""

from typing import Any

from producers import Postroom

postroom = Postroom()


def enqueue(mail: dict[str, Any]) -> None:
    postroom.enqueue(mail)
