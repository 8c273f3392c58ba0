"""Mailing: what the rows of a file are to be: whole mails, or recipients that are merged."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from postroom.errors import InvalidMail
from postroom.settings import Settings
from postroom.terms import Terms
from producers.cli.failure import bad_input, invalid
from producers.client import Batch, Postroom
from producers.intake import Intake, Taken
from producers.merge import Merge

ONE = "A merged mail has one personalization, which is filled in for each row, and is the same for everybody otherwise."


class Mailing(NamedTuple):
    """`merged`: the mail that all recipients get, by its parts, and how many go in a request; None for whole mails."""

    merged: dict[str, Any] | None = None
    per_request: int = 1000

    def intake(self, settings: Settings, terms: Terms, name: str) -> Callable[[Any, str], Taken]:
        """Takes a row, or raises `InvalidMail`. A fault of the template, of file `name`, is `CommandFailed` at once."""
        if self.merged is None:
            intake = Intake(settings)
            return lambda mail, id: intake.take(mail, id, terms=terms)
        try:
            return Merge(self.merged, terms, settings).take
        except InvalidMail as error:
            raise invalid(name, error.faults, "Nothing was enqueued.") from None

    def enqueue(self, postroom: Postroom, rows: Iterator[Any], terms: dict[str, Any]) -> Batch:
        if self.merged is None:
            return postroom.enqueue_batch(rows, **terms)
        return postroom.enqueue_merge(self.merged, rows, per_request=self.per_request, **terms)


def parsed(text: bytes, name: str) -> dict[str, Any]:
    """The body in a file. Raises `CommandFailed`."""
    try:
        body = msgspec.json.decode(text)
    except UnicodeError:
        raise bad_input(f"{name} is not JSON: it is not UTF-8.") from None
    except msgspec.DecodeError as error:
        raise bad_input(f"{name} is not JSON: {error}") from None
    except RecursionError:
        raise bad_input(f"{name} is nested too deeply.") from None
    if not isinstance(body, dict):
        raise bad_input(f"{name} is no mail: a v3 body is a JSON object.")
    return body


def divided(body: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is the same for everybody, and a recipient's personalization. Raises `CommandFailed`."""
    personalizations = body.get("personalizations")
    if not (
        isinstance(personalizations, list) and len(personalizations) == 1 and isinstance(personalizations[0], dict)
    ):
        raise bad_input(f"{name} does not have one personalization.", ONE)
    return {part: value for part, value in body.items() if part != "personalizations"}, personalizations[0]
