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
    #: Of each recipient: the `postroom_id` of what is sent to it. One mail's is the same for all.
    ids: list[str | None]
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
            recipients=[address for _, _, address in _placed(personalizations)],
            ids=list(_ids(body)),
            subject=first.get("subject") or body.get("subject"),
            postroom_ids=list(_postroom_ids([body, *personalizations])),
            attempt=attempt,
            send_at=first.get("send_at") or body.get("send_at"),
            batch_id=body.get("batch_id"),
            test_only=_test_only(body),
        )

    def place_of(self, recipient: str) -> tuple[int, str]:
        """The number of the first personalization that has this recipient, and the field it is in."""
        placed = _placed(self.body()["personalizations"])
        return next(((number, field) for number, field, address in placed if address == recipient), (0, "to"))

    def body(self) -> dict[str, Any]:
        """The JSON as an object, read anew."""
        body: dict[str, Any] = msgspec.json.decode(self.raw)
        return body


def _placed(personalizations: list[dict[str, Any]]) -> Iterator[tuple[int, str, str]]:
    """Every recipient: the number of its personalization, the field, the address."""
    for number, personalization in enumerate(personalizations):
        for field in ("to", "cc", "bcc"):
            for person in personalization.get(field) or ():
                yield number, field, person["email"]


def _postroom_ids(places: list[dict[str, Any]]) -> Iterator[str]:
    for place in places:
        arguments = place.get("custom_args")
        if arguments and "postroom_id" in arguments:
            yield arguments["postroom_id"]


def _ids(body: dict[str, Any]) -> Iterator[str | None]:
    common = next(_postroom_ids([body]), None)
    for personalization in body["personalizations"]:
        own = next(_postroom_ids([personalization]), common)
        for _ in _placed([personalization]):
            yield own


def _test_only(body: dict[str, Any]) -> bool:
    """Whether the mail asks for SendGrid's sandbox mode: to be checked, not sent."""
    mode = (body.get("mail_settings") or {}).get("sandbox_mode") or {}
    return mode.get("enable") is True
