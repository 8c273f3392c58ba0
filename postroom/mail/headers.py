"""Header: SendGrid's rules for `headers`, of the whole mail and of a personalization, in SendGrid's words."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from postroom.errors import Fault
from postroom.mail.checks import CONTROL_CHARACTERS, Check, each, fault, has_control, line, wrong_type
from postroom.mail.limits import FAULTS

#: The headers that SendGrid writes itself, in lower case.
RESERVED = frozenset(
    (
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    )
)


def headers(values: str, names: str, reserved: str) -> Check:
    """The check, with SendGrid's texts for wrong values, wrong names and reserved names."""

    def of_one(header: tuple[str, Any]) -> Sequence[Fault]:
        name, value = header
        if not name or " " in name or not name.isascii():
            return fault(names)
        if "\t" in name or has_control(name):
            return fault(CONTROL_CHARACTERS)
        if name.lower() in RESERVED:
            return fault(reserved)
        return line(value) if isinstance(value, str) else fault(values)

    def checked(value: Any) -> Sequence[Fault]:
        if not isinstance(value, dict):
            return wrong_type("object", value)
        found = each(zip(value, value.items(), strict=True), of_one)
        return [*found, *islice(_repeated(value), FAULTS)]

    return checked


def _repeated(names: dict[str, Any]) -> Iterator[Fault]:
    seen = set()
    for name in names:
        if name.lower() in seen:
            yield Fault(name, "The headers cannot contain duplicate keys.")
        seen.add(name.lower())
