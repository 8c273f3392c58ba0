"""Ids of mails, chunks and batches.

A batch, and a single, has 20 characters of a-z and 2-7 (100 random bits). A chunk is `batch.first_row`, a mail of a
batch `batch.first_row.place`; a single is a chunk of one, so its id serves for both.
"""

import base64
import os
import re
from typing import NamedTuple, TypeGuard

LENGTH = 20

_PATTERN = re.compile(rf"[a-z2-7]{{{LENGTH}}}(\.\d{{1,12}}(\.\d{{1,6}})?)?")


class Place(NamedTuple):
    """Where a mail stands: its chunk, its place in it, and for a batch the batch and the row in it."""

    chunk: str
    place: int
    batch: str | None
    row: int | None


def new_id() -> str:
    return base64.b32encode(os.urandom(13))[:LENGTH].decode().lower()


def is_id(text: object) -> TypeGuard[str]:
    """Whether this may be the id of a mail, a chunk or a batch."""
    return isinstance(text, str) and _PATTERN.fullmatch(text) is not None


def is_mail_id(text: object) -> TypeGuard[str]:
    """Whether this may be the id of a mail: a single's, or that of a row of a batch."""
    return is_id(text) and text.count(".") != 1


def chunk_id(batch: str, first_row: int) -> str:
    return f"{batch}.{first_row}"


def mail_id(chunk: str, place: int) -> str:
    """The id of the mail at a place (from 0) of a chunk."""
    return f"{chunk}.{place}" if "." in chunk else chunk


def place_of(mail: str) -> Place:
    """Take a mail's id apart."""
    parts = mail.split(".")
    if len(parts) == 3:
        return Place(f"{parts[0]}.{parts[1]}", int(parts[2]), parts[0], int(parts[1]) + int(parts[2]))
    return Place(mail, 0, None, None)
