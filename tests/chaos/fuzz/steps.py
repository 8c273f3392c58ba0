"""Steps: nonsense as arguments of the ledger's scripts. Redis refuses it or answers; good mails are not harmed.

After each try a caretaker sweeps, and all that the ledger has of the mails that were there before must go together.
From time to time new mails are sent, so that a ledger that looks sound and does nothing any more is found, too. What
nonsense stores of its own may be nonsense.
"""

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from postroom.call import Call
from postroom.delivery import Told
from postroom.script import SCRIPTS
from tests.chaos.fuzz.findings import Findings
from tests.chaos.fuzz.nonsense import garbled, mutated, value
from tests.chaos.fuzz.soundness import flaws
from tests.ledger_driver import DAY, DRAINS, REJECTED, RETRY, TIMEOUT, Driver, accepted
from tests.ledger_snapshot import Snapshot

#: A recovery distrusts the whole ledger, and stops the fleet until it is through.
NOT_TRIED = {"recover"}
#: A new ledger after so many tries.
LIFE = 40

_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.decode


class Steps:
    def __init__(self, driver: Driver, findings: Findings) -> None:
        self._driver = driver
        self._findings = findings
        self._left = 0
        self._templates: list[Call[Any]] = []
        self._good: frozenset[str] = frozenset()

    def try_one(self, random: Random) -> str:
        if self._left == 0:
            self._new_ledger()
        self._left -= 1
        call = random.choice(self._templates)
        _, args, *blobs = call.args
        wrong = self._wrong(random, args)
        shown = f"{_name(call)} {_shown(wrong)}"
        answer = self._run(call._replace(args=(self._driver.ledger._rules, wrong, *blobs)), shown)
        self._look(_name(call), shown)
        return answer

    def _wrong(self, random: Random, packed: bytes) -> bytes:
        good = _unpack(packed)
        if random.random() < 0.1 and "seen" not in good:
            return garbled(random, packed)
        changed = mutated(random, good) if random.random() < 0.9 else value(random)
        if isinstance(changed, dict) and "seen" in changed:
            changed["seen"] = good["seen"]  # who has seen more than there is stops the fleet, and is meant to
        try:
            return _pack(changed)
        except (ValueError, OverflowError, UnicodeError):
            return packed if "seen" in good else garbled(random, packed)

    def _run(self, call: Call[Any], shown: str) -> str:
        try:
            self._driver.run(call._replace(decode=lambda reply: reply))
        except ResponseError:
            return "refused"
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            self._findings.add(f"step {_name(call)}: {type(error).__name__}: {str(error)[:80]}", shown)
            return "failed"
        return "answered"

    def _look(self, name: str, shown: str) -> None:
        try:
            self._sweep()
            if self._left == 0:
                self._go_on()
        except (ResponseError, AssertionError, ValueError) as error:
            return self._spoilt(name, f"later steps fail: {_reason(error)}", shown)
        if flaw := next(flaws(self._driver.raw, self._good), None):
            self._spoilt(name, flaw, shown)
        return None

    def _sweep(self) -> None:
        """A name of bytes, which only nonsense has, may spoil the answer to one sweep, but not to the next."""
        self._driver.later(1)
        try:
            self._driver.sweep()
        except UnicodeDecodeError:
            self._driver.later(1)
            self._driver.sweep()

    def _spoilt(self, name: str, what: str, shown: str) -> None:
        self._findings.add(f"step {name}: {what}", shown)
        self._left = 0

    def _new_ledger(self) -> None:
        """A ledger with a mail in every state, and a good call of every step."""
        self._driver.redis.flushall()
        self._left = LIFE
        self._driver.watched()
        self._templates = Recorder(self._driver).calls()
        self._good = frozenset(Snapshot.of(self._driver.raw).chunks)

    def _go_on(self) -> None:
        """Whatever was enqueued well can be finished: within four days, all of it is."""
        for lane in DRAINS:
            self._driver.claim(lane)
        for _ in range(5):
            self._driver.later(DAY)
            for _ in range(5):
                self._driver.sweeps(2)
        id = self._driver.enqueue()
        for _ in range(100):
            nonce, claimed = self._driver.claim("transactional", owner="fresh", limit=100)
            if claimed.verdict == "claimed":
                self._driver.settle_all(nonce, claimed, accepted())
            elif claimed.verdict == "idle":
                break
            self._driver.later(1)
        assert self._driver.state(id) == "accepted", "a good mail is not sent any more"
        batch = self._driver.batch(2)
        self._driver.attempt(f"{batch}.0", accepted(), owner="fresh")
        assert self._driver.counts(batch) == {"accepted": 2}, "a good batch is not sent any more"


class Recorder:
    """Lives through the life of many mails, and notes the calls that it took."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._calls: list[Call[Any]] = []

    def calls(self) -> list[Call[Any]]:
        """At least one of every step."""
        run = self._driver.run
        self._driver.run = self._noted(run)  # type: ignore[method-assign]
        try:
            self._live()
        finally:
            self._driver.run = run  # type: ignore[method-assign]
        by_step = itertools.groupby(sorted(self._calls, key=_name), _name)
        left_out = SCRIPTS.keys() - NOT_TRIED - {_name(call) for call in self._calls}
        assert not left_out, left_out
        return [call for _, calls in by_step for call in list(calls)[-3:]]

    def _noted(self, run: Callable[[Call[Any]], Any]) -> Callable[[Call[Any]], Any]:
        def note_and_run(call: Call[Any]) -> Any:
            if call.script is not None:
                self._calls.append(call)
            return run(call)

        return note_and_run

    def _live(self) -> None:
        driver = self._driver
        for outcome in (accepted(), REJECTED, RETRY, TIMEOUT):
            driver.enqueue()
            driver.attempt("transactional", outcome)
        driver.enqueue(key="k" * 64)
        driver.enqueue(send_in=60)
        driver.enqueue(lane="bulk")
        driver.claim("bulk", owner="bob")
        cancelled = driver.enqueue()
        driver.cancel(cancelled)
        batch = driver.batch(3, 2, then="{}", key="b" * 64)
        driver.attempt(f"{batch}.0", accepted(), limit=1)
        driver.attempt(f"{batch}.0", REJECTED, limit=1)
        driver.claim(f"{batch}.3", owner="bob", limit=1)
        open_batch = driver.open_batch().id
        driver.store(open_batch, 0, 2)
        done = driver.batch(1)
        driver.attempt(f"{done}.0", REJECTED)
        for call in (
            driver.ledger.record_report(done, "body"),
            driver.ledger.then_published(done),
            driver.ledger.failed(done, 0),
            driver.ledger.status(f"{done}.0.0"),
            driver.ledger.wake_chunk(f"{batch}.0", first=False),
            driver.ledger.drop_batch(driver.open_batch().id),
            driver.ledger.kept(f"{done}.0"),
            driver.ledger.trim(f"{done}.0", "k", b"payload"),
            driver.ledger.dead(None, None, 0),
            driver.ledger.doubts(0),
            driver.ledger.keep_garbage(b"{}"),
            driver.ledger.pace(["default"]),
            driver.ledger.events([(f"{batch}.0", [Told(0, "receipt", "recipient", 6, 1, "no such user", "spam", 1)])]),
        ):
            driver.run(call)
        self._calls += [
            driver.ledger.retry(f"{done}.0.0", expires_in=DAY, drains=DRAINS, may_repeat=True, not_accepted=False),
            driver.ledger.purge(f"{done}.0.0"),
        ]
        driver.sweep()


def _name(call: Call[Any]) -> str:
    assert call.script is not None
    return call.script.name


def _shown(packed: bytes) -> str:
    try:
        return repr(_unpack(packed))
    except (msgspec.DecodeError, UnicodeError):
        return repr(packed)


def _reason(error: Exception) -> str:
    return str(error).partition(" script: ")[0][:120]
