"""Key ring: finds the key of a request, in Redis or among those just seen."""

import time
from collections.abc import Callable, Mapping

from postroom.connection import AsyncConnection, Unreachable
from postroom.errors import QueueUnavailable
from postroom.ledger import Ledger
from postroom.settings import Settings
from producers.gateway.answers import Refused, refused
from producers.gateway.keys import Key, taken_apart, unpack

#: A key is looked up again when it was seen so long (seconds) ago; so soon is a revoked one refused.
FRESH_SECONDS = 1.0


class KeyRing:
    """`now` is Unix time, `clock` one that only goes forward, both in seconds."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = Ledger(settings)
        self._connection = AsyncConnection(settings.redis_url, timeout=settings.producer_timeout, max_connections=8)
        self._now = now
        self._clock = clock
        self._seen: dict[str, tuple[Key, float]] = {}

    async def key_of(self, headers: Mapping[bytes, bytes]) -> Key:
        """The key that a request comes with. Raises `Refused` (401), and `QueueUnavailable`."""
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("authorization required", "no_key")
        parts = taken_apart(token.strip())
        key = await self._find(parts[0]) if parts else None
        if parts is None or key is None or not key.fits(parts[1]):
            raise _unauthorized(_NO_GRANT, "unknown_key")
        if key.is_expired(self._now()):
            raise _unauthorized(_NO_GRANT, "expired_key")
        return key

    async def is_there(self) -> bool:
        """Whether Redis answers."""
        try:
            await self._connection.run(self._ledger.count_keys())
        except Unreachable:
            return False
        return True

    async def _find(self, id: str) -> Key | None:
        known, seen_at = self._seen.get(id, (None, 0.0))
        if known is not None and self._clock() - seen_at < FRESH_SECONDS:
            return known
        asked_at = self._clock()
        try:
            stored = await self._connection.run(self._ledger.key(id))
        except Unreachable as error:
            raise QueueUnavailable("", may_be_enqueued=False, detail=error.detail) from None
        if stored is None:
            self._seen.pop(id, None)
            return None
        key = unpack(stored)
        self._seen[id] = (key, asked_at)
        return key


_NO_GRANT = "The provided authorization grant is invalid, expired, or revoked"


def _unauthorized(message: str, reason: str) -> Refused:
    return refused(
        401,
        reason,
        message,
        "Send `Authorization: Bearer TOKEN` with a token of `postroom keys add`; `postroom keys list` shows the keys.",
        headers=((b"www-authenticate", b"Bearer"),),
    )
