"""Eager: an enqueue that returns when its mail is sent."""

import time
from collections.abc import Generator
from typing import Any

import pytest

from postroom.ledger import Ledger
from postroom.names import State
from postroom.terms import Terms
from producers.testing import records
from producers.testing.servers import Servers

#: Between two looks, and for all of it, seconds.
LOOK, PATIENCE = 0.01, 10.0

#: The states that a mail is soon out of.
UNDER_WAY = (State.QUEUED, State.SENDING)

#: The pauses that a test would wait too long for.
LASTING = ("refused", "outage")


class Eager:
    """Waits until each mail has an end, or is in doubt, which lasts; or sending is paused, because SendGrid refuses the
    key or is out of order. Mail for later is not waited for.

    The waiting is done by calls of the ledger, so a client for asyncio does not hold up its event loop.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._ledger = Ledger(servers.settings)

    def finish(self, operation: Generator[Any, Any, str], arguments: tuple[Any, ...]) -> Generator[Any, Any, str]:
        """The operation, and then the waiting. Fails the test after 10 s."""
        __tracebackhide__ = True
        id = yield from operation
        terms = next(argument for argument in arguments if isinstance(argument, Terms))
        give_up = time.monotonic() + PATIENCE
        account = self._servers.settings.account(terms.lane)
        while (terms.send_at or 0) <= time.time() and (left := (yield from self._left(id))):
            if (yield self._ledger.account(account)).get("kind") in LASTING:
                break
            if time.monotonic() > give_up:
                pytest.fail(self._why_not(id, left))
            yield records.nap(LOOK)
        return id

    def _left(self, id: str) -> Generator[Any, Any, dict[str, int]]:
        """How many mails have no end yet, by state."""
        if batch := (yield self._ledger.batch(id)):
            return {state: batch.counts[state] for state in UNDER_WAY if batch.counts[state]}
        single = yield self._ledger.status(id)
        return {single.state: 1} if single and single.state in UNDER_WAY else {}

    def _why_not(self, id: str, left: dict[str, int]) -> str:
        states = ", ".join(f"{count} {state}" for state, count in left.items())
        log = self._servers.worker_log() or "nothing"
        return f"Not sent within {PATIENCE:g} s: {id} ({states}). The worker's log ends with:\n{log}"
