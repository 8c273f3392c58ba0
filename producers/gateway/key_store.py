"""Key store: the gateway's keys in Redis, for those who look after them."""

from producers.asking import Asking
from producers.gateway.keys import Key, pack, unpack


class KeyStore(Asking):
    """Blocking; a context manager. Any call may raise `QueueUnavailable`."""

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
