"""Mail: the mail of one request, as the sandbox notes it."""

import secrets
from collections.abc import Iterator
from typing import Any

import msgspec


class Mail(msgspec.Struct):
    """One mail. `raw` is its JSON as it came (unzipped); `time` is when it was accepted, in seconds since 1970.

    `receipt` looks like SendGrid's `X-Message-Id`: 22 characters of base64url.
    """

    raw: bytes
    receipt: str
    sender: str
    recipients: list[str]
    subject: str | None
    postroom_ids: list[str]
    attempt: int | None
    send_at: int | None
    batch_id: str | None
    test_only: bool
    time: float = 0.0

    @classmethod
    def of(cls, body: dict[str, Any], raw: bytes, attempt: int | None) -> "Mail":
        """The mail of a valid body."""
        personalizations = body["personalizations"]
        first = personalizations[0]
        return cls(
            raw=raw,
            receipt=secrets.token_urlsafe(16),
            sender=body["from"]["email"],
            recipients=list(_recipients(personalizations)),
            subject=first.get("subject") or body.get("subject"),
            postroom_ids=list(_postroom_ids([body, *personalizations])),
            attempt=attempt,
            send_at=first.get("send_at") or body.get("send_at"),
            batch_id=body.get("batch_id"),
            test_only=_test_only(body),
        )

    def body(self) -> dict[str, Any]:
        """The JSON as an object, read anew."""
        body: dict[str, Any] = msgspec.json.decode(self.raw)
        return body


def _recipients(personalizations: list[dict[str, Any]]) -> Iterator[str]:
    for personalization in personalizations:
        for field in ("to", "cc", "bcc"):
            for person in personalization.get(field) or ():
                yield person["email"]


def _postroom_ids(places: list[dict[str, Any]]) -> Iterator[str]:
    for place in places:
        arguments = place.get("custom_args")
        if arguments and "postroom_id" in arguments:
            yield arguments["postroom_id"]


def _test_only(body: dict[str, Any]) -> bool:
    """Whether the mail asks for SendGrid's sandbox mode: to be checked, not sent."""
    mode = (body.get("mail_settings") or {}).get("sandbox_mode") or {}
    return mode.get("enable") is True
