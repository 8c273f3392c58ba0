"""Source: what a caller may hand over as a mail, and how it becomes a body, a plain dict of JSON values."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from postroom.errors import Fault, InvalidMail
from postroom.mail.checks import wrong_type


class SupportsGet(Protocol):
    """`sendgrid.helpers.mail.Mail`: its `get()` returns the body."""

    def get(self) -> Any: ...


MailLike = Mapping[str, Any] | bytes | bytearray | memoryview | str | SupportsGet

#: The largest request that SendGrid takes, in bytes (30 MB).
MOST_BYTES = 30 * 1024 * 1024

#: Objects and arrays within each other. SendGrid's own fields need 6.
DEEPEST = 100

_JSON_TEXT = (bytes, str, bytearray, memoryview)

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_TOO_LARGE = "The mail is larger than the 30 MB that SendGrid takes in one request."
_TOO_DEEP = f"Objects and arrays are nested more than {DEEPEST} deep, or contain themselves."
_UTF8 = "Invalid UTF8 in request"


def load(mail: MailLike) -> dict[str, Any]:
    """The body of a mail as a new dict of plain JSON values; `mail` itself stays as it is.

    `mail` is a `sendgrid.helpers.mail.Mail`, a mapping, or JSON as bytes or text. Of a name that JSON text has twice in
    an object, the last one counts. Raises `InvalidMail` for what is not JSON, a value that JSON has no form for (a
    datetime, NaN, a key that is no string, a lone surrogate), nesting deeper than 100, and more than 30 MB.
    """
    if isinstance(mail, _JSON_TEXT):
        body = _parsed(mail)
    else:
        body = _copied(mail if isinstance(mail, Mapping) else _got(mail))
    if not isinstance(body, dict):
        raise InvalidMail(wrong_type("object", body))
    if _is_too_deep(body):
        raise InvalidMail([Fault("", _TOO_DEEP)])
    return body


def check_size(size_bytes: int) -> None:
    if size_bytes > MOST_BYTES:
        raise InvalidMail([Fault("", _TOO_LARGE)])


def _parsed(text: bytes | bytearray | memoryview | str) -> Any:
    check_size(text.nbytes if isinstance(text, memoryview) else len(text))
    try:
        return _decode(bytes(text) if isinstance(text, memoryview) else text)
    except UnicodeError:
        raise InvalidMail([Fault("", _UTF8)]) from None
    except RecursionError:
        raise InvalidMail([Fault("", _TOO_DEEP)]) from None
    except ValueError as error:
        raise InvalidMail([Fault("", f"Not JSON: {error}")]) from None


def _got(mail: Any) -> Any:
    get = getattr(mail, "get", None)
    if not callable(get):
        raise InvalidMail([Fault("", f"A mail is a sendgrid Mail, a dict or JSON, not {type(mail).__name__}.")])
    try:
        return get()
    except Exception as error:
        raise InvalidMail([Fault("", f"{type(mail).__name__}.get() failed: {error}")]) from error


def _copied(value: Any) -> Any:
    """A copy through JSON, which is faster than one in Python.

    msgspec changes some values on the way: NaN to null, a datetime to a string, the key 1 to "1". If what comes back
    is not equal, or nothing does, the values are looked at one by one.
    """
    try:
        encoded = _encode(value)
        copy = _decode(encoded)
        same = copy == value
    except Exception:
        same = False
    if not same:
        copy, encoded = _copied_one_by_one(value)
    check_size(len(encoded))
    return copy


def _copied_one_by_one(value: Any) -> tuple[Any, bytes]:
    found: list[Fault] = []
    try:
        copy = _plain(value, "", 0, found)
    except RecursionError:
        raise InvalidMail([Fault("", _TOO_DEEP)]) from None
    if found:
        raise InvalidMail(found)
    return copy, _encode(copy)


def _plain(value: Any, path: str, depth: int, found: list[Fault]) -> Any:
    """The value in JSON's own types. What has no form in JSON is noted in `found`."""
    if depth > DEEPEST:
        raise InvalidMail([Fault("", _TOO_DEEP)])
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_string(value, path, found)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            found.append(Fault(path, "NaN and Infinity are not JSON."))
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {
            _plain_name(name, path, found): _plain(item, f"{path}.{name}" if path else str(name), depth + 1, found)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}.{index}", depth + 1, found) for index, item in enumerate(value)]
    found.append(Fault(path, f"A {type(value).__name__} is not JSON."))
    return None


def _plain_string(value: str, path: str, found: list[Fault]) -> str:
    try:
        value.encode()
    except UnicodeError:
        found.append(Fault(path, _UTF8))
    return str.__str__(value)


def _plain_name(name: Any, path: str, found: list[Fault]) -> str:
    if isinstance(name, str):
        return _plain_string(name, path, found)
    found.append(Fault(path, f"The names in a JSON object are strings, not {type(name).__name__}."))
    return ""


def _is_too_deep(value: dict[str, Any] | list[Any], depth: int = 1) -> bool:
    if depth > DEEPEST:
        return True
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if (kind is dict or kind is list) and _is_too_deep(item, depth + 1):
            return True
    return False
