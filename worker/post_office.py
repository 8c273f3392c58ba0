"""PostOffice: what the tasks of one worker process share: ledger, Redis, owner, and the transports of its threads."""

import threading
from collections.abc import Collection
from functools import cache
from typing import Any

from postroom.answers import Claimed
from postroom.app import app
from postroom.connection import Connection
from postroom.ledger import Ledger
from postroom.names import Lane
from postroom.settings import Settings
from worker.delivery import Delivery
from worker.endpoint import Endpoint
from worker.owner import Owner, current_owner
from worker.patience import Patient
from worker.source import Chunk, Singles, Source
from worker.transport import Transport

#: A call that Redis has not answered for so long (seconds) is said again.
REDIS_TIMEOUT = 5.0
#: Requests of a thread that are under way at once; with a larger window the others wait their turn.
MOST_CONNECTIONS = 32


class PostOffice:
    """Delivers chunks and lanes. Safe to use from many threads."""

    def __init__(self, settings: Settings, owner: Owner, stopping: threading.Event, served: Collection[Lane]) -> None:
        """`served`: the lanes that this worker takes mail from."""
        self.settings = settings
        self.ledger = Ledger(settings)
        self.connection = Connection(settings.redis_url, timeout=REDIS_TIMEOUT, max_connections=settings.threads + 8)
        self.redis = Patient(self.connection, stopping)
        self._owner = owner
        self._stopping = stopping
        self._served = served
        self._asking = {lane: threading.Lock() for lane in Lane}
        self._thread = threading.local()

    def deliver(self, chunk: str) -> Claimed:
        """Send what is due of a chunk; the answer is that of the last claim."""
        lane = self.redis.run(self.ledger.lane_of(chunk), give_up_at=0.0)
        if lane is None:
            return Claimed("unknown")
        return self._delivery(Chunk(chunk, lane)).run()

    def drain(self, lane: Lane) -> Claimed:
        """Send the singles that wait in a lane."""
        return self._delivery(Singles(lane)).run()

    def _delivery(self, source: Source) -> Delivery:
        gives_way = source.lane is Lane.BULK and Lane.TRANSACTIONAL in self._served
        return Delivery(
            source,
            self._transport(source.lane),
            settings=self.settings,
            ledger=self.ledger,
            redis=self.redis,
            owner=self._owner,
            stopping=self._stopping,
            asking=self._asking[source.lane],
            urgent=self._delivery(Singles(Lane.TRANSACTIONAL, announced=False)) if gives_way else None,
        )

    def _transport(self, lane: Lane) -> Transport:
        transports: dict[str, Any] = self._thread.__dict__
        account = self.settings.account(lane)
        if account not in transports:
            transports[account] = Transport(
                Endpoint.of(self.settings, lane),
                request_deadline=self.settings.request_deadline,
                connections=min(self.settings.window, MOST_CONNECTIONS),
            )
        transport: Transport = transports[account]
        return transport


#: Set when this worker begins to shut down.
stopping = threading.Event()


@cache
def post_office() -> PostOffice:
    """The one of this process, made when it is first needed."""
    served = [Lane(queue) for queue in app.amqp.queues.consume_from if queue in set(Lane)]
    return PostOffice(Settings.from_environment(), current_owner(), stopping, served)
