"""Clarity: what is wrong with the text of an error. Its reader must be able to act without this program's source."""

import re

#: What a template's own expression says is in its author's language.
_OF_THE_USER = "the template fails: "
#: Longer texts flood a log, whatever they say.
LONGEST = 10_000

#: Words that an interpreter says of itself.
_INTERNALS = (
    r"'NoneType'",
    r"object has no attribute",
    r"object is not (iterable|callable|subscriptable)",
    r"object does not support",
    r"not supported between instances",
    r"unsupported operand",
    r"unhashable type",
    r"positional argument",
    r"unexpected keyword",
    r"index out of range",
    r"expected string or bytes-like object",
    r"object cannot be interpreted",
    r"codec can't (en|de)code",
    r"is not JSON serializable",
    r"too large to convert",
    r"maximum recursion depth",
    r"Traceback",
    r"attempt to (index|call|compare|concatenate|perform|get length)",
    r"bad argument #",
    r"(user_script|@user_function):\d+",
)
_is_internal = re.compile("|".join(_INTERNALS)).search
_is_bare_repr = re.compile(r"\[?<[^<>]*>\]?|[A-Z]\w*\(.*\)|None|\(\)|\[\]|\{\}").fullmatch


def unclear(text: str) -> str | None:
    """Why this text is unclear; None for a clear one."""
    if not text.strip():
        return "an empty text"
    if len(text) > LONGEST:
        return f"a text of more than {LONGEST} characters"
    if _is_bare_repr(text.strip()):
        return "a bare repr"
    found = None if text.startswith(_OF_THE_USER) else _is_internal(text)
    return f"it says {found[0]!r}" if found else None
