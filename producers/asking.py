"""Asking: a blocking connection to the ledger, for those who look after it. Nobody's user waits for their answers."""

from typing import Self, TypeVar

from postroom.call import Call
from postroom.connection import Connection, Unreachable
from postroom.errors import QueueUnavailable
from postroom.ledger import Ledger
from postroom.settings import Settings

T = TypeVar("T")

#: An answer may take so long (seconds).
TIMEOUT = 5.0


class Asking:
    """A context manager. Any call may raise `QueueUnavailable`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger(settings)
        self._connection = Connection(settings.redis_url, timeout=TIMEOUT, max_connections=4)

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
