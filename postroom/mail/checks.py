"""Check: a function from a JSON value to the faults in it. Pure; SendGrid's rules are built of them.

A fault's path is relative to the value that was checked ("" is the value itself); whoever holds the value puts its
name in front. So no path is built while all is well.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from postroom.errors import Fault
from postroom.mail.limits import FAULTS

Check = Callable[[Any], Sequence[Fault]]

#: C0 and DEL, but for the tab, which may stand wherever RFC 5322 allows a space.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search

CONTROL_CHARACTERS = "Line breaks and other control characters are not allowed here."

_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def fault(message: str, field: str = "") -> tuple[Fault]:
    return (Fault(field, message),)


def under(name: str | int, faults: Iterable[Fault]) -> list[Fault]:
    """The faults with the name or index of the value in front of their paths."""
    return [Fault(f"{name}.{each.field}" if each.field else str(name), each.message) for each in faults]


def wrong_type(expected: str, value: Any) -> tuple[Fault]:
    return fault(f"Invalid type. Expected: {expected}, given: {_TYPES.get(type(value), 'null')}.")


def has_control(text: str) -> bool:
    """Whether there is a control character other than the tab. `isprintable` answers for nearly every text, faster."""
    return not text.isprintable() and _CONTROL(text) is not None


def string(value: Any) -> Sequence[Fault]:
    return () if isinstance(value, str) else wrong_type("string", value)


def boolean(value: Any) -> Sequence[Fault]:
    return () if isinstance(value, bool) else wrong_type("boolean", value)


def integer(value: Any) -> Sequence[Fault]:
    return () if isinstance(value, int) and not isinstance(value, bool) else wrong_type("integer", value)


def line(value: Any) -> Sequence[Fault]:
    """A string that goes into a header of the mail, where a line break could begin another header."""
    if not isinstance(value, str):
        return wrong_type("string", value)
    return fault(CONTROL_CHARACTERS) if has_control(value) else ()


def text(value: Any) -> Sequence[Fault]:
    """A string of at least one character."""
    return () if isinstance(value, str) and value else wrong_type("string", value)


def saying(message: str, check: Check) -> Check:
    """`check`, with these words for whatever is wrong."""
    words = fault(message)
    return lambda value: words if check(value) else ()


def required(name: str, message: str) -> Check:
    """For an object: this member is there, and not null."""
    words = fault(message, name)
    return lambda value: words if value.get(name) is None else ()


def quoted(value: Any) -> str:
    """A value as SendGrid's texts quote it. The first 500 characters will do."""
    return f"[{str(value)[:500]}]"


def each(items: Iterable[tuple[str | int, Any]], check: Check) -> list[Fault]:
    """The faults of these items, by their names or indices; the first thousand or so."""
    found: list[Fault] = []
    for name, item in items:
        if faults := check(item):
            found += under(name, faults)
            if len(found) >= FAULTS:
                break
    return found


def list_of(check: Check) -> Check:
    return lambda value: each(enumerate(value), check) if isinstance(value, list) else wrong_type("array", value)


def map_of(check: Check) -> Check:
    """An object whose values all pass this check."""
    return lambda value: each(value.items(), check) if isinstance(value, dict) else wrong_type("object", value)


def object_of(members: Mapping[str, Check], *rules: Check) -> Check:
    """An object. Members of these names pass their checks; then the object as a whole passes the rules.

    Members of other names pass. A null member counts as absent, as it does for SendGrid: a "name" of null is taken
    (janjaali/sendGrid-mock#67), and sendgrid_elixir 1.0 sends null for each option that is not used.
    """

    def checked(value: Any) -> Sequence[Fault]:
        if not isinstance(value, dict):
            return wrong_type("object", value)
        found: list[Fault] = []
        for name, item in value.items():
            if item is not None and (check := members.get(name)) and (faults := check(item)):
                found += under(name, faults)
        for rule in rules:
            if faults := rule(value):
                found += faults
        return found

    return checked
