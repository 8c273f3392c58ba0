"""Mail: what a test reads of a mail, in SendGrid's v3 body and beside it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from postroom.mail.encoding import ID
from postroom.names import State
from producers.intake import hashed


class Mail:
    """A mail's body, and its usual fields by short names. Of a field that each recipient has, it is the first one's."""

    #: The v3 body, as it goes on the wire.
    request: dict[str, Any]

    @property
    def body(self) -> dict[str, Any]:
        """The v3 body, without the `postroom_id` that Postroom adds to it: as the app has handed it over."""
        parts = [_without_id(part) for part in self.request.get("personalizations") or ()]
        return _without_id(self.request) | {"personalizations": parts}

    @property
    def personalizations(self) -> list[dict[str, Any]]:
        return self.body.get("personalizations") or [{}]

    @property
    def to(self) -> list[str]:
        """The addresses, those of all personalizations."""
        return self._addresses("to")

    @property
    def cc(self) -> list[str]:
        return self._addresses("cc")

    @property
    def bcc(self) -> list[str]:
        return self._addresses("bcc")

    @property
    def recipients(self) -> list[str]:
        """Everybody who gets it: to, cc and bcc."""
        return self.to + self.cc + self.bcc

    @property
    def from_email(self) -> str | None:
        return _address(self._own("from"))

    @property
    def reply_to(self) -> str | None:
        return _address(self.body.get("reply_to"))

    @property
    def subject(self) -> str | None:
        subject: str | None = self._own("subject")
        return subject

    @property
    def text(self) -> str | None:
        return self._content("text/plain")

    @property
    def html(self) -> str | None:
        return self._content("text/html")

    @property
    def template_id(self) -> str | None:
        return self.body.get("template_id")

    @property
    def template_data(self) -> dict[str, Any]:
        """`dynamic_template_data`, or a legacy template's `substitutions`."""
        first = self.personalizations[0]
        return first.get("dynamic_template_data") or first.get("substitutions") or {}

    @property
    def headers(self) -> dict[str, str]:
        return self._merged("headers")

    @property
    def custom_args(self) -> dict[str, str]:
        return self._merged("custom_args")

    @property
    def categories(self) -> list[str]:
        return self.body.get("categories") or []

    @property
    def attachments(self) -> list[str]:
        """The names of the attached files."""
        return [each.get("filename", "") for each in self.body.get("attachments") or []]

    def _own(self, field: str) -> Any:
        return self.personalizations[0].get(field) or self.body.get(field)

    def _merged(self, field: str) -> dict[str, str]:
        return {**(self.body.get(field) or {}), **(self.personalizations[0].get(field) or {})}

    def _addresses(self, field: str) -> list[str]:
        return [person["email"] for part in self.personalizations for person in part.get(field) or ()]

    def _content(self, kind: str) -> str | None:
        return next((part["value"] for part in self.body.get("content") or () if part["type"] == kind), None)


@dataclass(frozen=True, repr=False, eq=False)
class Enqueued(Mail):
    """A mail in the ledger, as it was when the outbox was read."""

    request: dict[str, Any]
    id: str
    #: None for one that was enqueued by itself; else the batch, and the place in it, from 0.
    batch_id: str | None
    row: int | None
    lane: str
    on_doubt: str
    state: State
    enqueued_at: datetime
    #: The argument of `enqueue`, or what the body says; None: at once.
    send_at: datetime | None
    expires_at: datetime
    #: Of the key that it, or its batch, was enqueued with, Postroom keeps no more than this.
    hashed_key: str | None

    def has_key(self, key: str) -> bool:
        """Whether it, or its batch, was enqueued with this idempotency key."""
        return self.hashed_key is not None and self.hashed_key == hashed(key)

    def __repr__(self) -> str:
        return f"<Enqueued {self.id}: {self.lane}, {self.state}, to {', '.join(self.to)}, {_about(self)}>"


@dataclass(frozen=True, repr=False, eq=False)
class Accepted(Mail):
    """A mail that the sandbox has accepted."""

    request: dict[str, Any]
    receipt: str
    #: Postroom's ids of it: one, or one for each recipient of a merged request. Empty for what others have sent.
    ids: list[str]
    #: Which try it was, counted from 1; None if the sender did not say.
    attempt: int | None
    accepted_at: datetime

    def part(self, id: str) -> dict[str, Any]:
        """The request, as if this mail were the only one in it."""
        parts = self.request["personalizations"]
        own = [part for part in parts if (part.get("custom_args") or {}).get(ID) == id]
        return self.request | {"personalizations": own or parts}

    def __repr__(self) -> str:
        return f"<Accepted {self.receipt}: to {', '.join(self.to)}, {_about(self)}>"


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _without_id(holder: dict[str, Any]) -> dict[str, Any]:
    arguments = holder.get("custom_args") or {}
    if ID not in arguments:
        return holder
    own = {name: value for name, value in arguments.items() if name != ID}
    rest = {name: value for name, value in holder.items() if name != "custom_args"}
    return rest | ({"custom_args": own} if own else {})


def _about(mail: Mail) -> str:
    return repr(mail.subject) if mail.subject or not mail.template_id else f"template {mail.template_id}"


def _address(person: Any) -> str | None:
    return str(person["email"]) if person else None
