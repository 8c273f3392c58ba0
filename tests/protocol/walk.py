"""Walk: a way through the model at random, and the same way through the ledger in Redis, which must agree at each step.

The ledger's clock stands still. When something is due in the model, Redis is told that it, and nothing else, is due.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from postroom.outcome import Kind
from postroom.outcome import Outcome as RealOutcome
from postroom.settings import Settings
from tests.ledger_driver import REJECTED, RELEASED, RETRY, TIMEOUT, UNSENT, Driver, Edit, as_shipped
from tests.ledger_snapshot import Snapshot
from tests.protocol.ledger import FINISHED, IN_DOUBT, NAMES, NOBODY, Ledger, Mail, Outcome, Window
from tests.protocol.rules import ALL
from tests.protocol.scenes import Scene
from tests.protocol.steps import Step, steps
from tests.protocol.world import World

OUTCOMES = {"rejected": REJECTED, "released": RELEASED, "retry": RETRY, "unsent": UNSENT, "doubt": TIMEOUT}
#: What the ledger looks at when time has passed.
INDEXES = ("due", "doubts", "overdue", "deadlines")
NEVER = 9_000_000_000_000


def wander(url: str, scene: Scene, seed: int, *, most_steps: int = 80) -> int:
    """At random. Raises `AssertionError` where they differ; returns how many steps it came."""
    chance = random.Random(seed)

    def choose(possible: Sequence[Step]) -> Step | None:
        return chance.choice(possible) if possible else None

    with Driver(url, Settings(max_attempts=scene.attempts)) as driver:
        return _walk(driver, scene, choose, most_steps)


def follow(url: str, scene: Scene, way: Sequence[Step], *, edit: Edit = as_shipped) -> int:
    """Along this way, as far as it goes; `edit` changes the ledger's scripts."""
    left = iter(way)

    def choose(possible: Sequence[Step]) -> Step | None:
        step = next(left, None)
        # A claim is tried even where it should find nothing: that it finds nothing is a rule, too.
        return step if step in possible or (step is not None and step.does == "claim") else None

    with Driver(url, Settings(max_attempts=scene.attempts), edit=edit) as driver:
        return _walk(driver, scene, choose, len(way))


def _walk(driver: Driver, scene: Scene, choose: Callable[[Sequence[Step]], Step | None], most_steps: int) -> int:
    driver.redis.flushall()
    world = World(scene, ALL, Twin(scene, driver))
    for number in range(most_steps):
        step = choose(list(steps(world)))
        if step is None:
            return number
        getattr(world, step.does)(*step.args)
        world.freeze()  # which gives its workers and windows their order
    return most_steps


class Twin(Ledger):
    """The model's ledger, which takes each step in Redis too, and looks there for the same. It keeps all rules."""

    __slots__ = ("batch", "chunk", "driver", "lane", "nonces", "numbers")

    def __init__(self, scene: Scene, driver: Driver) -> None:
        super().__init__(scene, ALL)
        self.driver = driver
        self.numbers = count(1)
        self.nonces = [self.new_nonce() for _ in range(scene.workers + 1)]
        driver.watched()
        if scene.batch:
            self.lane, self.batch = "bulk", driver.batch(scene.mails, policy=scene.policy)
            self.chunk = f"{self.batch}.0"
        else:
            self.lane, self.batch = "transactional", ""
            self.chunk = driver.enqueue(policy=scene.policy)
        self.agree()

    # The steps.

    def claim(self, nonce: int, *, first: bool) -> tuple[str, tuple[int, ...]]:
        verdict, rows = super().claim(nonce, first=first)
        self.driver.redis.delete("postroom:account:default")  # failures in a row would pause it
        name = self.nonces[nonce]
        source = self.chunk if self.batch else self.lane
        _, claimed = self.driver.claim(source, owner=_owner(name), nonce=name, limit=self.scene.window, first=first)
        assert claimed.verdict == (verdict if self.batch or rows else "idle" if verdict != "claimed" else verdict)
        attempts = [(row, self.mails[row].attempts + 1) for row in rows]
        assert [mail for _, mails in claimed.groups for mail in mails] == attempts
        self.agree()
        return verdict, rows

    def settle(self, nonce: int, outcomes: Iterable[tuple[int, Outcome]]) -> None:
        outcomes = list(outcomes)
        super().settle(nonce, outcomes)
        real = [(row, _real(row, outcome), 60.0) for row, outcome in outcomes]
        if nonce == NOBODY:
            for row, proof, _ in real:
                assert self.driver.evidence(self.id(row), proof.receipt or "") == 1
        else:
            self.driver.settle(self.nonces[nonce], {self.chunk: real})
        self.agree()

    def judge_window(self, window: Window, reason: str) -> None:
        super().judge_window(window, reason)
        windows = Snapshot.of(self.driver.raw).windows
        name = next(name for name, (groups, *_) in windows.items() if groups == {self.chunk: list(window.rows)})
        if reason == "worker_died":
            self.sweep("owners", _owner(name))
        else:
            self.sweep("overdue", name)

    def queue_due(self, row: int) -> None:
        super().queue_due(row)
        self.sweep("due", self.id(row))

    def end_doubts(self, row: int) -> None:
        super().end_doubts(row)
        self.sweep("doubts", self.id(row))

    def expire(self) -> None:
        super().expire()
        self.sweep("deadlines", self.chunk)

    def wake_chunks(self) -> None:
        super().wake_chunks()
        self.sweep(f"announced:{self.lane}", self.chunk)

    def wake(self, *, first: bool) -> None:
        super().wake(first=first)
        self.driver.run(self.driver.ledger.wake_chunk(self.chunk, first=first))
        self.agree()

    def cancel(self, row: int) -> None:
        super().cancel(row)
        assert self.driver.cancel(self.id(row)) == ("done", 1, 0)
        self.agree()

    def record_report(self) -> None:
        super().record_report()
        assert self.driver.run(self.driver.ledger.record_report(self.batch, "body"))
        self.agree()

    # What befalls it.

    def take_wake_up(self) -> None:
        super().take_wake_up()
        assert self.driver.take_wake_up(self.lane) == self.chunk

    def double_wake_up(self) -> None:
        super().double_wake_up()
        self.driver.redis.lpush(self.lane, self.driver.redis.lindex(self.lane, -1))

    def pass_deadline(self) -> None:
        super().pass_deadline()
        self.driver.redis.hset(f"postroom:chunk:{self.chunk}", "expires", self.driver.now_ms)

    def rename(self, names: Sequence[int]) -> None:
        super().rename(names)
        before = list(self.nonces)
        for old, new in enumerate(names[:NOBODY]):
            if new != old:
                self.nonces[old] = self.new_nonce()
        for old, new in enumerate(names[:NOBODY]):
            if new not in {old, NOBODY}:
                self.nonces[new] = before[old]

    # Both sides.

    def id(self, row: int) -> str:
        return f"{self.chunk}.{row}" if self.batch else self.chunk

    def new_nonce(self) -> str:
        """Of an owner of its own, so that it can be judged by itself."""
        return f"owner{next(self.numbers)}/1"

    def sweep(self, index: str, member: str) -> None:
        """This alone is due."""
        redis = self.driver.redis
        for name in INDEXES:
            for each in redis.zrange(f"postroom:{name}", 0, -1):
                redis.zadd(f"postroom:{name}", {each: NEVER})
        assert redis.zadd(f"postroom:{index}", {member: 0}, xx=True, ch=True), f"{member} is not in {index}"
        self.driver.sweep(again=True)
        self.agree()

    def agree(self) -> None:
        found = Snapshot.of(self.driver.raw)
        chunk = found.chunks[self.chunk]
        assert chunk.states == "".join(mail.state for mail in self.mails)
        assert chunk.live == self.live
        for row, mail in enumerate(self.mails):
            self.agree_on_mail(row, mail, found)
        windows = {name: groups[self.chunk] for name, (groups, *_) in found.windows.items()}
        assert sorted(windows.values()) == sorted(list(window.rows) for window in self.windows)
        held = {self.nonces[window.nonce]: list(window.rows) for window in self.windows if window.nonce != NOBODY}
        assert held.items() <= windows.items()
        assert found.stats.get("extra_copies", 0) == self.extra_copies
        if self.batch:
            self.agree_on_batch(found.batches[self.batch])
        if self.scene.wake_ups:
            assert self.driver.redis.llen(self.lane) == self.wake_ups
            assert self.driver.redis.hexists(f"postroom:chunk:{self.chunk}", "announced") == self.announced

    def agree_on_mail(self, row: int, mail: Mail, found: Snapshot) -> None:
        stored = found.mail(self.chunk, row)
        note = stored.note
        assert note.get("doubts", 0) == mail.doubts
        assert stored.receipt == _receipt(row, mail.receipt)
        assert note.get("copy", "") == _receipt(row, mail.copy)
        if mail.state == IN_DOUBT:
            assert (note["reason"] == "worker_died") == (mail.reason == "worker_died")
            assert mail.nonce == NOBODY or note["nonce"] == self.nonces[mail.nonce]
        if mail.state not in FINISHED:
            assert (stored.attempts, note.get("died", 0)) == (mail.attempts, mail.died)
        if mail.state not in FINISHED and not self.batch:
            lists = found.items(f"lane:{self.lane}:singles") + found.items(f"lane:{self.lane}:alone")
            assert lists.count(self.chunk) == mail.is_listed

    def agree_on_batch(self, batch: dict[str, str]) -> None:
        assert [int(batch.get(name, 0)) for name in NAMES] == self.counts
        assert ("final_at" in batch, "reported_at" in batch) == (self.final, self.reports > 0)
        assert ("changed_since" in batch) == self.changed_since


def _owner(nonce: str) -> str:
    return nonce.partition("/")[0]


def _receipt(row: int, copy: int) -> str:
    """22 letters, as SendGrid's are."""
    return f"receipt-{copy}-of-mail-{row:04}" if copy else ""


def _real(row: int, outcome: Outcome) -> RealOutcome:
    if outcome.kind == "accepted":
        return RealOutcome(Kind.ACCEPTED, receipt=_receipt(row, outcome.receipt))
    return OUTCOMES[outcome.kind]
