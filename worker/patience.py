"""Patience: a worker waits for Redis to come back, holding what it knows. Outcomes in memory are not thrown away."""

import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from celery.utils.log import get_logger

from postroom.call import Call
from postroom.connection import Connection, Unreachable
from postroom.errors import ConfigurationError

T = TypeVar("T")

logger = get_logger("postroom.worker")

#: Between two tries, seconds.
PAUSE = 0.2


class Runs(Protocol):
    """Runs ledger calls. `give_up_at` (monotonic seconds) is when an answer is of no use any more."""

    def run(self, call: Call[T], *, give_up_at: float) -> T: ...


class Once:
    """Tries once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, call: Call[T], *, give_up_at: float) -> T:  # noqa: ARG002  # it gives up at once
        """Raises `Unreachable`."""
        return self._connection.run(call)


class Patient:
    """Runs calls until Redis has answered. Only for calls that may be repeated.

    A Redis that refuses the login is waited for, too: a password may be about to change. Raises `Unreachable` or
    `ConfigurationError` only while stopping, once `give_up_at` (monotonic seconds) has passed.
    """

    def __init__(
        self, connection: Connection, stopping: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._stopping = stopping
        self._clock = clock

    def run(self, call: Call[T], *, give_up_at: float) -> T:
        told = False
        while True:
            try:
                return self._connection.run(call)
            except (Unreachable, ConfigurationError) as error:
                if self._stopping.is_set() and self._clock() >= give_up_at:
                    raise
                if not told:
                    logger.warning("Redis does not answer (%s); waiting for it", error)
                    told = True
            time.sleep(PAUSE)
