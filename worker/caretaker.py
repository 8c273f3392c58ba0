"""Caretaker: does, every second, what time alone brings about; and says that its worker is alive.

It is a thread of its own with a connection of its own that repeats nothing and waits a second at most: in the worker's
event loop it would not run while that reconnects, and would hold up its messages.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from celery.utils.log import get_logger

from postroom.answers import Swept
from postroom.connection import Connection, Unreachable
from postroom.ledger import Ledger
from worker.owner import Owner
from worker.patience import Once
from worker.reporting import publish_then
from worker.trimming import trim
from worker.watermark import watermark

logger = get_logger("postroom.worker")

#: Seconds from one sweep to the next.
INTERVAL = 1.0
#: A sweep that was cut short goes on at once, so many times at most.
MOST_AGAIN = 50
#: While the fleet is stopped, each worker says so again after so many seconds.
TELL_EVERY = 60.0
STOPPED = (
    "Nothing is sent: Redis has forgotten what it had acknowledged (it was restored from a copy or emptied, or failed "
    "over with a loss), so mails could be sent again. If this is the Redis that is meant, run `postroom recover`: it "
    "puts what is not finished in doubt, and sending goes on"
)


class Caretaker(threading.Thread):
    """One for each worker process; whichever comes first each second sweeps for the fleet."""

    def __init__(self, ledger: Ledger, connection: Connection, owner: Owner, drains: Mapping[str, str]) -> None:
        super().__init__(name="postroom-caretaker", daemon=True)
        self._ledger = ledger
        self._redis = Once(connection)
        self._owner = owner
        self._drains = drains
        self._ended = threading.Event()
        self._redis_is_away = False
        #: When to say again that the fleet is stopped (monotonic seconds); 0 while it is not.
        self._tell_at = 0.0

    def run(self) -> None:
        next_sweep = time.monotonic()
        while not self._ended.wait(max(0.0, next_sweep - time.monotonic())):
            next_sweep = time.monotonic() + INTERVAL
            self._step()

    def end(self) -> None:
        """Sweep no more. The worker must hold no mail any more: nobody watches over it from here on."""
        self._ended.set()
        self.join()
        with suppress(Unreachable):
            self._redis.run(self._ledger.leave(self._owner.name), give_up_at=0.0)

    def _step(self) -> None:
        try:
            self._sweep()
        except Unreachable as error:
            if not self._redis_is_away:
                logger.warning("Redis does not answer (%s); nothing is sent until it does", error.detail)
            self._redis_is_away = True
        except Exception:
            logger.exception("A sweep failed; the next one is in %g s", INTERVAL)
        else:
            if self._redis_is_away:
                logger.warning("Redis answers again")
            self._redis_is_away = False

    def _sweep(self) -> None:
        for number in range(MOST_AGAIN):
            call = self._ledger.sweep(self._owner.name, self._drains, seen=watermark.step, again=number > 0)
            swept = self._redis.run(call, give_up_at=0.0)
            watermark.rise(swept.step)
            self._tell_of_stop(stopped=swept.stopped)
            self._follow_up(swept)
            if not swept.more:
                return

    def _tell_of_stop(self, *, stopped: bool) -> None:
        if not stopped:
            if self._tell_at:
                logger.warning("Sending goes on")
            self._tell_at = 0.0
        elif time.monotonic() >= self._tell_at:
            logger.critical(STOPPED)
            self._tell_at = time.monotonic() + TELL_EVERY

    def _follow_up(self, swept: Swept) -> None:
        for owner in swept.dead:
            logger.warning("Worker %s is dead; its mails on the wire are in doubt", owner)
        for chunk in swept.trims:
            self._try(chunk, partial(trim, chunk, self._ledger, self._redis, give_up_at=0.0))
        for batch, then in swept.thens:
            self._try(batch, partial(publish_then, batch, then, self._ledger, self._redis))

    def _try(self, id: str, work: Callable[[], None]) -> None:
        """What fails for one must not hold up the others; it comes again with a later sweep."""
        try:
            work()
        except Unreachable:
            raise
        except Exception:
            logger.exception("What follows a sweep failed for %s", id)
