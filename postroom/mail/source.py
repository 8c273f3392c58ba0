"""Source: what a caller may hand over as a mail, and the body in it, a plain dict of JSON values."""

import sys
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from postroom.errors import Fault, InvalidMail
from postroom.mail.checks import fault, wrong_type
from postroom.mail.limits import MAIL_BYTES


class SupportsGet(Protocol):
    """`sendgrid.helpers.mail.Mail`: its `get()` returns the body."""

    def get(self) -> Any: ...


MailLike = Mapping[str, Any] | bytes | bytearray | memoryview | str | SupportsGet

#: Objects and arrays within each other. SendGrid's own fields need 6; `dynamic_template_data` may go on from there.
DEEPEST = 100

#: JSON's numbers are doubles for most who read them.
_LARGEST = int(sys.float_info.max)

_TOO_LARGE = "The mail is larger than the 30 MB that SendGrid takes."
_TOO_DEEP = f"Objects and arrays are nested more than {DEEPEST} deep, or contain themselves."
_NO_NUMBER = "NaN, infinite and larger numbers than a double holds are not JSON."
_UTF8 = "Invalid UTF8 in request"

_TEXT_TYPES = (bytes, str, bytearray, memoryview)
_WATCHED_TYPES = frozenset((dict, list, int))

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def load(mail: MailLike) -> dict[str, Any]:
    """The body of a mail, as a new dict of plain JSON values. `mail` stays as it is.

    `mail` is a `sendgrid.helpers.mail.Mail`, a mapping, or JSON as bytes or text. Where JSON text has a name twice in
    an object, the last one counts. Raises `InvalidMail` for what is not JSON, for values that JSON has no form for (a
    datetime, NaN, a name that is no string, a lone surrogate, a number that no double holds), for nesting deeper than
    100, and for more than 30 MB.
    """
    if isinstance(mail, _TEXT_TYPES):
        body = _parsed(mail)
    else:
        body = _copied(mail if isinstance(mail, Mapping) else _got(mail))
    if not isinstance(body, dict):
        raise InvalidMail(wrong_type("object", body))
    if flaw := _flaw(body, 1):
        raise InvalidMail(fault(flaw))
    return body


def check_size(size_bytes: int) -> None:
    """Raises `InvalidMail` for more than SendGrid takes in one request."""
    if size_bytes > MAIL_BYTES:
        raise InvalidMail(fault(_TOO_LARGE))


def _parsed(text: bytes | bytearray | memoryview | str) -> Any:
    check_size(text.nbytes if isinstance(text, memoryview) else len(text))
    try:
        return _decode(bytes(text) if isinstance(text, memoryview) else text)
    except UnicodeError:
        raise InvalidMail(fault(_UTF8)) from None
    except RecursionError:
        raise InvalidMail(fault(_TOO_DEEP)) from None
    except ValueError as error:
        raise InvalidMail(fault(f"Not JSON: {error}")) from None


def _got(mail: Any) -> Any:
    get = getattr(mail, "get", None)
    if not callable(get):
        raise InvalidMail(fault(f"A mail is a sendgrid Mail, a dict or JSON text, not {type(mail).__name__}."))
    try:
        return get()
    except Exception as error:
        raise InvalidMail(fault(f"The get() of {type(mail).__name__} failed: {error}")) from error


def _flaw(value: dict[str, Any] | list[Any], depth: int) -> str | None:
    """What plain JSON values may still be: nested too deep, or a whole number that no double holds."""
    if depth > DEEPEST:
        return _TOO_DEEP
    for item in value.values() if isinstance(value, dict) else value:
        if type(item) in _WATCHED_TYPES:
            if type(item) is int:
                if not -_LARGEST <= item <= _LARGEST:
                    return _NO_NUMBER
            elif flaw := _flaw(item, depth + 1):
                return flaw
    return None


def _copied(value: Any) -> Any:
    """A copy of the value by way of JSON, which is faster than one in Python.

    msgspec changes some values on the way: NaN to null, a datetime to a string, the name 1 to "1". So if something else
    comes back, or nothing, the values are taken one by one.
    """
    try:
        encoded = _encode(value)
        copy = _decode(encoded)
        is_same = copy == value
    except (TypeError, ValueError, OverflowError, RecursionError):
        is_same = False
    if not is_same:
        copy = _copied_one_by_one(value)
        encoded = _encode(copy)
    check_size(len(encoded))
    return copy


def _copied_one_by_one(value: Any) -> Any:
    found: list[Fault] = []
    try:
        copy = _plain(value, "", 1, found)
    except RecursionError:
        raise InvalidMail(fault(_TOO_DEEP)) from None
    if found:
        raise InvalidMail(found)
    return copy


def _plain(value: Any, path: str, depth: int, found: list[Fault]) -> Any:
    """The value in JSON's own types. `found` gets what has no form in JSON."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_string(value, path, found)
    if isinstance(value, int | float):
        return _plain_number(value, path, found)
    if depth > DEEPEST:
        raise InvalidMail(fault(_TOO_DEEP))
    if isinstance(value, Mapping):
        return _plain_object(value, path, depth, found)
    if isinstance(value, list | tuple):
        return [_plain(item, _within(path, str(index)), depth + 1, found) for index, item in enumerate(value)]
    found.append(Fault(path, f"A value of type {type(value).__name__} is not JSON."))
    return None


def _plain_object(value: Mapping[Any, Any], path: str, depth: int, found: list[Fault]) -> dict[str, Any]:
    plain = {}
    for name, item in value.items():
        if isinstance(name, str):
            plain[_plain_string(name, path, found)] = _plain(item, _within(path, name), depth + 1, found)
        else:
            found.append(Fault(path, f"The names in an object are strings, not {type(name).__name__}."))
    return plain


def _within(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _plain_string(value: str, path: str, found: list[Fault]) -> str:
    """Without what a subclass, such as a `StrEnum`, makes of it."""
    try:
        value.encode()
    except UnicodeError:
        found.append(Fault(path, _UTF8))
    return str.__str__(value)


def _plain_number(value: float, path: str, found: list[Fault]) -> float:
    if not -_LARGEST <= value <= _LARGEST:
        found.append(Fault(path, _NO_NUMBER))
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)
