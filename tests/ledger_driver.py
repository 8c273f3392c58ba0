"""Driver: makes the ledger's calls on a real Redis, by a clock that only the test moves."""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Self, TypeVar

import msgspec
import redis

from postroom import ids, wakeup
from postroom.answers import BatchRecord, Claimed, DeadLetter, Enqueued, Failure, MailStatus, Settled, Swept
from postroom.call import Call
from postroom.connection import Connection
from postroom.delivery import Told
from postroom.ledger import Claimant, Ledger
from postroom.names import Lane, OnDoubt, State
from postroom.outcome import Kind, Outcome
from postroom.script import SCRIPTS, Script
from postroom.settings import Settings
from postroom.terms import Terms

T = TypeVar("T")

#: One request of a settle: the place of its mail (or places, if they are merged), outcome, and seconds until a retry.
Settling = tuple[int | Sequence[int], Outcome, float]

HOUR, DAY = 3600.0, 86_400.0

RELEASED = Outcome(Kind.RELEASED)
TIMEOUT = Outcome(Kind.DOUBT, reason="timeout")
RETRY = Outcome(Kind.RETRY, reason="http_500")
UNAVAILABLE = Outcome(Kind.UNAVAILABLE, reason="http_503")
UNSENT = Outcome(Kind.UNSENT, reason="connect_failed")
REFUSED = Outcome(Kind.REFUSED, reason="http_401")
REJECTED = Outcome(Kind.REJECTED, reason="http_400", errors=[{"message": "no", "field": "from", "help": None}])


def accepted(receipt: str = "receipt-of-22-letters.") -> Outcome:
    return Outcome(Kind.ACCEPTED, receipt=receipt)


def limited(wait_seconds: float | None = None) -> Outcome:
    return Outcome(Kind.LIMITED, reason="http_429", wait_seconds=wait_seconds)


DRAINS = {lane.value: wakeup.drain_template(lane) for lane in Lane}


#: What a test changes of a script's text, given its name: nothing, or something that must be noticed.
Edit = Callable[[str, str], str]


def as_shipped(name: str, text: str) -> str:
    return text


@cache
def standing_still(name: str, edit: Edit) -> Script:
    """A step as it is shipped, but that its clock shows just the shift that it is given."""
    text = edit(name, SCRIPTS[name].text)
    assert text.count("redis.call('TIME')") == 1
    text = text.replace("redis.call('TIME')", "{ 0, 0 }")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Driver:
    """One worker fleet's and one producer's view of the ledger, with the plainest arguments filled in.

    Time passes by `later(seconds)` alone, so that each moment can be hit exactly.
    """

    def __init__(
        self, url: str, settings: Settings | None = None, *, account: str = "default", edit: Edit = as_shipped
    ) -> None:
        self.settings = settings or Settings()
        self.account = account
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self.raw: Any = redis.Redis.from_url(url)
        self._connection = Connection(url, timeout=5)
        self._edit = edit
        self.now_ms = round(time.time() * 1000)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.redis.close()
        self.raw.close()
        self._connection.close()

    def later(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.settings, shift_ms=self.now_ms)

    def run(self, call: Call[T]) -> T:
        if call.script is not None:
            call = call._replace(script=standing_still(call.script.name, self._edit))
        return self._connection.run(call)

    # Producers.

    def take(
        self,
        id: str | None = None,
        *,
        lane: str = "transactional",
        policy: str = OnDoubt.RESEND,
        expires_in: float = HOUR,
        send_in: float | None = None,
        key: str | None = None,
        fingerprint: str = "the same mail",
        payload: bytes | None = None,
    ) -> Enqueued:
        """Enqueue a single; the answer as it comes."""
        id = id or ids.new_id()
        call = self.ledger.enqueue(
            id,
            id.encode() if payload is None else payload,
            Terms(Lane(lane), OnDoubt(policy), expires_in, self._send_at(send_in)),
            key=key,
            fingerprint=fingerprint.replace(" ", "-") if key else None,
            drain=DRAINS[lane],
        )
        return self.run(call)

    def enqueue(self, id: str | None = None, **arguments: Any) -> str:
        """Enqueue a single; its id."""
        enqueued = self.take(id, **arguments)
        assert enqueued.what == "enqueued"
        return enqueued.id

    def open_batch(
        self,
        id: str | None = None,
        *,
        lane: str = "bulk",
        policy: str = OnDoubt.RESEND,
        expires_in: float = HOUR,
        send_in: float | None = None,
        key: str | None = None,
        fingerprint: str = "the-same-terms",
        then: str | None = None,
    ) -> Any:
        id = id or ids.new_id()
        call = self.ledger.open_batch(
            id,
            Terms(Lane(lane), OnDoubt(policy), expires_in, self._send_at(send_in)),
            key=key,
            fingerprint=fingerprint if key else None,
            wake_up=wakeup.deliver_template(Lane(lane), id),
            then=then,
        )
        return self.run(call)

    def store(self, batch: str, first_row: int, rows: int, running: str = "", *, merged: bool = False) -> Any:
        return self.run(self.ledger.store_chunk(batch, first_row, rows, running, b"payload", merged=merged))

    def seal(self, batch: str, rows: int | None = None) -> tuple[str, int]:
        """`rows` defaults to as many as it has."""
        stored = int(self.redis.hget(f"postroom:batch:{batch}", "total") or 0)
        call = self.ledger.seal(
            batch,
            rows=stored if rows is None else rows,
            chord_size_key=wakeup.chord_size_key(batch),
            chord_expires=DAY,
            report=wakeup.report_template(Lane.BULK),
        )
        return self.run(call)

    def announce(self, batch: str) -> int:
        return self.run(self.ledger.announce_batch(batch))

    def batch(self, *sizes: int, merged: bool = False, **terms: Any) -> str:
        """Enqueue a batch with chunks of these sizes; its id."""
        id: str = self.open_batch(**terms).id
        for number, size in enumerate(sizes):
            assert self.store(id, sum(sizes[:number]), size, merged=merged).what == "stored"
        assert self.seal(id) == ("sealed", len(sizes))
        self.announce(id)
        return id

    def cancel(self, id: str) -> tuple[str, int, int]:
        return self.run(self.ledger.cancel(id))

    # Workers.

    def nonce(self, owner: str) -> str:
        return f"{owner}/{next(self._numbers)}"

    def claim(
        self,
        source: str,
        *,
        owner: str = "ann",
        limit: int = 10,
        nonce: str | None = None,
        first: bool | None = None,
        seen: int = 0,
    ) -> tuple[str, Claimed]:
        """Claim from a chunk, or from a lane if that is the source's name; the nonce, and what came.

        Unless told otherwise, a claim from a chunk is the first of its task, and one from a lane a later one.
        """
        nonce = nonce or self.nonce(owner)
        by = Claimant(owner=owner, nonce=nonce, limit=limit, account=self.account, seen=seen)
        if source in DRAINS:
            call = self.ledger.claim_lane(Lane(source), first=first or False, drain=DRAINS[source], **by)
        else:
            call = self.ledger.claim_chunk(source, first=first is not False, **by)
        return nonce, self.run(call)

    def settle(self, nonce: str, groups: Mapping[str, Sequence[Settling]]) -> Settled:
        requests = [
            (
                id,
                [([where] if isinstance(where, int) else where, outcome, delay) for where, outcome, delay in settlings],
            )
            for id, settlings in groups.items()
        ]
        return self.run(self.ledger.settle(requests, nonce=nonce, account=self.account))

    def settle_all(self, nonce: str, claimed: Claimed, outcome: Outcome, *, delay: float = 5.0) -> Settled:
        """Settle a whole window with one outcome, a request each."""
        return self.settle(nonce, {id: [(place, outcome, delay) for place, _ in mails] for id, mails in claimed.groups})

    def attempt(self, source: str, outcome: Outcome, *, owner: str = "ann", limit: int = 10, delay: float = 5.0) -> str:
        """Claim, and settle all of it with one outcome; the nonce."""
        nonce, claimed = self.claim(source, owner=owner, limit=limit)
        assert claimed.verdict == "claimed", claimed
        self.settle_all(nonce, claimed, outcome, delay=delay)
        return nonce

    def evidence(self, id: str, receipt: str = "receipt-of-22-letters.") -> int:
        """Proof from elsewhere that SendGrid has accepted a mail; 1 if the mail is known, else 0."""
        place = ids.place_of(id)
        return self.run(self.ledger.events([(place.chunk, [Told(place.place, receipt)])]))

    def retry(
        self, id: str, *, expires_in: float = HOUR, may_repeat: bool = False, not_accepted: bool = False
    ) -> tuple[str, str]:
        call = self.ledger.retry(
            id, expires_in=expires_in, drains=DRAINS, may_repeat=may_repeat, not_accepted=not_accepted
        )
        return self.run(call)

    def recover(self) -> tuple[int, int]:
        """Recover to the end; how many mails were put in doubt, and how many chunks left alone."""
        cursor, mails, unsealed = "0", 0, 0
        while True:
            page = self.run(self.ledger.recover(cursor))
            cursor, mails, unsealed = page.cursor, mails + page.mails, unsealed + page.unsealed
            if cursor == "0":
                return mails, unsealed

    def dead_letters(self, batch: str | None = None) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        score, skip = None, 0
        while True:
            page = self.run(self.ledger.dead(batch, score, skip))
            letters += page.letters
            if page.next is None:
                return letters
            score, skip = page.next

    def sweep(self, owner: str = "caretaker", *, again: bool = False, seen: int = 0) -> Swept:
        return self.run(self.ledger.sweep(owner, DRAINS, seen=seen, again=again))

    def sweeps(self, seconds: float, *, alive: Iterable[str] = ()) -> list[Swept]:
        """Let time pass, with a sweep each second; these owners are heard of too."""
        swept = []
        for _ in range(round(seconds)):
            self.later(1)
            swept.append(self.sweep())
            for owner in alive:
                self.sweep(owner)
        return swept

    def watched(self) -> None:
        """Sweep until the caretaker judges: it has been there for a life."""
        self.sweep()
        self.sweeps(5)

    # Looking.

    def status(self, id: str) -> MailStatus:
        status = self.run(self.ledger.status(id))
        assert status is not None, f"{id} is unknown"
        return status

    def state(self, id: str) -> State:
        return self.status(id).state

    def record(self, batch: str) -> BatchRecord:
        record = self.run(self.ledger.batch(batch))
        assert record is not None, f"{batch} is unknown"
        return record

    def counts(self, batch: str) -> dict[str, int]:
        """How many mails of a batch are in each state that any is in."""
        return {state: count for state, count in self.record(batch).counts.items() if count}

    def report(self, batch: str) -> dict[str, int]:
        """How many mails ended in each state that any ended in, as it was recorded."""
        report = self.record(batch).report
        assert report is not None, f"{batch} has no report"
        return {state: count for state, count in report.items() if count}

    def failures(self, batch: str) -> list[Failure]:
        failures: list[Failure] = []
        start: int | None = 0
        while start is not None:
            page = self.run(self.ledger.failed(batch, start))
            failures, start = failures + page.failures, page.next
        return failures

    def stats(self) -> dict[str, int]:
        return self.run(self.ledger.stats())

    def wake_ups(self, lane: str) -> list[str]:
        """The ids in a lane's queue, the next one first."""
        return [_id_of(message) for message in reversed(self.redis.lrange(lane, 0, -1))]

    def take_wake_up(self, lane: str) -> str | None:
        """Take the next one out, as a worker does."""
        message = self.redis.rpop(lane)
        return _id_of(message) if message else None

    def _send_at(self, send_in: float | None) -> float | None:
        return None if send_in is None else self.now_ms / 1000 + send_in


def _id_of(message: str) -> str:
    id: str = msgspec.json.decode(message)["headers"]["id"]
    return id
