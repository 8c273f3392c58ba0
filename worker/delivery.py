"""Delivery: claim, post, classify, settle; one window after another, until nothing of the source is waiting."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from celery.utils.log import get_logger

from postroom.answers import Claimed, Settled
from postroom.ledger import SLACK, Ledger
from postroom.outcome import Kind, Outcome
from postroom.settings import Settings
from worker.backoff import backoff_seconds
from worker.blame import blame
from worker.classify import asks_for_sandbox, classify
from worker.owner import Owner
from worker.patience import Runs
from worker.reply import Reply
from worker.source import Held, Source
from worker.transport import Request, Transport
from worker.trimming import trim
from worker.watermark import watermark

logger = get_logger("postroom.worker")

#: Outcomes are settled when the window is through, or when the first of them has waited so long (seconds).
SETTLE_WITHIN = 0.1
#: A paused task asks again at least this often (seconds).
ASK_WITHIN = 1.0
#: And so often (seconds) if urgent mail may come meanwhile.
LOOK_WITHIN = 0.05
#: So long (seconds) a task keeps its thread; then it gives back what is left, and an urgent lane gets its turn.
TURN = 1.0

#: These stop the whole fleet.
STOPPING = frozenset({Kind.LIMITED, Kind.REFUSED})

CONTENT_GONE = Outcome(Kind.REJECTED, reason="content_gone")


class Window(NamedTuple):
    """A claim, and what the ledger answered. `start_by` (monotonic seconds): no request of it starts later."""

    nonce: str
    start_by: float
    claimed: Claimed


class Attempt(NamedTuple):
    """What went in a request, and what that came to; `delay` is the seconds until a retry."""

    held: Held
    outcome: Outcome
    delay: float

    @property
    def stops_all(self) -> bool:
        """Whether nobody should send more for now. What was accepted asks to wait if it was the last that may be."""
        kind, asks = self.outcome.kind, self.outcome.wait_seconds is not None
        return kind in STOPPING or (kind is Kind.ACCEPTED and asks)


class Delivery:
    """Sends from one source, in one thread.

    `stopping` is set when the worker shuts down: what is on the wire is finished then, and the rest given back.
    `asking` is held by the thread that waits until the pace allows more; one of a worker is enough. Before a window,
    it gives way to `urgent`, singles of another lane, if any wait.
    """

    def __init__(
        self,
        source: Source,
        transport: Transport,
        *,
        settings: Settings,
        ledger: Ledger,
        redis: Runs,
        owner: Owner,
        stopping: threading.Event,
        asking: threading.Lock,
        urgent: "Delivery | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._transport = transport
        self._settings = settings
        self._ledger = ledger
        self._redis = redis
        self._owner = owner
        self._stopping = stopping
        self._asking = asking
        self._urgent = urgent
        self._clock = clock
        self._account = settings.account(source.lane)
        self._detail = ""

    def run(self) -> Claimed:
        """Send until nothing is waiting, or the turn is over.

        Returns the last claim's answer, whose verdict says why it was the last; "given_back" if there is more to do.
        """
        turn_ends = self._clock() + TURN
        while not self._stopping.is_set() and self._clock() < turn_ends:
            window = self._claim()
            if window.claimed.verdict == "wait":
                window = self._ask_again(window, turn_ends)
            if window.claimed.verdict == "claimed":
                self._send(window)
            elif window.claimed.verdict == "give_way" and self._urgent:
                self._urgent.run()
            elif window.claimed.verdict != "wait":
                return window.claimed
        self._redis.run(self._source.give_back(self._ledger, self._owner.nonce()), give_up_at=self._clock())
        return Claimed("given_back")

    def _ask_again(self, window: Window, turn_ends: float) -> Window:
        """Wait until there is something else to do than to wait."""
        if not self._asking.acquire(timeout=max(0.0, turn_ends - self._clock())):
            return window
        longest = LOOK_WITHIN if self._urgent else ASK_WITHIN
        try:
            while window.claimed.verdict == "wait" and not self._stopping.is_set() and self._clock() < turn_ends:
                self._stopping.wait(min(longest, window.claimed.wait / 1000))
                window = self._claim()
        finally:
            self._asking.release()
        return window

    def _claim(self) -> Window:
        nonce = self._owner.nonce()
        start_by = self._clock() + SLACK
        call = self._source.claim(
            self._ledger,
            owner=self._owner.name,
            nonce=nonce,
            limit=self._settings.window,
            account=self._account,
            seen=watermark.step,
            gives_way_to=self._urgent.as_urgent() if self._urgent else None,
        )
        claimed = self._redis.run(call, give_up_at=start_by)
        watermark.rise(claimed.step)
        return Window(nonce, start_by, claimed)

    def as_urgent(self) -> dict[str, str]:
        """What a claim is told of this, to give way to it."""
        return {"lane": self._source.lane, "account": self._account}

    def _send(self, window: Window) -> None:
        """Post a window's mails, and settle them as their replies come in.

        The first outcome that stops the whole fleet is settled at once, and no more of the window is started.
        """
        waiting: list[Attempt] = []
        settle_at, stopped = 0.0, False
        for attempts in self._attempts(window):
            if attempts and not waiting:
                settle_at = self._clock() + SETTLE_WITHIN
            waiting += attempts
            if not stopped and any(attempt.stops_all for attempt in attempts):
                self._transport.hold_back()
                settle_at, stopped = self._clock(), True
            if waiting and self._clock() >= settle_at:
                self._settle(window, waiting)
                waiting = []
        if waiting:
            self._settle(window, waiting)

    def _attempts(self, window: Window) -> Iterator[list[Attempt]]:
        held = self._source.hold(window.claimed, self._payload)
        lost = [each for each in held if each.body is None]
        if lost:
            yield [Attempt(each, CONTENT_GONE, 0.0) for each in lost]
        requests = [Request(each, each.body, each.attempt, window.start_by) for each in held if each.body is not None]
        for replies in self._transport.post(requests):
            yield [self._attempt(each, reply) for each, reply in replies]

    def _attempt(self, held: Held, reply: Reply) -> Attempt:
        self._detail = reply.detail or self._detail
        sandbox_mode = reply.status == 200 and asks_for_sandbox(held.body or b"")
        outcome = classify(reply, sandbox_mode=sandbox_mode, now=time.time())
        delay = backoff_seconds(held.attempt, base=self._settings.backoff_base, cap=self._settings.backoff_cap)
        return Attempt(held, outcome, delay)

    def _settle(self, window: Window, attempts: list[Attempt]) -> None:
        groups: dict[str, list[tuple[list[int], Outcome, float]]] = defaultdict(list)
        for held, outcome, delay in attempts:
            groups[held.chunk] += [(places, each, delay) for places, each in blame(outcome, held.places)]
        call = self._ledger.settle(list(groups.items()), nonce=window.nonce, account=self._account)
        # After the request's deadline and the slack, the window is judged, and what is known here counts no more.
        settled = self._redis.run(call, give_up_at=window.start_by + self._settings.request_deadline)
        self._follow_up(settled)

    def _follow_up(self, settled: Settled) -> None:
        for chunk in settled.trims:
            trim(chunk, self._ledger, self._redis, give_up_at=self._clock())
        if settled.paused:
            logger.error("Account %s is paused: %s %s", self._account, settled.paused, self._detail)

    def _payload(self, chunk: str) -> bytes | None:
        return self._redis.run(self._ledger.payload(chunk), give_up_at=self._clock())
