"""Wanted: what a test asks for in a mail, and how far a mail is from it. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from producers.testing.mail import Enqueued, Mail

#: What can be asked for: of each mail, and of those in the outbox.
FIELDS = (
    *("to", "cc", "bcc", "recipients", "from_email", "reply_to", "subject", "text", "html"),
    *("template_id", "template_data", "headers", "custom_args", "categories", "attachments", "body"),
)
ENQUEUED_FIELDS = (*FIELDS, "id", "batch_id", "row", "lane", "on_doubt", "state", "send_at", "key")

#: Texts that are compared, to find the nearest mail, are cut to so many characters.
COMPARED = 200
#: Characters of a value, or in a cell of a table.
WIDEST = 60


class Difference(NamedTuple):
    field: str
    wanted: Any
    found: Any


class Wanted:
    """Fields and what they should be.

    A string stands for itself; in a list (of addresses, categories, file names) it is one of them, and a list is all of
    them, in any order. Of a dict, only the names that are given count. A compiled regular expression is searched for; a
    function is called with the field and says whether it is right. Raises `TypeError` for a field that does not exist.
    """

    def __init__(self, fields: Mapping[str, Any], known: tuple[str, ...] = ENQUEUED_FIELDS) -> None:
        if strangers := sorted(fields.keys() - set(known)):
            raise TypeError(f"a mail has no {', '.join(strangers)}; it can be asked for by {', '.join(known)}")
        self._fields = fields

    def __bool__(self) -> bool:
        return bool(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __str__(self) -> str:
        return ", ".join(f"{name}={cut(shown(value))}" for name, value in self._fields.items())

    def is_met_by(self, mail: Mail) -> bool:
        return not self.differences(mail)

    def differences(self, mail: Mail) -> list[Difference]:
        return [Difference(*each) for each in self._pairs(mail) if not _is_met(*each)]

    def distance(self, mail: Mail) -> tuple[int, float]:
        """The less, the nearer: how many fields differ, and how much."""
        different = self.differences(mail)
        return len(different), sum(1 - _likeness(each.wanted, each.found) for each in different)

    def _pairs(self, mail: Mail) -> list[tuple[str, Any, Any]]:
        return [(name, value, _value(mail, name, value)) for name, value in self._fields.items()]


def _value(mail: Mail, field: str, wanted: Any) -> Any:
    if field == "key":
        assert isinstance(mail, Enqueued)
        return wanted if mail.has_key(wanted) else "another one" if mail.hashed_key else None
    return getattr(mail, field)


def _is_met(field: str, wanted: Any, found: Any) -> bool:
    if isinstance(wanted, re.Pattern):
        return any(wanted.search(text) for text in _texts(found))
    if isinstance(wanted, Callable):  # type: ignore[arg-type]  # mypy would have a type
        return bool(wanted(found))
    if isinstance(found, list):
        texts = sorted(map(str.lower, found))
        return wanted.lower() in texts if isinstance(wanted, str) else sorted(map(str.lower, wanted)) == texts
    if field == "send_at" and isinstance(wanted, (int, float)):
        wanted = datetime.fromtimestamp(wanted, UTC)
    return _holds(found, wanted)


def _holds(found: Any, wanted: Any) -> bool:
    """Whether it is the same; of a dict, whether it has all of that."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(name in found and _holds(found[name], value) for name, value in wanted.items())
    return bool(found == wanted)


def _texts(found: Any) -> list[str]:
    return [str(each) for each in found] if isinstance(found, list) else [] if found is None else [str(found)]


def _likeness(wanted: Any, found: Any) -> float:
    return SequenceMatcher(None, str(wanted)[:COMPARED], str(found)[:COMPARED]).ratio()


def cut(text: str) -> str:
    """At most as long as a cell of a table."""
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def shown(value: Any) -> str:
    """As it would be written in the test."""
    if isinstance(value, re.Pattern):
        return f"re.compile({value.pattern!r})"
    return getattr(value, "__name__", None) or (str(value) if isinstance(value, datetime) else repr(value))
