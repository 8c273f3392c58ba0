"""Part: SendGrid's rules for `content` and `attachments`, in SendGrid's words."""

import binascii
from collections.abc import Sequence
from typing import Any

from postroom.errors import Fault
from postroom.mail.checks import fault, line, list_of, object_of, quoted, required, saying, text

_NO_FILE = "The attachment content must be a string at least one character in length."
_NO_FILENAME = "filename is required."

#: Where a part stands. AMP stands anywhere: https://amp.dev wants it before text/html, and SendGrid takes it there.
_PLACES = {"text/plain": 0, "text/html": 1, "text/x-amp-html": None}


def _content_type(value: Any) -> Sequence[Fault]:
    if not isinstance(value, str) or not value:
        return fault("Your content type must be a string with length of at least one character.")
    return fault("Cannot contain ';', or CRLF characters.") if _has_semicolon_or_crlf(value) else ()


def _has_semicolon_or_crlf(value: str) -> bool:
    return ";" in value or "\r" in value or "\n" in value


_parts = list_of(
    object_of(
        {
            "type": _content_type,
            "value": saying("The content value must be a string at least one character in length.", text),
        },
        required("type", "A content type is required, this tells email clients how to display the email."),
        required("value", "A content value is required, this is the content of the email you are sending."),
    )
)


def content(value: Any) -> Sequence[Fault]:
    found = _parts(value)
    if not isinstance(value, list) or _is_in_order(value):
        return found
    order = fault(
        "Following RFC 1341, section 7.2, if either text/html or text/plain are to be sent in your email: "
        "text/plain needs to be first, followed by text/html, followed by any other content."
    )
    return [*found, *order]


def _is_in_order(parts: list[Any]) -> bool:
    types: list[Any] = [part.get("type") for part in parts if isinstance(part, dict)]
    places = [_PLACES.get(each, 2) for each in types if not _content_type(each)]
    fixed = [place for place in places if place is not None]
    return fixed == sorted(fixed)


def _file(value: Any) -> Sequence[Fault]:
    """Plain base64, padded. SendGrid refuses even line breaks in it (sendgrid/sendgrid-ruby#84)."""
    if not isinstance(value, str) or not value:
        return fault(_NO_FILE)
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        return fault("The attachment content must be base64 encoded.")
    return ()


def _file_type(value: Any) -> Sequence[Fault]:
    if not isinstance(value, str) or not value:
        return fault("The attachment type must be a string and at least one character in length.")
    # SendGrid's text names ';' too, but it takes `text/calendar; method=REQUEST` since 2018 (sendgrid-php issue 250).
    return fault("The type cannot contain ';', or CRLF characters.") if "\r" in value or "\n" in value else ()


def _filename(value: Any) -> Sequence[Fault]:
    if not isinstance(value, str):
        return fault("The filename of your attachment must be a string.")
    if "\r" in value or "\n" in value:
        return fault("The filename of your attachment cannot contain CRLF characters.")
    return line(value) if value else fault(_NO_FILENAME)


def _disposition(value: Any) -> Sequence[Fault]:
    if value in ("inline", "attachment"):
        return ()
    choice = 'The disposition of your attachment can be either "inline" or "attachment".'
    return fault(f"{choice} You provided {quoted(value)}.")


def _content_id(value: Any) -> Sequence[Fault]:
    if not isinstance(value, str):
        return fault(f"The content ID of your attachment must be a string. You provided {quoted(value)}.")
    if "\r" in value or "\n" in value:
        return fault("The content ID of your attachment cannot contain CRLF characters.")
    return line(value)


def _inline(attachment: dict[str, Any]) -> Sequence[Fault]:
    if attachment.get("disposition") != "inline" or attachment.get("content_id"):
        return ()
    return fault("The content_id parameter is required if disposition = 'inline'.", "content_id")


attachments = list_of(
    object_of(
        {
            "content": _file,
            "type": _file_type,
            "filename": _filename,
            "disposition": _disposition,
            "content_id": _content_id,
        },
        required("content", _NO_FILE),
        required("filename", _NO_FILENAME),
        _inline,
    )
)
