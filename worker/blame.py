"""Blame: which of the mails that went in one request a refusal is about. Pure."""

import re
from collections import defaultdict
from typing import Any

from postroom.outcome import Kind, Outcome

#: What SendGrid calls a part of the request, in the field of an error, or in its message where the field says nothing.
_NAMED = re.compile(r"\bpersonalizations\.(\d+)\b")

#: The others of a request that was refused for some.
SPARED = Outcome(Kind.RELEASED, "others_rejected")


def blame(outcome: Outcome, places: list[int]) -> list[tuple[list[int], Outcome]]:
    """The outcome of a request, as outcomes of the mails at these places of a chunk, which went in it in this order.

    Where SendGrid's errors name personalizations, those alone are rejected, each with its errors (in which it is number
    0, as if it had been sent alone), and the others were not sent. In all other cases one thing is true of all.
    """
    if outcome.kind is not Kind.REJECTED or len(places) == 1:
        return [(places, outcome)]
    errors_of: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for error in outcome.errors or ():
        number = _number(error)
        if number is not None and number < len(places):
            errors_of[number].append(_as_alone(error, number))
    if not errors_of:
        return [(places, outcome)]
    rejected = [
        ([places[number]], Outcome(outcome.kind, outcome.reason, None, errors))
        for number, errors in sorted(errors_of.items())
    ]
    spared = [place for number, place in enumerate(places) if number not in errors_of]
    return [*rejected, (spared, SPARED)] if spared else rejected


def _number(error: dict[str, Any]) -> int | None:
    named = _NAMED.search(error.get("field") or "") or _NAMED.search(error.get("message") or "")
    return int(named[1]) if named else None


def _as_alone(error: dict[str, Any], number: int) -> dict[str, Any]:
    own = re.compile(rf"\bpersonalizations\.{number}\b")
    return {name: own.sub("personalizations.0", value) if value else value for name, value in error.items()}
