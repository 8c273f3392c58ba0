"""The ledger against its model: whatever happens, in whatever order, both say the same.

Two runs: `ci`, the same each time, and, with HYPOTHESIS_PROFILE=deep in the environment, a long random one.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from postroom import ids
from postroom.ledger import STATES, Claimed
from postroom.names import FINISHED as FINISHED_STATES
from postroom.names import State
from postroom.outcome import Kind, Outcome
from postroom.settings import Settings
from tests.ledger_driver import DRAINS, Driver, Edit, as_shipped
from tests.ledger_model import ACCEPTED, ALONE, IN_DOUBT, LIFE, QUEUED, REPORT_LATE, SENDING, WAITING, Model
from tests.ledger_snapshot import Snapshot
from tests.servers import RedisServer

#: Far from now, so that what the ledger lets expire is still there to be looked at.
START = 4_000_000_000_000
SETTINGS = Settings(max_attempts=3)
OWNERS = ("ann", "bob", "eve")
CARETAKERS = ("ann", "bob")
LANES = ("transactional", "bulk")
POLICIES = ("resend", "hold")
#: What a worker knows of an attempt that SendGrid has not accepted.
NOT_ACCEPTED = (Kind.REJECTED, Kind.RETRY, Kind.UNAVAILABLE, Kind.UNSENT, Kind.LIMITED, Kind.REFUSED, Kind.RELEASED)

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": False}
PROFILES = {
    "ci": settings(**COMMON, max_examples=150, stateful_step_count=40, derandomize=True, database=None),
    "deep": settings(**COMMON, max_examples=5_000, stateful_step_count=80),
}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")


class Protocol(RuleBasedStateMachine):
    """A fleet, its producers and its caretakers, who do things in any order."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver
        driver.redis.flushall()
        driver.now_ms = START
        self.model = Model(SETTINGS, START)
        #: What each attempt came to, by window and mail; None while nobody knows.
        self.attempts: dict[tuple[str, str], Outcome | None] = {}
        self.windows: dict[str, list[tuple[str, int]]] = {}
        self.last_states: dict[str, str] = {}
        self.number = 0

    def new(self, letter: str) -> str:
        self.number += 1
        return f"{letter}{self.number}"

    def pass_time(self, milliseconds: int) -> None:
        self.driver.now_ms += milliseconds
        self.model.now += milliseconds

    # Producers.

    @rule(
        lane=st.sampled_from(LANES),
        policy=st.sampled_from(POLICIES),
        expires_in=st.sampled_from([30, 3600]),
        send_in=st.sampled_from([None, None, -5, 20]),
        key=st.sampled_from([None, None, "key1", "key2"]),
        fingerprint=st.sampled_from(["this", "that"]),
        again=st.booleans(),
        data=st.data(),
    )
    def enqueue(
        self,
        lane: str,
        policy: str,
        expires_in: int,
        send_in: int | None,
        key: str | None,
        fingerprint: str,
        again: bool,
        data: st.DataObject,
    ) -> None:
        singles = [chunk.id for chunk in self.model.chunks.values() if not chunk.batch]
        id = data.draw(st.sampled_from(singles)) if again and singles else self.new("s")
        real = self.driver.take(
            id,
            **{"lane": lane, "policy": policy, "expires_in": expires_in},
            **{"send_in": send_in, "key": key, "fingerprint": fingerprint},
        )
        assert real == self.model.enqueue(
            id,
            lane=lane,
            policy=policy,
            expires_in=expires_in * 1000,
            send_at=0 if send_in is None else self.model.now + send_in * 1000,
            key=key,
            fingerprint=fingerprint if key else None,
        )

    @rule(
        sizes=st.lists(st.integers(1, 4), max_size=3),
        lane=st.sampled_from(LANES),
        policy=st.sampled_from(POLICIES),
        expires_in=st.sampled_from([30, 3600]),
        send_in=st.sampled_from([None, None, -5, 20]),
        key=st.sampled_from([None, "key1", "key3"]),
        fingerprint=st.sampled_from(["this", "that"]),
        then=st.sampled_from([None, "then"]),
        how_far=st.integers(0, 5),
    )
    def enqueue_batch(
        self,
        sizes: list[int],
        lane: str,
        policy: str,
        expires_in: int,
        send_in: int | None,
        key: str | None,
        fingerprint: str,
        then: str | None,
        how_far: int,
    ) -> None:
        """Its producer dies after opening or storing it, or lives to announce it."""
        id = self.new("b")
        opened = self.driver.open_batch(
            id,
            **{"lane": lane, "policy": policy, "expires_in": expires_in},
            **{"send_in": send_in, "key": key, "fingerprint": fingerprint, "then": then},
        )
        assert opened == self.model.open_batch(
            id,
            lane=lane,
            policy=policy,
            expires_in=expires_in * 1000,
            send_at=0 if send_in is None else self.model.now + send_in * 1000,
            key=key,
            fingerprint=fingerprint if key else None,
            then=then,
        )
        if opened.what != "open" or how_far == 0:
            return
        for number, size in enumerate(sizes):
            self.store(opened.id, opened.rows + sum(sizes[:number]), size)
        if how_far > 1:
            self.seal(opened.id)
        if how_far > 2:
            self.announce(opened.id)

    def store(self, batch: str, first_row: int, rows: int) -> None:
        running = f"hash-of-{first_row + rows}"
        real = self.driver.store(batch, first_row, rows, running)
        assert real == self.model.store_chunk(batch, first_row, rows, running)

    def seal(self, batch: str) -> None:
        assert self.driver.seal(batch) == self.model.seal(batch)

    def announce(self, batch: str) -> None:
        assert self.driver.announce(batch) == self.model.announce_batch(batch)

    @precondition(lambda self: self.model.batches)
    @rule(data=st.data(), what=st.sampled_from(["store", "behind", "again", "seal", "announce", "drop"]))
    def produce(self, data: st.DataObject, what: str) -> None:
        """A producer goes on, or says something again after a lost reply."""
        batch = data.draw(st.sampled_from(list(self.model.batches.values())))
        if what == "store":
            self.store(batch.id, batch.total, data.draw(st.integers(1, 4)))
        elif what == "behind":
            self.store(batch.id, data.draw(st.integers(0, batch.total + 1)), 1)
        elif what == "again" and batch.chunks:
            last = batch.chunks[-1]
            self.store(batch.id, batch.total - len(last.mails), len(last.mails))
        elif what == "seal":
            self.seal(batch.id)
        elif what == "announce":
            self.announce(batch.id)
        elif what == "drop":
            dropped = self.driver.run(self.driver.ledger.drop_batch(batch.id))
            assert dropped == self.model.drop_batch(batch.id)

    @precondition(lambda self: self.model.chunks)
    @rule(data=st.data(), all_of_it=st.booleans())
    def cancel(self, data: st.DataObject, all_of_it: bool) -> None:
        chunk, row, mail = self.draw_mail(data)
        real = self.driver.cancel(chunk if all_of_it else mail)
        assert real == self.model.cancel(chunk, None if all_of_it or "." not in chunk else row)

    def draw_mail(self, data: st.DataObject) -> tuple[str, int, str]:
        mails = [(chunk.id, row, ids.mail_id(chunk.id, row)) for chunk, row, _ in self.model.mails()]
        return data.draw(st.sampled_from(mails))

    # Workers.

    @precondition(lambda self: self.model.chunks)
    @rule(data=st.data(), owner=st.sampled_from(OWNERS), limit=st.integers(1, 4), first=st.booleans())
    def claim(self, data: st.DataObject, owner: str, limit: int, first: bool) -> None:
        """A task of any chunk or lane, whether or not there was a wake-up for it."""
        sources = [*LANES, *(chunk.id for chunk in self.model.chunks.values() if chunk.batch)]
        self.claim_from(data.draw(st.sampled_from(sources)), owner, limit, first=first)

    @precondition(lambda self: self.windows)
    @rule(data=st.data(), limit=st.integers(1, 4))
    def claim_again(self, data: st.DataObject, limit: int) -> None:
        """The same claim is made again, as after a lost reply; its window may be settled or judged by now."""
        nonce = data.draw(st.sampled_from(list(self.windows)))
        chunk, _ = self.windows[nonce][0]
        source = chunk if "." in chunk else self.model.chunks[chunk].lane
        self.claim_from(source, nonce.rpartition("/")[0], limit, nonce=nonce)

    def claim_from(
        self, source: str, owner: str, limit: int, *, nonce: str | None = None, first: bool = False
    ) -> tuple[str, Claimed]:
        is_again = nonce in self.model.windows
        nonce, real = self.driver.claim(source, owner=owner, limit=limit, nonce=nonce, first=first)
        if source in LANES:
            model = self.model.claim_lane(source, nonce=nonce, limit=limit, account="default")
        else:
            model = self.model.claim_chunk(source, nonce=nonce, limit=limit, account="default")
        payloads = [chunk.encode() for chunk, _ in real.groups] if "." not in "".join(dict(real.groups)) else []
        assert real == msgspec.structs.replace(model, payloads=payloads)
        if real.verdict == "claimed":
            mails = [(chunk, row) for chunk, rows in real.groups for row, _ in rows]
            self.windows[nonce] = [*self.windows.get(nonce, ()), *(mail for mail in mails if not is_again)]
            if not is_again:
                self.may_be_sent(nonce, mails)
        return nonce, real

    def may_be_sent(self, nonce: str, mails: list[tuple[str, int]]) -> None:
        """The promise: of attempts that SendGrid may have accepted, hold makes one, resend at most one more."""
        for chunk, row in mails:
            id = ids.mail_id(chunk, row)
            earlier = [
                outcome
                for (other, mail), outcome in self.attempts.items()
                if mail == id and (outcome is None or outcome.kind not in NOT_ACCEPTED)
            ]
            assert len(earlier) <= (self.model.chunks[chunk].policy == "resend"), f"{id} is sent too often"
            self.attempts[nonce, id] = None

    @precondition(lambda self: self.windows)
    @rule(data=st.data(), how_many=st.integers(1, 5))
    def settle(self, data: st.DataObject, how_many: int) -> None:
        """A task settles some of its window, for the first time or again, in time or long after it was judged."""
        nonce = data.draw(st.sampled_from(sorted(self.windows, key=lambda nonce: nonce not in self.model.windows)))
        groups: dict[str, list[tuple[int, Outcome, float]]] = {}
        for chunk, row in self.windows[nonce][:how_many]:
            outcome, delay = self.outcome_of(nonce, ids.mail_id(chunk, row), data)
            groups.setdefault(chunk, []).append((row, outcome, delay))
        self.settle_groups(nonce, groups)

    def outcome_of(self, nonce: str, mail: str, data: st.DataObject) -> tuple[Outcome, float]:
        outcome = self.attempts[nonce, mail]
        if outcome is None:
            outcome = data.draw(outcomes(f"{nonce} {mail}"))
            self.attempts[nonce, mail] = outcome
        return outcome, data.draw(st.sampled_from([1.0, 20.0, 2000.0]))

    def settle_groups(self, nonce: str | None, groups: dict[str, list[tuple[int, Outcome, float]]]) -> None:
        real = self.driver.settle(nonce, groups, in_task=nonce is not None)
        model = self.model.settle(
            [
                (chunk, [(row, outcome, round(wait(outcome, delay) * 1000)) for row, outcome, delay in mails])
                for chunk, mails in groups.items()
            ],
            nonce=nonce,
            account="default",
        )
        assert msgspec.structs.replace(real, trims=sorted(real.trims)) == model

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), with_receipt=st.booleans())
    def evidence(self, data: st.DataObject, with_receipt: bool) -> None:
        """SendGrid tells that it has accepted some attempt that may have reached it."""
        could = [
            attempt
            for attempt, outcome in self.attempts.items()
            if outcome is None or outcome.kind not in NOT_ACCEPTED
        ]
        if not could:
            return
        nonce, mail = data.draw(st.sampled_from(could))
        if self.attempts[nonce, mail] is None:
            self.attempts[nonce, mail] = Outcome(Kind.DOUBT, reason="timeout")
        place = ids.place_of(mail)
        receipt = receipt_of(f"{nonce} {mail}") if with_receipt else None
        self.settle_groups(None, {place.chunk: [(place.place, Outcome(Kind.ACCEPTED, receipt=receipt), 0.0)]})

    @rule(lane=st.sampled_from(LANES), owner=st.sampled_from(OWNERS), dies=st.booleans())
    def work(self, lane: str, owner: str, dies: bool) -> None:
        """A worker takes a wake-up; it may die of it, else it does one window and gives the rest back."""
        wake_up = self.driver.take_wake_up(lane)
        if wake_up is None or dies:
            return
        source = lane if wake_up.startswith("drain-") else wake_up
        nonce, claimed = self.claim_from(source, owner, 2, first=True)
        if claimed.verdict == "claimed":
            self.accept_all(nonce, claimed)
            self.driver.run(
                self.driver.ledger.wake_lane(lane, id=nonce, drain=DRAINS[lane])
                if source == lane
                else self.driver.ledger.wake_chunk(source)
            )

    def accept_all(self, nonce: str, claimed: Claimed) -> None:
        groups = {}
        for chunk, mails in claimed.groups:
            groups[chunk] = [(row, self.accepted(nonce, ids.mail_id(chunk, row)), 0.0) for row, _ in mails]
        self.settle_groups(nonce, groups)

    def accepted(self, nonce: str, mail: str) -> Outcome:
        outcome = Outcome(Kind.ACCEPTED, receipt=receipt_of(f"{nonce} {mail}"))
        self.attempts[nonce, mail] = outcome
        return outcome

    @rule(owner=st.sampled_from(OWNERS))
    def leave(self, owner: str) -> None:
        assert self.driver.run(self.driver.ledger.leave(owner)) == self.model.leave(owner)

    # Caretakers, and time.

    @rule(owner=st.sampled_from(CARETAKERS), again=st.booleans())
    def sweep(self, owner: str, again: bool) -> None:
        real, model = self.driver.sweep(owner, again=again), self.model.sweep(owner, again=again)
        assert msgspec.structs.replace(
            real, thens=sorted(real.thens), trims=sorted(real.trims), dead=sorted(real.dead)
        ) == msgspec.structs.replace(model, dead=sorted(model.dead))

    @rule(seconds=st.integers(1, 7), alive=st.sets(st.sampled_from(OWNERS)))
    def watch(self, seconds: int, alive: set[str]) -> None:
        """Some seconds pass as they do in production."""
        for _ in range(seconds):
            self.pass_time(1000)
            for owner in ("caretaker", *sorted(alive)):
                self.sweep(owner, again=False)

    @rule(data=st.data(), by=st.sampled_from([-1, 0, 1, 900]))
    def jump(self, data: st.DataObject, by: int) -> None:
        """Time passes with nobody there, until about when something is due."""
        later = sorted({moment - self.model.now for moment in self.moments() if moment > self.model.now})
        self.pass_time(max(0, data.draw(st.sampled_from([0, 1, 899, 900, 2000, 2001, *later])) + by))

    def moments(self) -> Iterator[int]:
        model = self.model
        yield model.judge_from
        for chunk, _, mail in model.mails():
            yield from (chunk.expires, chunk.send_at, chunk.deadline or 0)
            yield from (mail.due, mail.grace_ends)
        yield from (window.until for window in model.windows.values())
        yield from (heard + LIFE for heard in model.owners.values())
        yield from (max(account.until, account.probe_until) for account in model.accounts.values())
        yield from (batch.final_at + REPORT_LATE for batch in model.batches.values() if batch.final_at)
        yield from (batch.then_at + REPORT_LATE for batch in model.batches.values() if batch.then_at)
        yield from (batch.opened_at + 86_400_000 for batch in model.batches.values() if not batch.sealed)

    @precondition(lambda self: any(batch.final_at for batch in self.model.batches.values()))
    @rule(data=st.data(), published=st.booleans())
    def report(self, data: st.DataObject, published: bool) -> None:
        """The chord's body runs, perhaps again."""
        batch = data.draw(st.sampled_from([batch for batch in self.model.batches.values() if batch.final_at]))
        real = self.driver.run(self.driver.ledger.record_report(batch.id, "body"))
        assert real == self.model.record_report(batch.id, "body")
        if published:
            real = self.driver.run(self.driver.ledger.then_published(batch.id))
            assert real == self.model.then_published(batch.id)

    @precondition(lambda self: self.model.to_trim)
    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.to_trim)))
        states = self.model.chunks[id].states
        assert not self.driver.run(self.driver.ledger.trim(id, states.replace(states[0], "?"), b"trimmed"))
        assert self.driver.run(self.driver.ledger.trim(id, states, b"trimmed"))
        self.model.to_trim.discard(id)

    # What must be so at any time.

    @invariant()
    def both_say_the_same(self) -> None:
        snapshot = Snapshot.of(self.driver.raw)
        self.check_mails(snapshot)
        self.check_batches(snapshot)
        self.check_windows(snapshot)
        self.check_indexes(snapshot)
        self.check_ends(snapshot)
        assert snapshot.accounts.get("default", {}) == _account(self.model)
        assert snapshot.scores("owners") == self.model.owners
        assert snapshot.stats == +self.model.stats

    def check_mails(self, snapshot: Snapshot) -> None:
        assert {id: chunk.states for id, chunk in snapshot.chunks.items()} == {
            id: chunk.states for id, chunk in self.model.chunks.items()
        }
        for chunk, row, mail in self.model.mails():
            stored = snapshot.mail(chunk.id, row)
            assert (stored.attempts, stored.receipt) == (mail.attempts, mail.receipt), mail
            assert stored.changed_at == (mail.changed_at and mail.changed_at // 1000), mail
            assert _told(stored.note) == (mail.doubts, mail.died, mail.reason, mail.was), mail
            last = self.last_states.get(mail.id)
            assert last != ACCEPTED or mail.state == ACCEPTED, f"{mail.id} is not accepted any more"
            self.last_states[mail.id] = mail.state

    def check_batches(self, snapshot: Snapshot) -> None:
        assert snapshot.batches.keys() == self.model.batches.keys()
        for batch in self.model.batches.values():
            record = snapshot.batches[batch.id]
            states = Counter(letter for chunk in batch.chunks for letter in snapshot.chunks[chunk.id].states)
            recount = Counter[str]()
            for letter, count in states.items():
                recount[str(STATES[letter])] += count
            counts = Counter({str(state): int(record.get(str(state), 0)) for state in State})
            assert +counts == (recount if batch.sealed else Counter())
            assert (int(record["total"]), int(record.get("final_at", 0))) == (batch.total, batch.final_at or 0)
            assert int(record.get("changed_since", 0)) == (batch.changed_since or 0)
            if batch.final_at:
                assert sum(counts[str(state)] for state in FINISHED_STATES) == batch.total
            if batch.report:
                self.check_report(batch)

    def check_report(self, batch: Any) -> None:
        """The report and its list of failures are of one moment, whatever has come since."""
        assert self.driver.record(batch.id).report == batch.report
        failures = Counter(str(failure.state) for failure in self.driver.failures(batch.id))
        assert failures == +Counter({state: count for state, count in batch.report.items() if state != "accepted"})

    def check_windows(self, snapshot: Snapshot) -> None:
        assert snapshot.windows == {
            nonce: (window.groups, window.is_probe, window.until) for nonce, window in self.model.windows.items()
        }
        assert snapshot.scores("overdue") == {nonce: window.until for nonce, window in self.model.windows.items()}
        held = Counter(
            (chunk, row) for window in self.model.windows.values() for chunk, rows in window.groups.items() for row in rows
        )
        assert all(count == 1 for count in held.values()), "a mail is claimed twice at once"
        for chunk, row, mail in self.model.mails():
            if mail.state == SENDING:
                assert held[chunk.id, row] == 1, f"{mail.id} is sending, and nobody sends it"
            elif held[chunk.id, row]:
                assert mail.state == ACCEPTED, f"{mail.id} is claimed and {mail.state}"
        for id, stored in snapshot.chunks.items():
            assert stored.live == sum(id in window.groups for window in self.model.windows.values())

    def check_indexes(self, snapshot: Snapshot) -> None:
        """What is left to do can be found, and so will be done."""
        due, doubts, deadlines = (snapshot.scores(index) for index in ("due", "doubts", "deadlines"))
        for chunk, _, mail in self.model.mails():
            if mail.state == WAITING:
                assert due[mail.id] == mail.due
        assert doubts == {mail.id: mail.grace_ends for _, _, mail in self.model.mails() if mail.state == IN_DOUBT}
        for lane in LANES:
            assert snapshot.items(f"lane:{lane}:singles") == self.model.singles[lane]
            assert snapshot.items(f"lane:{lane}:alone") == self.model.alone[lane]
        for chunk in self.model.chunks.values():
            assert chunk.is_finished or deadlines.get(chunk.id) == chunk.deadline
            announced = chunk.id in snapshot.scores(f"announced:{chunk.lane}")
            if chunk.batch and self.model.batches[chunk.batch].is_announced:
                assert announced or not chunk.is_claimable, f"nobody would announce {chunk.id} again"
            else:
                assert not announced, f"{chunk.id} is announced too early"
            if not chunk.batch and chunk.is_claimable:
                alone = chunk.mails[0].state == ALONE
                assert chunk.id in (self.model.alone if alone else self.model.singles)[chunk.lane]

    def check_ends(self, snapshot: Snapshot) -> None:
        """What is not finished stays for ever, what is finished goes some day; and content before its record."""
        for chunk in self.model.chunks.values():
            assert snapshot.ends(f"chunk:{chunk.id}") == chunk.kept_until
            assert snapshot.ends(f"records:{chunk.id}") in (chunk.kept_until, "gone")
            assert snapshot.ends(f"notes:{chunk.id}") in (chunk.kept_until, "gone")
            payload = snapshot.ends(f"payload:{chunk.id}")
            if not chunk.is_finished:
                assert payload is None
            elif set(chunk.states) == {ACCEPTED}:
                assert payload == "gone"
            else:
                assert payload not in (None, "gone")
            if chunk.key:
                assert snapshot.ends(f"key:{chunk.key}") == chunk.kept_until
        for batch in self.model.batches.values():
            assert snapshot.ends(f"batch:{batch.id}") == batch.kept_until
            if batch.chunks:
                assert snapshot.ends(f"batch:{batch.id}:chunks") == batch.kept_until
            if batch.key:
                assert snapshot.ends(f"key:{batch.key}") == batch.kept_until
        assert snapshot.names("key") == self.model.keys.keys()
        for kind in ("chunk", "payload", "records", "notes"):
            assert snapshot.names(kind) <= self.model.chunks.keys()
        unreported = {batch.id for batch in self.model.batches.values() if batch.final_at and not batch.reported_at}
        assert snapshot.scores("unreported").keys() == unreported
        assert snapshot.scores("then").keys() == {batch.id for batch in self.model.batches.values() if batch.then_at}
        unsealed = {batch.id for batch in self.model.batches.values() if not batch.sealed}
        assert snapshot.scores("unsealed").keys() == unsealed

    def teardown(self) -> None:
        """In the end, with a worker that takes nothing but the wake-ups in the queues, everything is finished."""
        for _ in range(100):
            if self.is_over():
                break
            self.watch(6, set())
            if not any([self.work_off(lane) for lane in LANES]):
                later = [moment for moment in self.moments() if moment > self.model.now]
                self.pass_time(min(later, default=self.model.now + 1000) - self.model.now)
        assert self.is_over(), "some mail would wait for ever"
        self.both_say_the_same()
        self.check_copies()

    def is_over(self) -> bool:
        sealed = [batch for batch in self.model.batches.values() if batch.sealed]
        singles = [chunk for chunk in self.model.chunks.values() if not chunk.batch]
        return all(batch.reported_at for batch in sealed) and all(chunk.is_finished for chunk in singles)

    def work_off(self, lane: str) -> bool:
        """Work until a lane's queue is empty; whether there was anything in it."""
        worked = False
        while wake_up := self.driver.take_wake_up(lane):
            worked = True
            source = lane if wake_up.startswith("drain-") else wake_up
            nonce, claimed = self.claim_from(source, "worker", 4, first=True)
            while claimed.verdict == "claimed":
                self.accept_all(nonce, claimed)
                nonce, claimed = self.claim_from(source, "worker", 4)
        return worked

    def check_copies(self) -> None:
        """As a sender sees it: what was accepted more than once is counted, and no more than that."""
        certain = Counter(
            mail for (_, mail), outcome in self.attempts.items() if outcome and outcome.kind == Kind.ACCEPTED
        )
        possible = Counter(
            mail for (_, mail), outcome in self.attempts.items() if not outcome or outcome.kind not in NOT_ACCEPTED
        )
        counted = self.model.stats["extra_copies"]
        assert counted <= sum(count - 1 for count in possible.values())
        assert all(count <= 2 for count in certain.values())


def outcomes(attempt: str) -> st.SearchStrategy[Outcome]:
    return st.sampled_from(
        [
            Outcome(Kind.ACCEPTED, receipt=receipt_of(attempt)),
            Outcome(Kind.DOUBT, reason="timeout"),
            Outcome(Kind.RETRY, reason="http_500"),
            Outcome(Kind.REJECTED, reason="http_400"),
            Outcome(Kind.UNAVAILABLE, reason="http_503"),
            Outcome(Kind.UNSENT, reason="connect_failed"),
            Outcome(Kind.RELEASED),
            Outcome(Kind.LIMITED, reason="http_429", wait_seconds=30),
            Outcome(Kind.LIMITED, reason="http_429"),
            Outcome(Kind.REFUSED, reason="http_401"),
        ]
    )


def receipt_of(attempt: str) -> str:
    return attempt.replace(" ", "-").ljust(22, ".")[:22]


def wait(outcome: Outcome, delay: float) -> float:
    if outcome.kind == Kind.LIMITED:
        return outcome.wait_seconds or 0.0
    return delay


def _told(note: dict[str, Any]) -> tuple[int, int, str, tuple[str, str, str] | None]:
    was = note.get("was")
    before = was and (was["state"], was.get("reason") or "", was.get("errors") or "")
    return note.get("doubts", 0), note.get("died", 0), note.get("reason") or "", before


def _account(model: Model) -> dict[str, str]:
    account = model.account("default")
    known = {
        "kind": account.kind,
        "reason": account.kind and account.reason,
        "until": account.until or None,
        "interval": account.interval or None,
        "probe": account.probe,
        "probe_until": account.probe and account.probe_until,
        "failures": account.failures or None,
    }
    return {name: str(value) for name, value in known.items() if value is not None}


@pytest.fixture
def quick_redis(own_redis_server: RedisServer) -> str:
    """A Redis that does not wait for its disk: nobody kills it here."""
    own_redis_server.client().config_set("appendfsync", "no")
    return own_redis_server.url


@pytest.mark.timeout(0 if PROFILE == "deep" else 300)
def test_the_ledger_keeps_its_protocol(quick_redis: str) -> None:
    run(quick_redis, PROFILES[PROFILE])


def run(url: str, profile: settings, edit: Edit = as_shipped) -> None:
    driver = Driver(url, SETTINGS, edit=edit)
    try:
        run_state_machine_as_test(lambda: Protocol(driver), settings=profile)
    finally:
        driver.close()
