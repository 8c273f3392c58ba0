"""World: the ledger and all around it. Workers, SendGrid, messages and time take one step after another, in any order.

A worker is one thread of a process. Its number is the nonce of its window, for it has one at a time; when it goes on to
the next, whatever is left of the old one gets another number. A killed worker is followed by a new one at once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.protocol.ledger import IN_DOUBT, IS_QUEUED, NOBODY, SENDING, WAITING, Ledger, Outcome, Window
from tests.protocol.rules import Rules
from tests.protocol.scenes import Scene

IDLE, CLAIMING, HOLDING = "idle", "claiming", "holding"
#: What a worker has of a mail: nothing; its body; a request under way; or else one of these, what the request came to.
NOTHING, HELD, POSTED = "-", "held", "posted"
KNOWN = {
    **{f"accepted {copy}": Outcome("accepted", copy) for copy in range(1, 6)},
    "rejected": Outcome("rejected"),
    "retry": Outcome("retry"),
    "limited": Outcome("released"),
    "unsent": Outcome("unsent"),
    "released": Outcome("released"),
    "lost": Outcome("doubt"),
}


class Worker(NamedTuple):
    """`late`: its window's `start_by` is over."""

    phase: str
    mails: tuple[str, ...]
    late: bool = False


class Delayed(NamedTuple):
    """A claim, or a settle with these outcomes, that is still on its way, though its worker has said it again."""

    nonce: int
    outcomes: tuple[tuple[int, Outcome], ...] | None


class Step(NamedTuple):
    """Something that may happen: what a method of `World` does. `own`: the fleet brings it about by itself."""

    does: str
    args: tuple[int | str, ...]
    own: bool


State = tuple[object, ...]


class World:
    """`copies` of each mail that SendGrid has accepted; `told`: those that the ledger was told of, a bit each.
    `faults` may still happen. `gap`: Redis was away, and not everybody has been heard of since.
    """

    __slots__ = ("copies", "delayed", "faults", "gap", "ledger", "rules", "scene", "told", "workers", "wrong")

    def __init__(self, scene: Scene, rules: Rules) -> None:
        self.scene, self.rules = scene, rules
        self.ledger = Ledger(scene, rules)
        self.workers = [self.idle()] * scene.workers
        self.copies, self.told = [0] * scene.mails, [0] * scene.mails
        self.delayed: Delayed | None = None
        self.faults = tuple(sorted(scene.faults))
        self.gap = False
        #: The promise that the last step has broken.
        self.wrong = ""

    def idle(self) -> Worker:
        return Worker(IDLE, (NOTHING,) * self.scene.mails)

    # Workers.

    def begin(self, number: int) -> None:
        """A task takes a wake-up."""
        self.ledger.wake_ups -= 1
        self.workers[number] = self.idle()._replace(phase=CLAIMING)

    def claim(self, number: int) -> None:
        verdict, rows = self.ledger.claim(number)
        late = self.workers[number].late
        if verdict == "claimed":
            if any(self.ledger.mails[row].state != SENDING for row in rows):
                self.wrong = "handed_out"
            mails = tuple(HELD if row in rows else NOTHING for row in range(self.scene.mails))
            self.workers[number] = Worker(HOLDING, mails, late)
            if not rows:
                self.next_window(number)
        else:
            self.end_task(number)

    def claim_without_reply(self, number: int) -> None:
        self.spend("no_reply")
        self.workers[number] = self.workers[number]._replace(phase=CLAIMING)
        self.ledger.claim(number)

    def claim_delayed(self, number: int) -> None:
        self.spend("delay")
        self.workers[number] = self.workers[number]._replace(phase=CLAIMING)
        self.delayed = Delayed(number, None)

    def post(self, number: int, row: int) -> None:
        self.know(number, row, POSTED)
        if row == self.scene.poison:
            self.die(number)

    def not_started(self, number: int, row: int) -> None:
        """`start_by` is over before its turn has come, or the worker stops."""
        self.know(number, row, "released")

    def answer(self, number: int, row: int, answer: str) -> None:
        """How the request ends. Whether SendGrid accepts it is decided here, at the latest."""
        accepted = answer in {"accepted", "lost_accepted", "retry_accepted"}
        self.copies[row] += accepted
        if answer == "lost_accepted" and not self.rules.body_written_once:
            return  # the connection was dropped, and the transport writes it all again
        is_lost = answer in {"lost", "lost_accepted"}
        if answer == "accepted":
            self.know(number, row, f"accepted {self.copies[row]}")
        elif is_lost:
            self.know(number, row, "lost" if self.rules.lost_is_doubt else "retry")
        else:
            self.know(number, row, answer.removesuffix("_accepted"))

    def settle(self, number: int) -> None:
        """All that it knows; then it goes on with the rest, or to the next window."""
        self.tell(number, self.outcomes(number))
        worker = self.workers[number]
        mails = tuple(NOTHING if known in KNOWN else known for known in worker.mails)
        self.workers[number] = worker._replace(mails=mails)
        if all(known == NOTHING for known in mails):
            self.next_window(number)

    def settle_without_reply(self, number: int) -> None:
        self.spend("no_reply")
        self.tell(number, self.outcomes(number))

    def settle_delayed(self, number: int) -> None:
        self.spend("delay")
        self.delayed = Delayed(number, self.outcomes(number))

    def delayed_arrives(self) -> None:
        """Its reply is not read any more."""
        assert self.delayed is not None
        nonce, outcomes = self.delayed
        if outcomes is None:
            self.ledger.claim(nonce)
        else:
            self.tell(nonce, outcomes)
        self.delayed = None
        if nonce == self.earlier:
            self.rename(nonce, NOBODY)

    def kill(self, number: int) -> None:
        """A request under way may have been accepted: then its reply was lost before."""
        self.spend("kill")
        self.die(number)

    def abandon(self, number: int) -> None:
        """The task fails. Its process, and so the window's owner, lives on."""
        self.spend("abandon")
        self.end_task(number)

    # SendGrid.

    def evidence(self, row: int, copy: int) -> None:
        self.tell(NOBODY, [(row, Outcome("accepted", copy))])

    # Sweeps, and what time brings about.

    def judge_paused(self, number: int, reason: str) -> None:
        """The worker is silent for its life, or for its window's, and goes on afterwards."""
        self.spend("pause")
        window = self.ledger.read_window(number)
        assert window is not None
        self.ledger.judge_window(window, reason)
        if reason == "overdue":
            self.be_late(number)

    def judge_forsaken(self, place: int) -> None:
        """A window that nobody will settle."""
        window = self.ledger.windows[place]
        is_noticed = window.is_dead and self.rules.dead_is_judged
        self.ledger.judge_window(window, "worker_died" if is_noticed else "overdue")

    def judge_unheard(self, number: int) -> None:
        """Redis was away, so that nobody could be heard of."""
        window = self.ledger.read_window(number)
        assert window is not None
        self.ledger.judge_window(window, "worker_died")
        self.wrong = "justice"

    def queue_due(self, row: int) -> None:
        self.ledger.queue_due(row)

    def end_doubts(self, row: int) -> None:
        nonce = self.ledger.mails[row].nonce
        if 0 <= nonce < self.earlier and self.rules.grace:
            self.be_late(nonce)
        self.ledger.end_doubts(row)

    def deadline_over(self) -> None:
        self.ledger.expired = True

    def expire(self) -> None:
        self.ledger.expire()

    def wake_again(self) -> None:
        self.ledger.announce()

    def record_report(self) -> None:
        """By the body of the chord, or a caretaker."""
        if not self.ledger.is_finished():
            self.wrong = "report"
        self.ledger.record_report()

    def redis_away(self) -> None:
        """For longer than an owner's life. It loses nothing."""
        self.spend("away")
        self.gap = True

    def all_heard(self) -> None:
        """It is back for one life: whoever lives has been heard of."""
        self.gap = False

    # Messages, producers.

    def lose_wake_up(self) -> None:
        self.ledger.wake_ups -= 1

    def double_wake_up(self) -> None:
        self.spend("double")
        self.ledger.wake_ups += 1

    def cancel(self, row: int) -> None:
        self.spend("cancel")
        self.ledger.cancel(row)

    # What they share.

    @property
    def earlier(self) -> int:
        """The nonce of a delayed message whose worker has gone on to the next."""
        return self.scene.workers

    def spend(self, fault: str) -> None:
        place = self.faults.index(fault)
        self.faults = self.faults[:place] + self.faults[place + 1 :]

    def know(self, number: int, row: int, what: str) -> None:
        worker = self.workers[number]
        self.workers[number] = worker._replace(mails=(*worker.mails[:row], what, *worker.mails[row + 1 :]))

    def outcomes(self, number: int) -> tuple[tuple[int, Outcome], ...]:
        return tuple((row, KNOWN[known]) for row, known in enumerate(self.workers[number].mails) if known in KNOWN)

    def tell(self, nonce: int, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Settle. What a window says of a doubt that it has left itself is heard."""
        own = [row for row, outcome in outcomes if outcome.kind != "doubt" and self.has_doubt_of(nonce, row)]
        for row, outcome in outcomes:
            if outcome.kind == "accepted":
                self.told[row] |= 1 << outcome.receipt
        self.ledger.settle(nonce, outcomes)
        if any(self.ledger.mails[row].state == IN_DOUBT for row in own):
            self.wrong = "heard"

    def has_doubt_of(self, nonce: int, row: int) -> bool:
        mail = self.ledger.mails[row]
        return mail.state == IN_DOUBT and mail.nonce == nonce != NOBODY

    def be_late(self, number: int) -> None:
        """Its window's time is over: it starts no request any more, and those that it had started have timed out."""
        worker = self.workers[number]
        lost = "lost" if self.rules.lost_is_doubt else "retry"
        mails = tuple(lost if known == POSTED else known for known in worker.mails)
        self.workers[number] = Worker(worker.phase, mails, late=True)

    def next_window(self, number: int) -> None:
        self.end_task(number)
        if self.scene.wake_ups:
            self.workers[number] = self.workers[number]._replace(phase=CLAIMING)

    def end_task(self, number: int) -> None:
        is_awaited = self.delayed is not None and self.delayed.nonce == number
        self.rename(number, self.earlier if is_awaited else NOBODY)
        self.workers[number] = self.idle()

    def die(self, number: int) -> None:
        windows = self.ledger.windows
        self.ledger.windows = [each._replace(is_dead=True) if each.nonce == number else each for each in windows]
        self.end_task(number)

    def rename(self, nonce: int, to: int) -> None:
        names = [*range(self.earlier + 1), NOBODY]
        names[nonce] = to
        self.rename_all(names)

    def rename_all(self, names: Sequence[int]) -> None:
        """`names[-1]` is NOBODY's own."""
        for mail in self.ledger.mails:
            mail.nonce = names[mail.nonce]
        self.ledger.windows = [each._replace(nonce=names[each.nonce]) for each in self.ledger.windows]
        if self.delayed is not None:
            self.delayed = self.delayed._replace(nonce=names[self.delayed.nonce])

    def is_done(self) -> bool:
        return self.ledger.is_finished() and (self.ledger.reports > 0 or not self.scene.batch)

    # What may happen next.

    def steps(self) -> Iterator[Step]:
        for number, worker in enumerate(self.workers):
            if worker.phase != IDLE or self.workers.index(worker) == number:  # one idle worker is like another
                yield from self.steps_of(number, worker)
        yield from self.steps_of_time()
        yield from self.steps_of_others()

    def steps_of(self, number: int, worker: Worker) -> Iterator[Step]:
        if worker.phase == HOLDING:
            for row, known in enumerate(worker.mails):
                yield from self.steps_of_mail(number, row, known)
            if any(known in KNOWN for known in worker.mails):
                yield Step("settle", (number,), own=True)
                yield from self.if_can("no_reply", "settle_without_reply", number)
                if self.delayed is None:
                    yield from self.if_can("delay", "settle_delayed", number)
        elif worker.phase == CLAIMING or (not self.scene.wake_ups and self.ledger.has_claimable()):
            yield Step("claim", (number,), own=True)
            yield from self.if_can("no_reply", "claim_without_reply", number)
            if self.delayed is None:
                yield from self.if_can("delay", "claim_delayed", number)
        elif self.ledger.wake_ups:
            yield Step("begin", (number,), own=True)
        if worker.phase != IDLE:
            yield from self.if_can("kill", "kill", number)
            yield from self.if_can("abandon", "abandon", number)
            if self.ledger.read_window(number):
                yield from self.if_can("pause", "judge_paused", number, "worker_died")
                yield from self.if_can("pause", "judge_paused", number, "overdue")
                if self.gap and not self.rules.no_judging_after_gap:
                    yield Step("judge_unheard", (number,), own=False)

    def steps_of_mail(self, number: int, row: int, known: str) -> Iterator[Step]:
        late = self.workers[number].late and self.rules.start_by
        if known == HELD:
            if not late:
                yield Step("post", (number, row), own=True)
            yield Step("not_started", (number, row), own=late)
        elif known == POSTED:
            for answer in self.scene.answers:
                if self.copies[row] < 3:
                    yield Step("answer", (number, row, answer), own=answer == "accepted")

    def steps_of_time(self) -> Iterator[Step]:
        ledger = self.ledger
        for place, window in enumerate(ledger.windows):
            is_forsaken = not 0 <= window.nonce < self.earlier
            if is_forsaken and ((window.is_dead and self.rules.dead_is_judged) or self.rules.overdue_is_judged):
                yield Step("judge_forsaken", (place,), own=True)
        for row, mail in enumerate(ledger.mails):
            if mail.state == WAITING:
                yield Step("queue_due", (row,), own=True)
            elif mail.state == IN_DOUBT:
                yield Step("end_doubts", (row,), own=True)
        if self.scene.expires and not ledger.expired:
            yield Step("deadline_over", (), own=False)
        if ledger.expired and any(mail.state in IS_QUEUED for mail in ledger.mails):
            yield Step("expire", (), own=True)
        if self.scene.wake_ups and self.rules.wake_again and ledger.is_lost():
            yield Step("wake_again", (), own=True)
        if self.scene.batch and ledger.can_record_report():
            yield Step("record_report", (), own=True)
        if self.gap:
            yield Step("all_heard", (), own=True)
        yield from self.if_can("away", "redis_away")

    def steps_of_others(self) -> Iterator[Step]:
        if self.delayed is not None:
            yield Step("delayed_arrives", (), own=False)
        if self.ledger.wake_ups:
            yield Step("lose_wake_up", (), own=False)
            yield from self.if_can("double", "double_wake_up")
        for row, copies in enumerate(self.copies):
            if self.scene.evidence:
                for copy in range(1, copies + 1):
                    yield Step("evidence", (row, copy), own=False)
            if self.ledger.can_cancel(row):
                yield from self.if_can("cancel", "cancel", row)

    def if_can(self, fault: str, does: str, *args: int | str) -> Iterator[Step]:
        if fault in self.faults:
            yield Step(does, args, own=False)

    # States.

    def freeze(self) -> tuple[State, Sequence[int]]:
        """The state, and the order in which it has the workers: which is which makes no difference."""
        mails = tuple([mail.freeze() for mail in self.ledger.mails])
        self.workers = [_tidy(worker) for worker in self.workers]
        order = sorted(range(len(self.workers)), key=self._key)
        if order != sorted(order):
            names = [*range(self.earlier + 1), NOBODY]
            for place, number in enumerate(order):
                names[number] = place
            self.workers = [self.workers[number] for number in order]
            self.rename_all(names)
            mails = tuple([mail.freeze() for mail in self.ledger.mails])
        around = (tuple(self.workers), tuple(self.copies), tuple(self.told), self.delayed, self.faults, self.gap)
        return (mails, self.ledger.freeze(), *around), order

    def _key(self, number: int) -> tuple[object, ...]:
        windows = [each.rows for each in self.ledger.windows if each.nonce == number]
        doubts = [mail.nonce == number for mail in self.ledger.mails]
        return self.workers[number], windows, doubts, self.delayed is not None and self.delayed.nonce == number

    @classmethod
    def thaw(cls, scene: Scene, rules: Rules, state: State) -> "World":
        world = cls.__new__(cls)
        mails, ledger, workers, copies, told, world.delayed, world.faults, world.gap = state
        world.scene, world.rules, world.wrong = scene, rules, ""
        world.ledger = Ledger.thaw(scene, rules, mails, ledger)
        world.workers, world.copies, world.told = list(workers), list(copies), list(told)
        return world


def _tidy(worker: Worker) -> Worker:
    """Lateness matters while there is something to start."""
    if worker.late and worker.phase != CLAIMING and HELD not in worker.mails:
        return worker._replace(late=False)
    return worker
