"""Casualties: mails that came to a bad end, made by a real producer and a worker whose luck the test decides."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from postroom.names import State
from postroom.settings import Settings
from producers import Operator, Postroom
from tests.ledger_driver import REJECTED, RETRY, TIMEOUT, Driver, accepted
from tests.mails import mail


class Casualties:
    """Each method makes one mail and returns its id. Nothing else may wait in the lane then."""

    def __init__(self, url: str) -> None:
        self.settings = Settings.of(redis_url=url)
        self.postroom = Postroom(self.settings)
        self.operator = Operator(self.settings)
        self.driver = Driver(url)
        self._hasty = Driver(url, Settings.of(redis_url=url, max_attempts="1"))

    def queued(self, **terms: Any) -> str:
        return self.postroom.enqueue(mail(), **terms)

    def rejected(self) -> str:
        """SendGrid says "no" about the field "from"."""
        return self._after(self.queued(), State.REJECTED, REJECTED)

    def exhausted(self) -> str:
        id = self.queued()
        self._hasty.attempt("transactional", RETRY)
        return self._in_state(id, State.EXHAUSTED)

    def expired(self) -> str:
        id = self.queued(expires_in=0.001)
        self._pass(1)
        return self._in_state(id, State.EXPIRED)

    def in_doubt(self, **terms: Any) -> str:
        return self._after(self.queued(**terms), State.IN_DOUBT, TIMEOUT)

    def unresolved(self) -> str:
        id = self.in_doubt(on_doubt="hold")
        self._pass(self.settings.grace)
        return self._in_state(id, State.UNRESOLVED)

    def rejected_batch(self, size: int) -> str:
        """The id of a batch of one chunk, all of it rejected."""
        batch = self.postroom.enqueue_batch(mail() for _ in range(size)).id
        self.driver.attempt(f"{batch}.0", REJECTED, limit=size)
        return batch

    def copied_batch(self) -> str:
        """The id of a batch of one mail, which SendGrid has twice, as evidence shows."""
        batch = self.postroom.enqueue_batch([mail()]).id
        self.driver.attempt(f"{batch}.0", TIMEOUT)
        self._pass(self.settings.grace)
        self.driver.attempt(f"{batch}.0", accepted("receipt-of-one-copy..."))
        self.driver.evidence(f"{batch}.0.0", "receipt-of-the-other..")
        return batch

    def sent(self) -> str:
        """A mail of which the worker has claimed, and not heard yet."""
        id = self.queued()
        self.driver.claim("transactional")
        return self._in_state(id, State.SENDING)

    def state(self, id: str) -> State:
        return self.postroom.status(id).state

    def close(self) -> None:
        self.postroom.close()
        self.operator.close()
        self.driver.close()
        self._hasty.close()

    def _after(self, id: str, state: State, outcome: Any) -> str:
        self.driver.attempt("transactional", outcome)
        return self._in_state(id, state)

    def _in_state(self, id: str, state: State) -> str:
        assert self.state(id) is state
        return id

    def _pass(self, seconds: float) -> None:
        """Sweep once, so much later; and then it is now again."""
        self.driver.later(seconds)
        self.driver.redis.delete("postroom:swept_at")
        self.driver.sweep()
        self.driver.later(-seconds)


@contextmanager
def casualties(url: str) -> Iterator[Casualties]:
    made = Casualties(url)
    try:
        yield made
    finally:
        made.close()
