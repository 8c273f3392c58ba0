"""Key store: the gateway's keys in Redis, for those who look after them."""

from typing import Self, TypeVar

from postroom.call import Call
from postroom.connection import Connection, Unreachable
from postroom.errors import QueueUnavailable
from postroom.ledger import Ledger
from postroom.settings import Settings
from producers.gateway.keys import Key, pack, unpack

T = TypeVar("T")

#: An answer may take so long (seconds).
TIMEOUT = 5.0


class KeyStore:
    """Blocking; a context manager. Any call may raise `QueueUnavailable`."""

    def __init__(self, settings: Settings) -> None:
        self._ledger = Ledger(settings)
        self._connection = Connection(settings.redis_url, timeout=TIMEOUT, max_connections=1)

    def add(self, key: Key) -> None:
        """Raises `QueueFull` too."""
        self._run(self._ledger.add_key(key.id, pack(key)))

    def all(self) -> list[Key]:
        """All of them, the oldest first; those that are expired, too."""
        stored = self._run(self._ledger.keys())
        return sorted(map(unpack, stored), key=lambda key: (key.created_at, key.id))

    def revoke(self, id: str) -> bool:
        """Whether there was one. Gateways notice it within a second."""
        return self._run(self._ledger.revoke_key(id))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        try:
            return self._connection.run(call)
        except Unreachable as error:
            raise QueueUnavailable("", may_be_enqueued=False, detail=error.detail) from None
