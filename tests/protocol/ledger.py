"""Ledger: the scripts of `postroom/lua`, each a step that happens as a whole or not at all.

The mails are the rows of one chunk of a batch, or singles of one lane. A window's nonce is the number of the worker
that holds it; `NOBODY` is the nonce of a window or doubt of which no worker will speak again.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from tests.protocol.rules import Rules
from tests.protocol.scenes import Scene

QUEUED, WAITING, ALONE = "q", "w", "o"  # due; due later; due, to be claimed alone
SENDING, IN_DOUBT = "s", "d"
ACCEPTED, REJECTED, EXHAUSTED, EXPIRED, CANCELLED, UNRESOLVED = "a", "r", "x", "e", "c", "u"
CLAIMABLE, IS_QUEUED, FINISHED = frozenset("qo"), frozenset("qow"), frozenset("arxecu")
#: The counts of a batch: queued, sending, in doubt, and then the finished ones.
NAMES = ("queued", "sending", "in_doubt", "accepted", "rejected", "exhausted", "expired", "cancelled", "unresolved")
PLACE = {QUEUED: 0, WAITING: 0, ALONE: 0, **{state: place for place, state in enumerate("sdarxecu", start=1)}}

NOBODY = -1
#: Wake-ups of a lane that wait at once. It is 4 in the ledger; 2 are enough to have more than one.
HANDFUL = 2


class Outcome(NamedTuple):
    """What an attempt came to. `kind`: accepted, rejected, retry, unsent, released, doubt; `receipt`: which copy."""

    kind: str
    receipt: int = 0


class Window(NamedTuple):
    nonce: int
    rows: tuple[int, ...]
    #: Its owner was killed.
    is_dead: bool = False


class Mail:
    """A mail's state, record and note. `is_listed`: a single's id stands in its lane."""

    __slots__ = ("attempts", "copy", "died", "doubts", "is_listed", "nonce", "reason", "receipt", "state")

    def __init__(
        self,
        state: str = QUEUED,
        is_listed: bool = True,
        attempts: int = 0,
        doubts: int = 0,
        died: int = 0,
        reason: str = "",
        nonce: int = NOBODY,
        receipt: int = 0,
        copy: int = 0,
    ) -> None:
        self.state, self.is_listed, self.attempts, self.doubts, self.died = state, is_listed, attempts, doubts, died
        self.reason, self.nonce, self.receipt, self.copy = reason, nonce, receipt, copy

    def freeze(self) -> tuple[object, ...]:
        """What still matters: of a doubt that is over, who left it does not; of a finished mail, little does."""
        if self.state != IN_DOUBT:
            self.reason, self.nonce = "", NOBODY
        if self.state in FINISHED:
            self.is_listed, self.attempts, self.died = False, 0, 0
        return _fields_of(self)


_fields_of = attrgetter("state", "is_listed", "attempts", "doubts", "died", "reason", "nonce", "receipt", "copy")


class Ledger:
    """`live`: windows at work on the chunk. `wake_ups`: how many wait in the lane's queue; `announced`: whether the
    ledger takes one to wait there. `report`: the counts that were recorded, and `reports`, how often.
    """

    __slots__ = (
        *("announced", "changed_since", "counts", "expired", "extra_copies", "final", "live", "mails", "report"),
        *("reports", "rules", "scene", "to_wake", "wake_ups", "windows"),
    )

    def __init__(self, scene: Scene, rules: Rules) -> None:
        self.scene, self.rules = scene, rules
        self.mails = [Mail() for _ in range(scene.mails)]
        self.windows: list[Window] = []
        self.live = 0
        self.announced, self.wake_ups, self.to_wake = scene.wake_ups and scene.batch, int(scene.wake_ups), False
        self.counts = [scene.mails, *[0] * (len(NAMES) - 1)]
        self.report: tuple[int, ...] | None = None
        self.final, self.reports, self.changed_since = False, 0, False
        self.extra_copies = 0
        self.expired = False

    def freeze(self) -> tuple[object, ...]:
        self.windows.sort()
        return (
            tuple([mail.freeze() for mail in self.mails]),
            *(tuple(self.windows), self.live, self.announced, self.wake_ups, tuple(self.counts), self.final),
            *(self.report, self.reports, self.changed_since, self.extra_copies, self.expired),
        )

    @classmethod
    def thaw(cls, scene: Scene, rules: Rules, frozen: Any) -> "Ledger":
        ledger = cls.__new__(cls)
        ledger.scene, ledger.rules, ledger.to_wake = scene, rules, False
        mails, windows, ledger.live, ledger.announced, ledger.wake_ups, counts, ledger.final, *rest = frozen
        ledger.report, ledger.reports, ledger.changed_since, ledger.extra_copies, ledger.expired = rest
        ledger.mails = [Mail(*mail) for mail in mails]
        ledger.windows, ledger.counts = list(windows), list(counts)
        return ledger

    def rename(self, names: Sequence[int]) -> None:
        """Give each nonce another number. `names[NOBODY]` is NOBODY."""
        for mail in self.mails:
            mail.nonce = names[mail.nonce]
        self.windows = [window._replace(nonce=names[window.nonce]) for window in self.windows]

    def bury(self, nonce: int) -> None:
        """The owner of this window is killed."""
        self.windows = [window._replace(is_dead=True) if window.nonce == nonce else window for window in self.windows]

    # What befalls it.

    def take_wake_up(self) -> None:
        self.wake_ups -= 1

    def double_wake_up(self) -> None:
        self.wake_ups += 1

    def pass_deadline(self) -> None:
        self.expired = True

    # chunk.lua

    def is_finished(self) -> bool:
        return all(mail.state in FINISHED for mail in self.mails)

    def is_claimable(self, mail: Mail) -> bool:
        return mail.state in CLAIMABLE or (mail.state == SENDING and not self.rules.claim_takes_queued)

    def has_claimable(self) -> bool:
        return any(self.is_claimable(mail) for mail in self.mails)

    def move(self, row: int, to: str) -> None:
        mail = self.mails[row]
        if mail.state == to:
            return
        self.counts[PLACE[mail.state]] -= 1
        self.counts[PLACE[to]] += 1
        if self.reports:
            self.changed_since = True
        mail.state = to

    def requeue(self, row: int) -> None:
        """Back to the queue; a single gets a place in its lane."""
        mail = self.mails[row]
        alone = mail.died > 0 and self.rules.alone_after_death
        self.move(row, ALONE if alone else QUEUED)
        if self.rules.requeue_lists_single:
            mail.is_listed = True

    def wait_until(self, row: int) -> None:
        self.move(row, WAITING)

    def fail(self, row: int, state: str) -> None:
        """Finished without being accepted. After a doubt nobody can say "it was not sent": then it is unresolved."""
        was_doubted = self.mails[row].doubts > 0 and self.rules.failure_after_doubt_is_unresolved
        self.move(row, UNRESOLVED if was_doubted else state)

    def doubt(self, row: int, reason: str, nonce: int) -> None:
        mail = self.mails[row]
        mail.doubts += 1
        mail.reason, mail.nonce = reason, nonce
        mail.attempts += 1
        self.move(row, IN_DOUBT)

    def accept(self, row: int, receipt: int) -> None:
        self.mails[row].receipt = receipt
        self.move(row, ACCEPTED)

    def expire_queued(self) -> None:
        for row, mail in enumerate(self.mails):
            if mail.state in IS_QUEUED:
                self.fail(row, EXPIRED)

    def read_window(self, nonce: int) -> Window | None:
        return next((window for window in self.windows if window.nonce == nonce != NOBODY), None)

    def write_window(self, window: Window) -> None:
        """In the place of the one with this nonce, if there is one."""
        self.windows = [each for each in self.windows if each.nonce != window.nonce or each.nonce == NOBODY]
        self.windows.append(window)

    def close_window(self, window: Window) -> None:
        self.windows.remove(window)

    def announce(self) -> None:
        """At most one wake-up of a chunk, or a handful of a lane."""
        self.announced = self.scene.batch
        self.wake_ups += self.scene.batch or self.wake_ups < HANDFUL

    def finish_batch(self) -> None:
        if sum(self.counts[PLACE[ACCEPTED] :]) >= len(self.mails):
            self.final = True

    def finish_chunk(self, *, in_task: bool) -> None:
        """The chord counts a chunk when its task returns: a chunk finished by anyone else is announced once more."""
        if self.scene.wake_ups and not (in_task or self.announced):
            self.announce()

    def close(self, *, was_finished: bool = False, in_task: bool = False) -> None:
        """At the end of each step."""
        if self.to_wake and not self.announced and self.has_claimable():
            self.announce()
        self.to_wake = False
        if self.scene.batch and self.is_finished() and not was_finished:
            self.finish_chunk(in_task=in_task)
            self.finish_batch()

    # claim.lua

    def claim(self, nonce: int, *, first: bool) -> tuple[str, tuple[int, ...]]:
        """The verdict, "claimed", "finished" or "idle", and the rows. `first`: the task has used up its wake-up."""
        window = self.read_window(nonce)
        if window and self.rules.claim_repeats:
            return "claimed", self.repeated(window)
        if first:
            self.announced = False
        if self.is_finished():
            return "finished", ()
        if self.expired and self.rules.claim_checks_expiry:
            self.expire_queued()
        rows = self.claim_rows()
        if rows:
            self.open_window(nonce, rows)
        self.close(in_task=True)
        if rows:
            return "claimed", rows
        return ("finished" if self.is_finished() else "idle"), ()

    def repeated(self, window: Window) -> tuple[int, ...]:
        """The same window, without what evidence has settled since."""
        if not self.rules.repeat_omits_settled:
            return window.rows
        return tuple(row for row in window.rows if self.mails[row].state == SENDING)

    def claim_rows(self) -> tuple[int, ...]:
        """One that is to be claimed alone, or else as many as a window takes. A single is taken off its lane's list."""
        mails = [(row, mail) for row, mail in enumerate(self.mails) if mail.is_listed or self.scene.batch]
        alone = [row for row, mail in mails if mail.state == ALONE]
        queued = [row for row, mail in mails if mail.state != ALONE and self.is_claimable(mail)]
        rows = tuple(alone[:1] or queued[: self.scene.window])
        for row in rows:
            self.mails[row].is_listed = False
        return rows

    def open_window(self, nonce: int, rows: tuple[int, ...]) -> None:
        for row in rows:
            self.move(row, SENDING)
        self.live += 1
        self.write_window(Window(nonce, rows))

    # settle.lua

    def settle(self, nonce: int, outcomes: Iterable[tuple[int, Outcome]]) -> None:
        """What became of the mails of a window; or evidence, which has no nonce."""
        was_finished = self.is_finished()
        window = self.read_window(nonce)
        left = list(window.rows) if window else []
        for row, outcome in outcomes:
            mine = row in left
            if mine and self.rules.settle_leaves_window:
                left.remove(row)
            self.settle_mail(row, outcome, nonce, mine=mine)
        if window:
            self.shrink_window(window, left)
        self.close(was_finished=was_finished, in_task=nonce != NOBODY)

    def settle_mail(self, row: int, outcome: Outcome, nonce: int, *, mine: bool) -> None:
        mail = self.mails[row]
        if outcome.kind == "accepted":
            self.prove(row, outcome.receipt, mine=mine)
        elif (mine or not self.rules.stale_is_ignored) and mail.state == SENDING:
            self.apply(row, outcome, nonce)
        elif mail.state == IN_DOUBT and nonce != NOBODY and (mail.nonce == nonce or not self.rules.heals_own_doubt):
            self.heal(row, outcome, nonce)

    def prove(self, row: int, receipt: int, *, mine: bool) -> None:
        """Proof that SendGrid has it settles a mail from every state but accepted."""
        mail = self.mails[row]
        if mail.state == ACCEPTED:
            self.count_copy(row, receipt)
            if not self.rules.counted_once:
                self.counts[PLACE[ACCEPTED]] += 1
        elif self.rules.proof_settles or mail.state in {SENDING, IN_DOUBT}:
            mail.attempts += mine
            self.accept(row, receipt)

    def count_copy(self, row: int, receipt: int) -> None:
        """A second copy shows by a receipt of its own. It may be told of many times, and counts once."""
        mail = self.mails[row]
        if receipt == mail.receipt or (receipt == mail.copy and self.rules.copy_counted_once):
            return
        mail.copy = receipt
        self.extra_copies += 1

    def apply(self, row: int, outcome: Outcome, nonce: int) -> None:
        mail = self.mails[row]
        if outcome.kind == "rejected":
            mail.attempts += 1
            self.fail(row, REJECTED)
        elif outcome.kind == "doubt":
            self.doubt(row, "lost", nonce)
        elif outcome.kind == "released":  # or limited, or refused
            self.requeue(row)
        else:
            mail.attempts += outcome.kind == "retry"
            self.retry(row)

    def retry(self, row: int) -> None:
        if self.mails[row].attempts >= self.scene.attempts:
            self.fail(row, EXHAUSTED)
        else:
            self.wait_until(row)

    def heal(self, row: int, outcome: Outcome, nonce: int) -> None:
        """The window was taken for lost, and its mail is in doubt; now its own outcome comes after all."""
        if not self.rules.late_outcome_heals:
            return
        mail = self.mails[row]
        if mail.reason == "worker_died":
            mail.died -= 1
        if outcome.kind == "doubt":
            mail.reason = "lost"
            return
        mail.doubts -= 1
        mail.attempts -= 1
        self.apply(row, outcome, nonce)

    def shrink_window(self, window: Window, left: list[int]) -> None:
        self.close_window(window)
        if left:
            self.windows.append(window._replace(rows=tuple(left)))
        else:
            self.live -= 1

    # judge.lua

    def judge_window(self, window: Window, reason: str) -> None:
        """Its owner is dead ("worker_died"), or its time is over ("overdue"): its mails are in doubt."""
        self.close_window(window)
        for row in window.rows:
            if self.mails[row].state == SENDING:
                self.judge_mail(row, window.nonce, reason)
        self.live -= self.rules.judged_is_not_live
        self.to_wake = self.scene.wake_ups and self.scene.batch
        self.close(was_finished=self.is_finished())

    def judge_mail(self, row: int, nonce: int, reason: str) -> None:
        if not self.rules.judged_is_doubted:
            self.requeue(row)
            return
        self.doubt(row, reason, nonce)
        self.mails[row].died += reason == "worker_died"

    # sweep.lua

    def queue_due(self, row: int) -> None:
        """A retry's time has come."""
        if self.expired:
            self.fail(row, EXPIRED)
        else:
            self.requeue_due(row)
        self.close()

    def requeue_due(self, row: int) -> None:
        """Whoever is sending from the chunk takes what has come due, too; if nobody is, it gets a wake-up."""
        is_new = not self.has_claimable() and self.live == 0
        self.requeue(row)
        self.to_wake = self.scene.wake_ups and (is_new or not self.scene.batch)

    def end_doubts(self, row: int) -> None:
        """The grace is over and no evidence came: one more copy, if that is the policy and it is the first doubt."""
        mail = self.mails[row]
        holds = self.scene.policy == "hold" and self.rules.hold_never_requeues
        if holds or (mail.doubts > 1 and self.rules.second_doubt_ends):
            self.move(row, UNRESOLVED)
        elif self.expired:
            self.fail(row, EXPIRED)
        elif mail.attempts >= self.scene.attempts:
            self.fail(row, EXHAUSTED)
        else:
            self.requeue_due(row)
        self.close()

    def expire(self) -> None:
        self.expire_queued()
        self.close()

    def is_lost(self) -> bool:
        """Whether something can be claimed, and no wake-up of it is waiting or at work."""
        at_work = self.scene.batch and self.live > 0 and self.rules.wake_waits_for_live
        return self.has_claimable() and not self.wake_ups and not at_work

    def wake_chunks(self) -> None:
        self.announce()

    # wake.lua

    def wake(self, *, first: bool) -> None:
        """A task gives its chunk back before it has seen it finished. `first`: it has not claimed yet."""
        if first:
            self.announced = False
        if self.is_finished():
            if self.scene.batch and not self.announced:
                self.announce()  # the chord counts it when a task returns
        elif self.has_claimable():
            self.to_wake = True
            self.close()

    # cancel.lua, report.lua

    def can_cancel(self, row: int) -> bool:
        mail = self.mails[row]
        return mail.state in IS_QUEUED and (mail.doubts == 0 or not self.rules.cancel_refuses_doubted)

    def cancel(self, row: int) -> None:
        self.move(row, CANCELLED)
        self.close()

    def can_record_report(self) -> bool:
        is_due = self.final or not self.rules.report_waits_for_all
        return is_due and (self.reports == 0 or not self.rules.report_once)

    def record_report(self) -> None:
        self.reports += 1
        self.report = tuple(self.counts[PLACE[ACCEPTED] :])
