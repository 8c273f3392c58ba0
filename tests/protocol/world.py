"""World: the ledger and all around it. Workers, SendGrid, messages and time, and what each may do.

A worker is one thread of a process. Its number is the nonce of its window, for it has one at a time; when it goes on to
the next, whatever is left of the old one gets another number. A killed worker is followed by a new one at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.protocol.ledger import IN_DOUBT, NOBODY, SENDING, Ledger, Outcome, Window
from tests.protocol.rules import Rules
from tests.protocol.scenes import Scene

#: BEGUN: a task that has a wake-up, and has not heard of its first claim; CLAIMING: the same of a later claim.
IDLE, BEGUN, CLAIMING, HOLDING = "idle", "begun", "claiming", "holding"
#: What a worker has of a mail: nothing; its body; a request under way; or what the request came to, one of `KNOWN`.
NOTHING, HELD, POSTED = "-", "held", "posted"
KNOWN = {
    **{f"accepted {copy}": Outcome("accepted", copy) for copy in range(1, 4)},
    "rejected": Outcome("rejected"),
    "retry": Outcome("retry"),
    "limited": Outcome("released"),
    "unsent": Outcome("unsent"),
    "released": Outcome("released"),
    "lost": Outcome("doubt"),
}

State = tuple[Any, ...]


class Worker(NamedTuple):
    """`mails`: what it has of each. `late`: its window's `start_by` is over."""

    phase: str
    mails: tuple[str, ...]
    late: bool = False


class Delayed(NamedTuple):
    """A claim, or a settle with these outcomes, that is still on its way, though its worker has said it again."""

    nonce: int
    outcomes: tuple[tuple[int, Outcome], ...] | None
    #: The claim was the first of its task.
    first: bool = False


class World:
    """`copies` of each mail that SendGrid has accepted; `told`: those that the ledger was told of, one bit each.
    `faults` may still happen. `gap`: Redis was away, and not everybody has been heard of since. `wrong`: the promise
    that a step itself has broken.
    """

    __slots__ = ("copies", "delayed", "faults", "gap", "ledger", "rules", "scene", "told", "workers", "wrong")

    def __init__(self, scene: Scene, rules: Rules, ledger: Ledger | None = None) -> None:
        self.scene, self.rules = scene, rules
        self.ledger = ledger or Ledger(scene, rules)
        self.workers = [self.idle()] * scene.workers
        self.copies, self.told = [0] * scene.mails, [0] * scene.mails
        self.delayed: Delayed | None = None
        self.faults = tuple(sorted(scene.faults))
        self.gap = False
        self.wrong = ""

    def is_done(self) -> bool:
        return self.ledger.is_finished() and (self.ledger.reports > 0 or not self.scene.batch)

    # Workers.

    def begin(self, number: int) -> None:
        """A task takes a wake-up."""
        self.ledger.take_wake_up()
        self.workers[number] = self.idle()._replace(phase=BEGUN)

    def claim(self, number: int) -> None:
        is_new = self.ledger.read_window(number) is None
        verdict, rows = self.ledger.claim(number, first=self.is_first(number))
        if any(self.ledger.mails[row].state != SENDING for row in rows):
            self.wrong = "handed_out"
        if rows and is_new and self.ledger.expired:
            self.wrong = "in_time"
        if verdict == "claimed":
            mails = tuple(HELD if row in rows else NOTHING for row in range(self.scene.mails))
            self.workers[number] = Worker(HOLDING, mails, self.workers[number].late)
            self.go_on(number)
        else:
            self.end_task(number)

    def claim_without_reply(self, number: int) -> None:
        """It will be said again."""
        self.spend("no_reply")
        first = self.is_first(number)
        self.workers[number] = self.workers[number]._replace(phase=BEGUN if first else CLAIMING)
        self.ledger.claim(number, first=first)

    def claim_delayed(self, number: int) -> None:
        """It will be said again, and then arrive twice."""
        self.spend("delay")
        first = self.is_first(number)
        self.workers[number] = self.workers[number]._replace(phase=BEGUN if first else CLAIMING)
        self.delayed = Delayed(number, None, first)

    def post(self, number: int, row: int) -> None:
        self.know(number, row, POSTED)
        if row == self.scene.poison:
            self.die(number)

    def not_started(self, number: int, row: int) -> None:
        """`start_by` was over before its turn had come, or the worker stops."""
        self.know(number, row, "released")

    def settle(self, number: int) -> None:
        """All that it knows."""
        self.tell(number, self.outcomes(number))
        worker = self.workers[number]
        mails = tuple(NOTHING if known in KNOWN else known for known in worker.mails)
        self.workers[number] = worker._replace(mails=mails)
        self.go_on(number)

    def settle_without_reply(self, number: int) -> None:
        self.spend("no_reply")
        self.tell(number, self.outcomes(number))

    def settle_delayed(self, number: int) -> None:
        self.spend("delay")
        self.delayed = Delayed(number, self.outcomes(number))

    def delayed_arrives(self) -> None:
        """Nobody reads the reply any more."""
        assert self.delayed is not None
        nonce, outcomes, first = self.delayed
        if outcomes is None:
            self.ledger.claim(nonce, first=first)
        else:
            self.tell(nonce, outcomes)
        self.delayed = None
        if nonce == self.earlier:
            self.ledger.rename(self.names({nonce: NOBODY}))

    def give_back(self, number: int) -> None:
        """Between two windows: the task's turn is over, or the worker stops."""
        self.ledger.wake(first=self.is_first(number))
        self.end_task(number)

    def kill(self, number: int, during: str) -> None:
        """While a claim or a settle is under way, or none. That its request is accepted all the same is a step before:
        SendGrid accepts it, and the reply is lost.
        """
        self.spend("kill")
        if during == "claim":
            self.ledger.claim(number, first=self.is_first(number))
        elif during == "settle":
            self.tell(number, self.outcomes(number))
        self.die(number)

    def abandon(self, number: int) -> None:
        """The task fails. Its process, the owner of its window, lives on."""
        self.spend("abandon")
        self.end_task(number)

    # SendGrid.

    def answer(self, number: int, row: int, answer: str) -> None:
        """A request ends. If SendGrid accepts it at all, it has done so by now: later would make no difference."""
        self.copies[row] += answer in {"accepted", "lost_accepted", "retry_accepted"}
        if answer == "accepted":
            self.know(number, row, f"accepted {self.copies[row]}")
        elif answer == "lost_accepted" and not self.rules.body_written_once:
            pass  # the transport begins again, over another connection
        elif answer in {"lost", "lost_accepted"}:
            self.know(number, row, self.lost())
        else:
            self.know(number, row, answer.removesuffix("_accepted"))

    def evidence(self, row: int, copy: int) -> None:
        self.tell(NOBODY, [(row, Outcome("accepted", copy))])

    # Sweeps, and what time brings about.

    def judge_paused(self, number: int, reason: str) -> None:
        """The worker is silent for a life, or until its window's time is over; afterwards it goes on."""
        self.spend("pause")
        self.ledger.judge_window(self.window_of(number), reason)
        if reason == "overdue":
            self.be_late(number)

    def judge_forsaken(self, place: int) -> None:
        """Nobody will settle this window any more."""
        window = self.ledger.windows[place]
        is_noticed = window.is_dead and self.rules.dead_is_judged
        self.ledger.judge_window(window, "worker_died" if is_noticed else "overdue")

    def judge_unheard(self, number: int) -> None:
        """Nobody could be heard of while Redis was away."""
        self.ledger.judge_window(self.window_of(number), "worker_died")
        self.wrong = "justice"

    def end_doubts(self, row: int) -> None:
        """A grace that is over is longer than the window that left the doubt could have requests under way."""
        nonce = self.ledger.mails[row].nonce
        if 0 <= nonce < self.earlier and self.rules.grace:
            self.be_late(nonce)
        self.ledger.end_doubts(row)

    def queue_due(self, row: int) -> None:
        self.ledger.queue_due(row)

    def deadline_over(self) -> None:
        self.ledger.pass_deadline()

    def expire(self) -> None:
        self.ledger.expire()

    def wake_again(self) -> None:
        self.ledger.wake_chunks()

    def record_report(self) -> None:
        """By the body of the chord, or by a caretaker."""
        if not self.ledger.is_finished():
            self.wrong = "report"
        self.ledger.record_report()

    # Redis, messages, producers.

    def redis_away(self) -> None:
        """For longer than an owner's life; it loses nothing. A restart is this, and replies that are lost."""
        self.spend("away")
        self.gap = True

    def all_heard(self) -> None:
        """It is back for one life, so that whoever lives has been heard of."""
        self.gap = False

    def forget(self) -> None:
        """Redis loses all that it has acknowledged since the mails were enqueued."""
        self.spend("forget")
        self.ledger = Ledger(self.scene, self.rules)

    def lose_wake_up(self) -> None:
        self.ledger.take_wake_up()

    def double_wake_up(self) -> None:
        self.spend("double")
        self.ledger.double_wake_up()

    def cancel(self, row: int) -> None:
        self.spend("cancel")
        self.ledger.cancel(row)

    # What they share.

    @property
    def earlier(self) -> int:
        """The nonce of a delayed message whose worker has gone on to the next window."""
        return self.scene.workers

    def spend(self, fault: str) -> None:
        place = self.faults.index(fault)
        self.faults = self.faults[:place] + self.faults[place + 1 :]

    def idle(self) -> Worker:
        return Worker(IDLE, (NOTHING,) * self.scene.mails)

    def is_first(self, number: int) -> bool:
        """Whether its claim is the first of its task, which has used up a wake-up."""
        return self.scene.wake_ups and self.workers[number].phase == BEGUN

    def window_of(self, number: int) -> Window:
        window = self.ledger.read_window(number)
        assert window is not None
        return window

    def know(self, number: int, row: int, what: str) -> None:
        worker = self.workers[number]
        self.workers[number] = worker._replace(mails=(*worker.mails[:row], what, *worker.mails[row + 1 :]))

    def lost(self) -> str:
        """What a worker makes of a lost reply."""
        return "lost" if self.rules.lost_is_doubt else "retry"

    def outcomes(self, number: int) -> tuple[tuple[int, Outcome], ...]:
        return tuple((row, KNOWN[known]) for row, known in enumerate(self.workers[number].mails) if known in KNOWN)

    def tell(self, nonce: int, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        """Settle, and see that a window's late word is heard."""
        ended = [row for row, outcome in outcomes if outcome.kind != "doubt" and self.has_left_in_doubt(nonce, row)]
        for row, outcome in outcomes:
            if outcome.kind == "accepted":
                self.told[row] |= 1 << outcome.receipt
        self.ledger.settle(nonce, outcomes)
        if any(self.ledger.mails[row].state == IN_DOUBT for row in ended):
            self.wrong = "heard"

    def has_left_in_doubt(self, nonce: int, row: int) -> bool:
        mail = self.ledger.mails[row]
        return mail.state == IN_DOUBT and mail.nonce == nonce != NOBODY

    def be_late(self, number: int) -> None:
        """Its window's time is over: it starts no request any more, and those that it had started have timed out."""
        worker = self.workers[number]
        mails = tuple(self.lost() if known == POSTED else known for known in worker.mails)
        self.workers[number] = Worker(worker.phase, mails, late=True)

    def go_on(self, number: int) -> None:
        """To the next window, if this one is through."""
        if set(self.workers[number].mails) == {NOTHING}:
            self.end_task(number)
            if self.scene.wake_ups:
                self.workers[number] = self.workers[number]._replace(phase=CLAIMING)

    def end_task(self, number: int) -> None:
        """It will not say the nonce again, but a delayed message may."""
        is_awaited = self.delayed is not None and self.delayed.nonce == number
        self.rename(self.names({number: self.earlier if is_awaited else NOBODY}))
        self.workers[number] = self.idle()

    def die(self, number: int) -> None:
        self.ledger.bury(number)
        self.end_task(number)

    def names(self, changes: dict[int, int]) -> list[int]:
        """A number for each nonce."""
        names = [*range(self.earlier + 1), NOBODY]
        for old, new in changes.items():
            names[old] = new
        return names

    def rename(self, names: Sequence[int]) -> None:
        self.ledger.rename(names)
        if self.delayed is not None:
            self.delayed = self.delayed._replace(nonce=names[self.delayed.nonce])

    # States.

    def freeze(self) -> tuple[State, Sequence[int]]:
        """The state, and in which order it has the workers: which of them is which makes no difference."""
        self.workers = [_tidy(worker) for worker in self.workers]
        ledger = self.ledger.freeze()
        order = sorted(range(len(self.workers)), key=self._all_about)
        if order != list(range(len(order))):
            self.workers = [self.workers[number] for number in order]
            self.rename(self.names({number: place for place, number in enumerate(order)}))
            ledger = self.ledger.freeze()
        around = (tuple(self.workers), tuple(self.copies), tuple(self.told), self.delayed, self.faults, self.gap)
        return (ledger, *around), order

    def _all_about(self, number: int) -> tuple[object, ...]:
        windows = [window.rows for window in self.ledger.windows if window.nonce == number]
        doubts = [mail.nonce == number for mail in self.ledger.mails]
        return self.workers[number], windows, doubts, self.delayed is not None and self.delayed.nonce == number

    @classmethod
    def thaw(cls, scene: Scene, rules: Rules, state: Any) -> "World":
        world = cls.__new__(cls)
        ledger, workers, copies, told, world.delayed, world.faults, world.gap = state
        world.scene, world.rules, world.wrong = scene, rules, ""
        world.ledger = Ledger.thaw(scene, rules, ledger)
        world.workers, world.copies, world.told = list(workers), list(copies), list(told)
        return world


def _tidy(worker: Worker) -> Worker:
    """Being late matters only while there is something to start."""
    if worker.late and worker.phase != CLAIMING and HELD not in worker.mails:
        return worker._replace(late=False)
    return worker
