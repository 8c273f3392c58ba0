"""Door: `POST /webhooks/sendgrid`, for Starlette.

SendGrid repeats for up to 24 hours what is not answered with 2xx. So it gets one only when all of a request has been
taken; events are lost neither while Redis is away nor while the door has no key.
"""

import logging
import time
from typing import Any, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.errors import InvalidEvents, QueueUnavailable
from postroom.settings import Settings
from producers.async_client import AsyncPostroom
from producers.webhook.signature import SIGNATURE, TIMESTAMP, Signatures

PATH = "/webhooks/sendgrid"
#: SendGrid's own posts are below 1 MiB; this is room for more than ten thousand events.
MOST_BYTES = 4 * 1024 * 1024

_log = logging.getLogger("postroom.webhook")


class Writes(Protocol):
    """Writes a line about a request: a word for what it is, and more. Never an address."""

    def __call__(self, event: str, **what: Any) -> None: ...


def to_log(event: str, **what: Any) -> None:
    """A line of JSON in the log."""
    level = logging.INFO if what["status"] < 400 else logging.WARNING
    _log.log(level, msgspec.json.encode({"event": event, **what}).decode())


def routes(postroom: AsyncPostroom, settings: Settings, write: Writes = to_log) -> list[BaseRoute]:
    """The door's route. Raises `ConfigurationError` when `POSTROOM_WEBHOOK_KEY` is no key."""
    signatures = Signatures(settings.webhook_key) if settings.webhook_key else None
    return [Route(PATH, Door(postroom, signatures, write).take, methods=["POST"])]


class Door:
    """Takes SendGrid's events; without `signatures`, none at all."""

    def __init__(self, postroom: AsyncPostroom, signatures: Signatures | None, write: Writes) -> None:
        self._postroom = postroom
        self._signatures = signatures
        self._write = write

    async def take(self, request: Request) -> Response:
        """204: all of it is taken. 400: no events. 403: not signed by SendGrid. 413: too large. 503: come again."""
        begun = time.monotonic()
        status, told = await self._answer(request)
        self._write("webhook", status=status, **told, ms=round((time.monotonic() - begun) * 1000, 1))
        headers = {"retry-after": "60"} if status == 503 else {}
        return Response(msgspec.json.encode(told) if status != 204 else b"", status, headers, "application/json")

    async def _answer(self, request: Request) -> tuple[int, dict[str, Any]]:
        if self._signatures is None:
            return 503, _refusal("not_set_up", "set POSTROOM_WEBHOOK_KEY to the key that SendGrid shows")
        body = await _read(request)
        if body is None:
            return 413, _refusal("too_large", f"the most is {MOST_BYTES} bytes; SendGrid posts less")
        if not self._signatures.hold(request.headers.get(SIGNATURE), request.headers.get(TIMESTAMP), body):
            return 403, _refusal("signature", "POSTROOM_WEBHOOK_KEY must be the key of this webhook at SendGrid")
        try:
            evidence = await self._postroom.evidence(body)
        except InvalidEvents:
            return 400, _refusal("no_events", "SendGrid posts a JSON array of events")
        except QueueUnavailable as error:
            return 503, _refusal("queue_unavailable", "Redis does not answer; SendGrid will post it again") | {
                "detail": error.detail
            }
        return 204, {"mails": evidence.mails, "others": evidence.others}


def _refusal(reason: str, help: str) -> dict[str, Any]:
    return {"reason": reason, "help": help}


async def _read(request: Request) -> bytes | None:
    """The body; None if it is too large. What the client has not sent to the end counts as nothing."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BYTES:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)
