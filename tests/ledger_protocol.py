"""Protocol: producers, workers, caretakers and SendGrid, who do to the ledger and to its model whatever they may do."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from postroom import ids
from postroom.answers import Claimed
from postroom.names import Lane
from postroom.outcome import Kind, Outcome
from postroom.settings import Settings
from tests.ledger_agreement import LANES, agree
from tests.ledger_driver import DRAINS, Driver, Edit, as_shipped
from tests.ledger_model import ACCEPTED, DAY, DEAD, EACH, FINISHED, GAP, IN_DOUBT, LIFE, REPORT_LATE, WAITING, Model
from tests.ledger_snapshot import Snapshot

T = TypeVar("T")
Groups = dict[str, list[tuple[list[int], Outcome, float]]]

#: Far from now, so that what the ledger lets expire is still there to be looked at.
START = 4_000_000_000_000
#: All within tens of seconds, so that little time leads from one thing to the next.
SETTINGS = Settings(max_attempts=3, request_deadline=5, grace=20)
SOON, LATER = 30, 100_000
MINUTE = 60_000
#: So many chunks are enough for anything to happen, and few enough for it to happen to each of them.
MOST_UNFINISHED, MOST_CHUNKS = 2, 8

OWNERS = ("ann", "bob", "eve")
TERMS: dict[str, st.SearchStrategy[Any]] = {
    "lane": st.sampled_from(LANES),
    "policy": st.sampled_from(["resend", "resend", "hold"]),
    "expires_in": st.sampled_from([LATER, LATER, LATER, LATER, SOON]),
    "send_in": st.sampled_from([None, None, None, -5, 20]),
    "key": st.sampled_from([None, None, "key1", "key2"]),
    "fingerprint": st.sampled_from(["this", "that"]),
}
#: Mails a second; None is no limit. The slowest let two mails go at a time.
RATES = (None, None, 0.5, 3.0, 40.0)
AS_A_RULE = st.sampled_from([True] * 9 + [False])
#: What may happen next, and how often it does.
STEPS = {
    "enqueue": 3,
    "enqueue_batch": 4,
    "go_on": 1,
    "cancel": 1,
    "attempt": 8,
    "claim_again": 1,
    "settle": 3,
    "work": 1,
    "evidence": 1,
    "watch": 2,
    "jump": 4,
    "keep_house": 1,
    "operate": 1,
}
#: Of an attempt that came to one of these, its worker knows that SendGrid has not accepted it.
NOT_ACCEPTED = (Kind.REJECTED, Kind.RETRY, Kind.UNAVAILABLE, Kind.UNSENT, Kind.LIMITED, Kind.REFUSED, Kind.RELEASED)


class Protocol(RuleBasedStateMachine):
    """Each step is a thing that somebody does; after each, ledger and model must agree."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver
        driver.redis.flushall()
        driver.now_ms = START
        self.model = Model(SETTINGS, START)
        #: What each attempt came to, by window and mail; None while nobody knows.
        self.attempts: dict[tuple[str, str], Outcome | None] = {}
        #: The mails that each window was given.
        self.windows: dict[str, list[tuple[str, int]]] = {}
        #: The state of each mail when it was last looked at.
        self.states: dict[str, str] = {}
        #: The states in which the mails of a reported batch were when its report was last looked at.
        self.reported: dict[str, str] = {}
        #: How often somebody has had a mail sent again that may have been accepted.
        self.repeats: Counter[str] = Counter()
        self.number = 0

    def new(self, letter: str) -> str:
        self.number += 1
        return f"{letter}{self.number}"

    def pick(self, data: st.DataObject, likely: Iterable[T], possible: Iterable[T]) -> T:
        """One of the likely ones, nine times of ten."""
        choices = list(likely) if data.draw(AS_A_RULE) else []
        return data.draw(st.sampled_from(choices or list(possible)))

    def one_of(self, data: st.DataObject, *lists: list[T]) -> T:
        """One of any list, so that the rare have their turn."""
        return data.draw(st.sampled_from(data.draw(st.sampled_from([items for items in lists if items]))))

    @initialize(
        kinds=st.sets(st.sampled_from(list(Kind)), min_size=1, max_size=3),
        doubt=st.booleans(),
        alive=st.sets(st.sampled_from(OWNERS)),
        absent=st.sets(st.sampled_from(["cancel", "settle", "evidence", "watch", "work", "go_on"])),
    )
    def weather(self, kinds: set[Kind], doubt: bool, alive: set[str], absent: set[str]) -> None:
        """What SendGrid answers as a rule, whose hearts beat, and what never happens."""
        self.kinds = sorted(kinds | {Kind.DOUBT} if doubt else kinds)
        self.alive = sorted(alive)
        self.absent = absent

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Hypothesis' own choice among rules would leave out most of them most of the time, and get nowhere."""
        has_work = any(chunk.is_claimable for chunk in self.model.chunks.values())
        weights = STEPS if has_work else {**STEPS, "attempt": 1}
        steps = [name for name, weight in weights.items() for _ in range(weight) if self.can(name)]
        present = [name for name in steps if name not in self.absent]
        name = data.draw(st.sampled_from(present or steps), label="step")
        getattr(self, name)(data)

    def can(self, name: str) -> bool:
        if name in ("enqueue", "enqueue_batch"):
            unfinished = [chunk for chunk in self.model.chunks.values() if not chunk.is_finished]
            return len(unfinished) < MOST_UNFINISHED and len(self.model.chunks) < MOST_CHUNKS
        if name == "go_on":
            return bool(self.model.batches)
        if name in ("settle", "claim_again", "evidence"):
            return bool(self.windows)
        return name in ("watch", "jump") or bool(self.model.chunks)

    # Producers.

    def enqueue(self, data: st.DataObject) -> None:
        terms = data.draw(st.fixed_dictionaries(TERMS))
        singles = [chunk.id for chunk in self.model.chunks.values() if not chunk.batch]
        again = data.draw(st.sampled_from([False, False, True]))
        id = data.draw(st.sampled_from(singles)) if again and singles else self.new("s")
        assert self.driver.take(id, **terms) == self.model.enqueue(id, **self.of_model(terms))

    def of_model(self, terms: dict[str, Any]) -> dict[str, Any]:
        send_in = terms["send_in"]
        return {
            "lane": terms["lane"],
            "policy": terms["policy"],
            "expires_in": terms["expires_in"] * 1000,
            "send_at": 0 if send_in is None else self.model.now + send_in * 1000,
            "key": terms["key"],
            "fingerprint": terms["fingerprint"] if terms["key"] else None,
        }

    def enqueue_batch(self, data: st.DataObject) -> None:
        """Its producer may die on the way."""
        sizes = data.draw(st.lists(st.integers(1, 3), max_size=2))
        merged = data.draw(st.sampled_from([False, False, False, True]))
        terms = data.draw(st.fixed_dictionaries(TERMS))
        then = data.draw(st.sampled_from([None, "then"]))
        how_far = data.draw(st.sampled_from(["announced", "announced", "announced", "sealed", "stored", "opened"]))
        id = self.new("b")
        opened = self.driver.open_batch(id, then=then, **terms)
        assert opened == self.model.open_batch(id, then=then, **self.of_model(terms))
        if opened.what != "open" or how_far == "opened":
            return
        for number, size in enumerate(sizes):
            self.store(opened.id, opened.rows + sum(sizes[:number]), size, merged=merged)
        if how_far != "stored":
            self.seal(opened.id)
        if how_far == "announced":
            self.announce(opened.id)

    def store(self, batch: str, first_row: int, rows: int, *, merged: bool = False) -> None:
        running = f"hash-of-{first_row + rows}"
        real = self.driver.store(batch, first_row, rows, running, merged=merged)
        assert real == self.model.store_chunk(batch, first_row, rows, running, merged=merged)

    def seal(self, batch: str) -> None:
        assert self.driver.seal(batch) == self.model.seal(batch)

    def announce(self, batch: str) -> None:
        assert self.driver.announce(batch) == self.model.announce_batch(batch)

    def go_on(self, data: st.DataObject) -> None:
        """A producer goes on with a batch, or says something again after a lost reply."""
        what = data.draw(st.sampled_from(["store", "behind", "again", "seal", "announce", "drop"]))
        is_open = [batch.id for batch in self.model.batches.values() if not batch.sealed]
        batch = self.model.batches[self.pick(data, is_open, self.model.batches)]
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

    def cancel(self, data: st.DataObject) -> None:
        mails = [(chunk.id, row, mail.id) for chunk, row, mail in self.model.mails()]
        chunk, row, mail = data.draw(st.sampled_from(mails))
        if chunk == mail or data.draw(st.booleans()):
            assert self.driver.cancel(chunk) == self.model.cancel(chunk, None)
        else:
            assert self.driver.cancel(mail) == self.model.cancel(chunk, row)

    # Workers.

    def attempt(self, data: st.DataObject) -> None:
        """A task claims from a chunk or lane, whether or not there was a wake-up for it, and settles if it lives."""
        claimable = {
            chunk.id if chunk.batch else chunk.lane for chunk in self.model.chunks.values() if chunk.is_claimable
        }
        sources = [*LANES, *(chunk.id for chunk in self.model.chunks.values() if chunk.batch)]
        source = self.pick(data, sorted(claimable), sources)
        owner, limit = data.draw(st.sampled_from(OWNERS)), data.draw(st.integers(1, 4))
        nonce, claimed = self.claim(source, owner, limit, first=data.draw(st.booleans()))
        if claimed.verdict == "claimed" and data.draw(st.sampled_from([True, True, True, False])):
            self.settle_some(data, nonce, len(self.windows[nonce]))

    def claim_again(self, data: st.DataObject) -> None:
        """A task says its claim again after a lost reply; its window may be settled or judged by now."""
        nonce = self.pick(data, self.model.windows, self.windows)
        chunk, _ = self.windows[nonce][0]
        source = chunk if "." in chunk else self.model.chunks[chunk].lane
        self.claim(source, nonce.partition("/")[0], data.draw(st.integers(1, 4)), nonce=nonce)

    def settle(self, data: st.DataObject) -> None:
        """A task settles some of its window, for the first time or again, in time or long after it was judged."""
        in_doubt = {mail.nonce or "" for _, _, mail in self.model.mails() if mail.state == IN_DOUBT}
        lost = {nonce for (nonce, _), outcome in self.attempts.items() if outcome is None} - self.model.windows.keys()
        is_healed = sorted(in_doubt & self.windows.keys())
        nonce = self.one_of(data, list(self.model.windows), is_healed, sorted(lost), list(self.windows))
        self.settle_some(data, nonce, data.draw(st.integers(1, 4)))

    def claim(
        self, source: str, owner: str, limit: int, *, nonce: str | None = None, first: bool = False
    ) -> tuple[str, Claimed]:
        nonce = nonce or self.new(f"{owner}/")
        is_again = nonce in self.model.windows
        _, real = self.driver.claim(source, owner=owner, limit=limit, nonce=nonce, first=first)
        if source in LANES:
            model = self.model.claim_lane(source, nonce=nonce, limit=limit, account="default")
            model = msgspec.structs.replace(model, payloads=[chunk.encode() for chunk, _ in model.groups])
        else:
            model = self.model.claim_chunk(source, nonce=nonce, limit=limit, account="default")
        assert real == model
        if real.verdict == "claimed" and not is_again:
            mails = [(chunk, row) for chunk, rows in real.groups for row, _ in rows]
            self.windows[nonce] = self.windows.get(nonce, []) + mails
            for chunk, row in mails:
                self.may_be_sent(nonce, chunk, ids.mail_id(chunk, row))
        return nonce, real

    def may_be_sent(self, nonce: str, chunk: str, mail: str) -> None:
        """The promise: of attempts that SendGrid may have accepted, hold makes one, and resend at most one more."""
        earlier = [outcome for (_, other), outcome in self.attempts.items() if other == mail and _may_count(outcome)]
        most = (self.model.chunks[chunk].policy == "resend") + self.repeats[mail]
        assert len(earlier) <= most, f"{mail} is sent too often"
        self.attempts[nonce, mail] = None

    def settle_some(self, data: st.DataObject, nonce: str, how_many: int) -> None:
        held = [mail for mail in self.windows[nonce] if self.attempts[nonce, ids.mail_id(*mail)] is None]
        groups: Groups = {}
        for chunk, row in (held or self.windows[nonce])[:how_many]:
            requests = groups.setdefault(chunk, [])
            outcome = self.outcome_of(data, nonce, chunk, row)
            if self.model.chunks[chunk].is_merged and requests and requests[-1][1] == outcome:
                requests[-1][0].append(row)
            else:
                requests.append(([row], outcome, data.draw(st.sampled_from([1.0, 20.0, 200.0]))))
        self.settle_groups(nonce, groups)

    def outcome_of(self, data: st.DataObject, nonce: str, chunk: str, row: int) -> Outcome:
        """What merged mails come to is mostly the same for all of them."""
        mail = ids.mail_id(chunk, row)
        outcome = self.attempts[nonce, mail]
        if outcome is not None:
            return outcome
        request = chunk if self.model.chunks[chunk].is_merged else mail
        others = [
            self.attempts.get((nonce, ids.mail_id(*other))) for other in self.windows[nonce] if other[0] == request
        ]
        known = [other for other in others if other is not None]
        if known and data.draw(AS_A_RULE):
            outcome = known[-1]
        else:
            kind = self.pick(data, self.kinds, Kind)
            outcome = data.draw(st.sampled_from(_outcomes(kind, f"{nonce} {request}")))
        self.attempts[nonce, mail] = outcome
        return outcome

    def settle_groups(self, nonce: str, groups: Groups) -> None:
        of_model = [
            (chunk, [(rows, outcome, _wait_ms(outcome, delay)) for rows, outcome, delay in requests])
            for chunk, requests in groups.items()
        ]
        real = self.driver.settle(nonce, groups)
        model = self.model.settle(of_model, nonce=nonce, account="default")
        assert (real.stale, real.paused) == (model.stale, model.paused)
        assert set(model.trims) <= set(real.trims) <= self.model.to_trim

    def work(self, data: st.DataObject) -> None:
        """A worker takes a wake-up; it may die of that, else it sends one window and gives the rest back."""
        lane, owner = data.draw(st.sampled_from(LANES)), data.draw(st.sampled_from(OWNERS))
        wake_up = self.driver.take_wake_up(lane)
        if wake_up is None or data.draw(st.booleans()):
            return
        if wake_up in self.model.batches:
            self.report(wake_up)
            return
        source = _source_of(wake_up, lane)
        nonce, claimed = self.claim(source, owner, 2, first=True)
        if claimed.verdict == "claimed":
            self.accept_all(nonce, claimed)
            ledger = self.driver.ledger
            is_lane = source == lane
            give_back = (
                ledger.wake_lane(Lane(lane), id=nonce, drain=DRAINS[lane])
                if is_lane
                else ledger.wake_chunk(source, first=False)
            )
            self.driver.run(give_back)

    def accept_all(self, nonce: str, claimed: Claimed) -> None:
        groups: Groups = {}
        for chunk, mails in claimed.groups:
            for row, _ in mails:
                attempt = (nonce, ids.mail_id(chunk, row))
                outcome = self.attempts[attempt] = _outcomes(Kind.ACCEPTED, " ".join(attempt))[0]
                groups.setdefault(chunk, []).append(([row], outcome, 0.0))
        self.settle_groups(nonce, groups)

    def evidence(self, data: st.DataObject) -> None:
        """SendGrid tells that it has accepted an attempt, perhaps one that it had refused."""
        could = [attempt for attempt, outcome in self.attempts.items() if _may_count(outcome)]
        is_news = [attempt for attempt in could if self.states[attempt[1]] != ACCEPTED]
        is_late = [attempt for attempt in self.attempts if self.states[attempt[1]] in FINISHED - {ACCEPTED}]
        nonce, mail = self.one_of(data, is_news, is_late, could, list(self.attempts))
        if self.attempts[nonce, mail] is None:
            self.attempts[nonce, mail] = Outcome(Kind.DOUBT, reason="timeout")
        place = ids.place_of(mail)
        receipt = _receipt_of(f"{nonce} {mail}") if data.draw(st.booleans()) else ""
        known = self.driver.evidence(mail, receipt)
        assert known == self.model.evidence(place.chunk, place.place, receipt)

    def operate(self, data: st.DataObject) -> None:
        """Somebody retries a mail by hand, sets the pace, or recovers."""
        if data.draw(st.booleans()):
            name, rate = data.draw(st.sampled_from(list(self.model.buckets))), data.draw(st.sampled_from(RATES))
            self.driver.run(self.driver.ledger.set_pace(name, rate))
            self.model.buckets[name].rate = rate
            return
        if data.draw(st.sampled_from([True, False, False, False])):
            self.driver.recover()
            self.model.recover()
            return
        mails = [(chunk.id, row, mail) for chunk, row, mail in self.model.mails()]
        likely = [each for each in mails if each[2].state in DEAD | {IN_DOUBT}]
        chunk, row, mail = self.pick(data, likely, mails)
        # Who says that a mail was not accepted must be right.
        could = any(id == mail.id and _may_count(outcome) for (_, id), outcome in self.attempts.items())
        how = {"may_repeat": data.draw(st.booleans()), "not_accepted": not could and data.draw(st.booleans())}
        real = self.driver.retry(mail.id, expires_in=LATER, **how)
        assert real == self.model.retry(chunk, row, expires_in=LATER * 1000, **how)
        self.repeats[mail.id] += real == ("queued", "unresolved") and not how["not_accepted"]

    # Caretakers, and time.

    def watch(self, data: st.DataObject) -> None:
        """Some seconds pass as they do in production."""
        self.watch_for(data.draw(st.integers(1, 10)))

    def watch_for(self, seconds: int) -> None:
        for _ in range(seconds):
            self.pass_time(1000)
            for owner in ("caretaker", *self.alive):
                self.sweep(owner)

    def jump(self, data: st.DataObject) -> None:
        """Time passes with nobody there, until about when something is due."""
        dates = [*self.dates(), *self.deadlines()]
        soon = sorted({date - self.model.now for date in dates if 0 < date - self.model.now < MINUTE})[:3]
        later = sorted({moment - self.model.now for moment in self.moments() if moment > self.model.now})
        self.pass_time(self.pick(data, soon, [EACH, GAP, LIFE, *later]) + data.draw(st.sampled_from([0, 0, -1, 1])))
        self.sweep("caretaker", again=data.draw(st.booleans()))

    def pass_time(self, milliseconds: int) -> None:
        self.driver.now_ms += milliseconds
        self.model.now += milliseconds

    def sweep(self, owner: str, *, again: bool = False) -> None:
        real, model = self.driver.sweep(owner, again=again), self.model.sweep(owner, again=again)
        assert (real.swept, real.more, sorted(real.thens)) == (model.swept, model.more, model.thens)
        assert (sorted(real.trims), sorted(real.dead)) == (model.trims, sorted(model.dead))

    def moments(self) -> Iterator[int]:
        """When something may happen."""
        yield from self.dates()
        yield from self.deadlines()
        yield self.model.judge_from
        for chunk in self.model.chunks.values():
            yield from (chunk.expires, chunk.send_at)
        for batch in self.model.batches.values():
            yield (batch.then_at or 0) + REPORT_LATE
            yield batch.touched_at + DAY * (not batch.sealed)
        yield from (heard + LIFE for heard in self.model.owners.values())

    def deadlines(self) -> Iterator[int]:
        """When what is not sent by then expires."""
        yield from (chunk.deadline or 0 for chunk in self.model.chunks.values())

    def dates(self) -> Iterator[int]:
        """When something is due that must be done."""
        for _, _, mail in self.model.mails():
            yield mail.due * (mail.state == WAITING)
            yield mail.grace_ends * (mail.state == IN_DOUBT)
        for batch in self.model.batches.values():
            yield batch.announce_at or 0
            yield (batch.final_at or 0) + REPORT_LATE
        yield from (window.until for window in self.model.windows.values())
        yield from (max(account.until, account.probe_until) for account in self.model.accounts.values())

    def keep_house(self, data: st.DataObject) -> None:
        """The chord's body runs, perhaps again; content is trimmed; an owner leaves in peace."""
        what = data.draw(st.sampled_from(["report", "publish", "trim", "leave"]))
        ledger = self.driver.ledger
        if what == "leave":
            owner = data.draw(st.sampled_from(OWNERS))
            assert self.driver.run(ledger.leave(owner)) == self.model.leave(owner)
        elif what == "trim":
            for id in sorted(self.model.to_trim)[:1]:
                kept = self.driver.run(ledger.kept(id))
                assert kept == self.model.chunks[id].kept
                assert not self.driver.run(ledger.trim(id, "?" + kept[1:], b"trimmed"))
                assert self.driver.run(ledger.trim(id, kept, b"trimmed"))
                self.model.to_trim.discard(id)
        elif self.model.batches:
            final = [batch.id for batch in self.model.batches.values() if batch.final_at]
            id = self.pick(data, final, self.model.batches)
            self.report(id)
            if what == "publish":
                assert self.driver.run(ledger.then_published(id)) == self.model.then_published(id)

    def report(self, batch: str) -> None:
        recorded = self.driver.run(self.driver.ledger.record_report(batch, "body"))
        assert recorded == self.model.record_report(batch, "body")

    # What must be so at any time, and in the end.

    @invariant()
    def both_say_the_same(self) -> None:
        agree(Snapshot.of(self.driver.raw), self.model)
        for _, _, mail in self.model.mails():
            assert self.states.get(mail.id) != ACCEPTED or mail.state == ACCEPTED, f"{mail.id} was accepted"
            self.states[mail.id] = mail.state

    @invariant()
    def a_report_is_of_one_moment(self) -> None:
        """Its counts and its list of failures, whatever has come since."""
        for batch in self.model.batches.values():
            states = "".join(chunk.states for chunk in batch.chunks)
            if batch.report is not None and self.reported.get(batch.id) != states:
                self.reported[batch.id] = states
                failures = Counter(str(failure.state) for failure in self.driver.failures(batch.id))
                assert self.driver.record(batch.id).report == batch.report
                assert failures == +Counter({**batch.report, "accepted": 0})

    def teardown(self) -> None:
        """In the end, with a worker that takes nothing but the wake-ups in the queues, everything is sent or reported.

        It takes much less time than mail may wait, so that what is forgotten is not saved by its deadline.
        """
        if sys.exception() is not None:
            return
        self.alive = []
        for _ in range(100):
            if self.is_over():
                break
            self.watch_for(6)
            if not any([self.work_off(lane) for lane in LANES]):  # noqa: C419  # every lane is worked off
                later = [date - self.model.now for date in self.dates() if date > self.model.now]
                self.pass_time(min(later, default=MINUTE))
        assert self.is_over(), "some mail would wait for ever"
        self.both_say_the_same()
        self.a_report_is_of_one_moment()

    def is_over(self) -> bool:
        sealed = [batch for batch in self.model.batches.values() if batch.sealed]
        chunks = [chunk for chunk in self.model.chunks.values() if not chunk.batch]
        chunks += [chunk for batch in sealed for chunk in batch.chunks]
        return all(batch.reported_at for batch in sealed) and all(chunk.is_finished for chunk in chunks)

    def work_off(self, lane: str) -> bool:
        """Work until a lane's queue is empty; whether there was anything in it."""
        has_worked = False
        while wake_up := self.driver.take_wake_up(lane):
            has_worked = True
            if wake_up in self.model.batches:
                self.report(wake_up)
                continue
            source = _source_of(wake_up, lane)
            nonce, claimed = self.claim(source, "worker", 4, first=True)
            while claimed.verdict == "claimed":
                self.accept_all(nonce, claimed)
                nonce, claimed = self.claim(source, "worker", 4)
        return has_worked


def run(url: str, profile: settings, edit: Edit = as_shipped) -> None:
    """Let them act on the Redis at `url`, with `edit` applied to the ledger's scripts."""
    with Driver(url, SETTINGS, edit=edit) as driver:
        run_state_machine_as_test(lambda: Protocol(driver), settings=profile)


def _may_count(outcome: Outcome | None) -> bool:
    """Whether SendGrid may have accepted an attempt that came to this."""
    return outcome is None or outcome.kind not in NOT_ACCEPTED


def _outcomes(kind: Kind, attempt: str) -> list[Outcome]:
    """What an attempt may have come to."""
    if kind == Kind.ACCEPTED:
        receipt = _receipt_of(attempt)
        return [*[Outcome(kind, receipt=receipt)] * 4, Outcome(kind, receipt=receipt, wait_seconds=15)]
    if kind == Kind.LIMITED:
        return [Outcome(kind, reason="http_429"), Outcome(kind, reason="http_429", wait_seconds=30)]
    return [Outcome(kind, reason=f"because_{kind}")]


def _receipt_of(attempt: str) -> str:
    return attempt.replace(" ", "-").ljust(22, ".")[:22]


def _wait_ms(outcome: Outcome, delay: float) -> int:
    """What the ledger hears as the wait: of a limit without a word on how long, and of what went well, nothing."""
    asks = outcome.kind in (Kind.LIMITED, Kind.ACCEPTED)
    return round(1000 * (outcome.wait_seconds or 0 if asks else delay))


def _source_of(wake_up: str, lane: str) -> str:
    return lane if wake_up.startswith("drain-") else wake_up
