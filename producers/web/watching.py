"""Watching: looks at batches for those who want to see their progress.

However many watch a batch, Redis is asked once in half a second (in each process): whoever needs a look first takes it,
and the others share it. There is no task or thread behind it, so nothing is left when all have gone.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Generic, TypeVar

from postroom.errors import QueueUnavailable, UnknownId
from producers.async_client import AsyncPostroom
from producers.client import Postroom
from producers.web.telling import LASTS, Event, Seen, Sight, Telling, sight_of

#: A look is good for so long (seconds).
EVERY = 0.5
#: So many batches are kept in mind; those that were watched first are forgotten first.
MOST_BATCHES = 1000

Lock = TypeVar("Lock")
Clock = Callable[[], float]


class _Glance(Generic[Lock]):
    """The last look at a batch. Its lock is held by whoever takes the next."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        self.sight: Sight | None = None
        self.good_until = 0.0

    def at(self, now: float) -> Sight | None:
        """The last look, if it is still good."""
        return self.sight if now < self.good_until else None

    def keep(self, sight: Sight, until: float) -> Sight:
        self.sight, self.good_until = sight, until
        return sight


class _Glances(Generic[Lock]):
    """The last look at each batch."""

    def __init__(self, lock: Callable[[], Lock]) -> None:
        self._lock = lock
        self._glances: dict[str, _Glance[Lock]] = {}

    def of(self, batch_id: str) -> _Glance[Lock]:
        glance = self._glances.setdefault(batch_id, _Glance(self._lock()))
        if len(self._glances) > MOST_BATCHES:
            self._glances.pop(next(iter(self._glances)), None)
        return glance


class Watching:
    """For threads."""

    def __init__(self, postroom: Postroom, *, every: float = EVERY, clock: Clock = time.monotonic) -> None:
        self._postroom = postroom
        self._every = every
        self._clock = clock
        self._glances = _Glances(threading.Lock)

    def stream(self, batch_id: str, *, lasts: float = LASTS) -> Generator[bytes]:
        """The events of a batch, for `lasts` seconds at most. Raises `UnknownId` and `QueueUnavailable` at once."""
        _check(self._look(batch_id), batch_id)
        return self._events(batch_id, lasts)

    def _events(self, batch_id: str, lasts: float) -> Generator[bytes]:
        telling = Telling(self._clock(), lasts=lasts)
        while True:
            if said := telling.tell(self._look(batch_id), self._clock()):
                yield said
            if telling.ended:
                return
            time.sleep(self._every)

    def _look(self, batch_id: str) -> Sight:
        glance = self._glances.of(batch_id)
        with glance.lock:
            return glance.at(self._clock()) or glance.keep(sight_of(self._ask(batch_id)), self._clock() + self._every)

    def _ask(self, batch_id: str) -> Seen:
        try:
            return self._postroom.progress(batch_id)
        except (UnknownId, QueueUnavailable) as error:
            return error


class AsyncWatching:
    """For asyncio, in one event loop."""

    def __init__(self, postroom: AsyncPostroom, *, every: float = EVERY, clock: Clock = time.monotonic) -> None:
        self._postroom = postroom
        self._every = every
        self._clock = clock
        self._glances = _Glances(asyncio.Lock)

    async def stream(self, batch_id: str, *, lasts: float = LASTS) -> AsyncGenerator[bytes]:
        """The events of a batch, for `lasts` seconds at most. Raises `UnknownId` and `QueueUnavailable` at once."""
        _check(await self._look(batch_id), batch_id)
        return self._events(batch_id, lasts)

    async def _events(self, batch_id: str, lasts: float) -> AsyncGenerator[bytes]:
        telling = Telling(self._clock(), lasts=lasts)
        while True:
            if said := telling.tell(await self._look(batch_id), self._clock()):
                yield said
            if telling.ended:
                return
            await asyncio.sleep(self._every)

    async def _look(self, batch_id: str) -> Sight:
        glance = self._glances.of(batch_id)
        async with glance.lock:
            sight = glance.at(self._clock())
            return sight or glance.keep(sight_of(await self._ask(batch_id)), self._clock() + self._every)

    async def _ask(self, batch_id: str) -> Seen:
        try:
            return await self._postroom.progress(batch_id)
        except (UnknownId, QueueUnavailable) as error:
            return error


def _check(sight: Sight, batch_id: str) -> None:
    """A stream begins only for a batch that is there."""
    if sight.event is Event.GONE:
        raise UnknownId(batch_id)
    if sight.event is Event.AWAY:
        raise QueueUnavailable(batch_id, may_be_enqueued=False, detail=sight.detail)
