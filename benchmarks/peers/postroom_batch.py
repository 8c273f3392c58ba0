"""Postroom, all mails as one batch (README.md, "Use it")."""

from collections.abc import Sequence
from typing import Any

from producers import Postroom

postroom = Postroom()


def enqueue_all(mails: Sequence[dict[str, Any]]) -> None:
    postroom.enqueue_batch(mails)
