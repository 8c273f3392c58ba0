"""Status: what anymail's users read from a message that was sent, `message.anymail_status`."""

from typing import Any, NamedTuple, Self

from postroom.mail.recipients import FIELDS, emails, personalizations

QUEUED = "queued"


class RecipientStatus(NamedTuple):
    message_id: str | None
    status: str


class Status(NamedTuple):
    """Anymail's names. The status is `queued` for all that is enqueued: what comes later, `Postroom.status` tells."""

    message_id: str | None
    status: frozenset[str] | None
    recipients: dict[str, RecipientStatus]
    #: There is no response: SendGrid has not been asked yet.
    esp_response: None = None

    @classmethod
    def unsent(cls) -> Self:
        """Of a message until it is enqueued, and when it could not be."""
        return cls(None, None, {})

    @classmethod
    def queued(cls, id: str | None, body: dict[str, Any]) -> Self:
        """Of a mail that is enqueued; `id` is that of the mail."""
        recipients = (
            email for _, part in personalizations(body) for field in FIELDS for _, email in emails(part.get(field))
        )
        return cls(id, frozenset((QUEUED,)), dict.fromkeys(recipients, RecipientStatus(id, QUEUED)))
