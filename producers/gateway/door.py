"""Door: what all endpoints have in common. A request is let in by its key, answered, and written into the journal."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive, Scope

from postroom.errors import ConfigurationError, InvalidMail, KeyConflict, QueueFull, QueueUnavailable, UnknownId
from producers.gateway import answers
from producers.gateway.answers import Answer, Headers, Refused, refused
from producers.gateway.body import Body
from producers.gateway.journal import Journal
from producers.gateway.keyring import KeyRing
from producers.gateway.keys import Key

#: A client may wait so long for Redis (seconds), to find the key and to queue a mail.
ANSWER_SECONDS = 0.95
#: `Idempotency-Key` has no more characters.
KEY_LENGTH = 255


class Visit:
    """One request with a good key. `seconds` is how long Redis may still take; `note` goes into the journal."""

    def __init__(self, scope: Scope, headers: Mapping[bytes, bytes], body: Body, key: Key, seconds: float) -> None:
        self.scope = scope
        self.headers = headers
        self.body = body
        self.key = key
        self.seconds = seconds
        self.note: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """The id that is asked for in the path."""
        id: str = self.scope["path_params"]["id"]
        return id

    @property
    def idempotency_key(self) -> str | None:
        """`Idempotency-Key`, among those of this app. Raises `Refused`."""
        given = self.headers.get(b"idempotency-key")
        if given is None:
            return None
        text = given.decode("latin-1")
        if not 0 < len(text) <= KEY_LENGTH or not text.isascii() or not text.isprintable():
            help = f"It has 1 to {KEY_LENGTH} visible characters of ASCII, and another value for each mail or batch."
            raise refused(400, "bad_key", "Idempotency-Key can't be used.", help, field="Idempotency-Key")
        return f"gateway {self.key.name} {text}"


Endpoint = Callable[[Visit], Awaitable[Answer]]


class Door:
    def __init__(self, keys: KeyRing, journal: Journal, read_seconds: float) -> None:
        self._keys = keys
        self._read_seconds = read_seconds
        self._journal = journal

    async def answer(self, what: str, scope: Scope, receive: Receive, endpoint: Endpoint) -> Answer:
        """What the endpoint answers to a request, or why it does not. `what` names it in the journal."""
        begun = time.monotonic()
        headers = dict(scope["headers"])
        body = Body(receive, headers, self._read_seconds)
        key: Key | None = None
        note: dict[str, Any] = {}
        try:
            key = await self._keys.key_of(headers)
            visit = Visit(scope, headers, body, key, max(0.1, ANSWER_SECONDS - (time.monotonic() - begun)))
            note = visit.note
            answer = await endpoint(visit)
        except Exception as error:  # noqa: BLE001  # a bug must neither end the connection nor show its text
            answer, told = refusal_of(error)
            note = {**note, **told}
            await body.discard()
        self._journal.write(
            what,
            status=answer.status,
            **note,
            key=key and key.id,
            ms=round((time.monotonic() - begun) * 1000, 1),
        )
        return answer


def refusal_of(error: Exception) -> tuple[Answer, dict[str, Any]]:
    """The answer to a request that failed, and what the journal says of it."""
    match error:
        case Refused():
            return error.answer, {"reason": error.reason}
        case InvalidMail():
            return answers.faults(error.faults, error.row), {"reason": "invalid_mail", "faults": len(error.faults)}
        case KeyConflict():
            return _conflict(error), {"reason": "key_conflict", "id": error.id}
        case UnknownId():
            help = "Look at the id. What is finished is kept for 7 days."
            return answers.error(404, "No mail or batch has this id.", help), {"reason": "unknown_id"}
        case QueueFull():
            help = "Try again later. The operator may let workers send, or raise Redis' maxmemory."
            message = "Postroom's Redis is short of memory. Nothing was queued."
            return answers.error(503, message, help, headers=((b"retry-after", b"30"),)), {"reason": "queue_full"}
        case QueueUnavailable():
            return _unavailable(error), {"reason": "queue_unavailable", "detail": error.detail, "id": error.id or None}
        case ConfigurationError():
            return answers.error(
                503, "Postroom is not set up as it should be.", "`postroom doctor` tells the operator why."
            ), {"reason": "configuration"}
    return answers.error(500, "internal error", "The operator finds it in the gateway's journal."), _bug(error)


def _conflict(error: KeyConflict) -> Answer:
    help = "Use a new Idempotency-Key for new mail; repeat a request with just the same body."
    return answers.error(
        409, f"This Idempotency-Key was used for something else: {error.id}.", help, field="Idempotency-Key"
    )


def _unavailable(error: QueueUnavailable) -> Answer:
    headers: Headers = ((b"retry-after", b"1"),)
    if not error.may_be_enqueued:
        return answers.error(503, "Postroom's Redis did not answer. Nothing was queued.", "Try again.", headers=headers)
    help = "With an Idempotency-Key a repeat is safe; without one, ask what became of the id in X-Message-Id."
    message = "Postroom's Redis did not answer. It may be queued all the same."
    return answers.error(503, message, help, headers=(*headers, (b"x-message-id", error.id.encode())))


def _bug(error: Exception) -> dict[str, Any]:
    """Where it happened; its text may quote a mail."""
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    return {"reason": "bug", "error": type(error).__name__, "at": places[-6:]}


async def within(seconds: float, id: str, awaited: Awaitable[Any]) -> Any:
    """Raises `QueueUnavailable` when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await awaited
    except TimeoutError:
        raise QueueUnavailable(id, may_be_enqueued=True, detail="no answer in time") from None
