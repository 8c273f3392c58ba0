"""Rows: the mails of a file, each with the place where the user finds it. This file: JSON lines."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from postroom.errors import Fault
from postroom.mail import MailLike
from producers.cli.failure import bad_input

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """A mail of a file. `line` is where it begins, from 1; `row` counts the mails, from 0, without empty lines.

    `faults` say why there is no mail.
    """

    line: int
    row: int
    mail: MailLike
    faults: tuple[Fault, ...] = ()


class _Wrapped(msgspec.Struct):
    """A line that carries a body among other things."""

    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    personalizations: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode = msgspec.json.Decoder(_Wrapped).decode


def json_lines(lines: Iterable[bytes], name: str) -> Iterator[Row]:
    """One v3 body on each line; in a line like `{"payload": {…}, …}` it is the payload. Empty lines are skipped.

    Raises `CommandFailed` for a file that can't be JSON lines at all; `name` is the file's.
    """
    row = 0
    for number, line in enumerate(without_mark(lines, name), 1):
        text = line.strip()
        if not text:
            continue
        if text in (b"{", b"[") and row == 0:
            raise bad_input(
                f"{name} is JSON over many lines; one whole body is expected on each line.",
                "`jq -c . FILE` puts a body into one line, `jq -c '.[]' FILE` the items of a list.",
            )
        yield Row(number, row, _body(text))
        row += 1


def without_mark(lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The lines without the byte order mark of UTF-8. Raises `CommandFailed` for UTF-16."""
    for number, line in enumerate(lines):
        if number == 0 and line.startswith(UTF16_MARKS):
            raise bad_input(f"{name} is in UTF-16.", "Save it as UTF-8.")
        yield line.removeprefix(UTF8_MARK) if number == 0 else line


def _body(text: bytes) -> bytes:
    try:
        line = _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text  # it is looked at as a mail, which says what is wrong
    if line.payload is msgspec.UNSET or line.personalizations is not msgspec.UNSET:
        return text
    payload = bytes(line.payload)
    return payload if payload.startswith(b"{") else text
