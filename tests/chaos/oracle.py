"""Oracle: judges what has become of the mails, from what was enqueued, the acceptance log and the ledger alone.

Each judge is given the evidence and says what is wrong, a sentence each. All of them hold when all is quiet; nothing is
forgiven for what was done to the processes.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

from postroom.names import FINISHED, OnDoubt, State
from sandbox.acceptance import Acceptance
from tests.chaos.producer import Returned
from tests.chaos.record import FINISHED_NAMES, BatchRecord, MailRecord, Record

#: Seconds that a request may go on after the ledger has taken its window for lost.
SLACK = 10.0
#: Seconds by which two processes may read one clock apart, and a time be rounded.
HAIR = 0.05

#: Finished, and not sent if there was never a doubt.
NOT_SENT = (State.REJECTED, State.EXPIRED, State.CANCELLED, State.EXHAUSTED)


class Limits(NamedTuple):
    """What the fleet runs under. `in_doubt` is window x threads; `request_deadline` in seconds."""

    request_deadline: float
    in_doubt: int


class Evidence:
    """`now` is when the ledger was read, in Unix seconds."""

    def __init__(
        self, returned: list[Returned], accepted: list[Acceptance], record: Record, limits: Limits, now: float
    ) -> None:
        self.returned = returned
        self.accepted = accepted
        self.record = record
        self.limits = limits
        self.now = now

    @cached_property
    def copies(self) -> Counter[str]:
        """How many copies of each mail were accepted."""
        return Counter(id for acceptance in self.accepted for id in acceptance.postroom_ids)

    @cached_property
    def of_batch(self) -> dict[str, list[MailRecord]]:
        mails: dict[str, list[MailRecord]] = defaultdict(list)
        for mail in self.record.mails.values():
            if mail.batch:
                mails[mail.batch].append(mail)
        return mails

    @cached_property
    def sent_mails(self) -> list[MailRecord]:
        """All but those of batches that were never sealed: nothing of these may be sent."""
        return [mail for mail in self.record.mails.values() if self.is_enqueued(mail)]

    def is_enqueued(self, mail: MailRecord) -> bool:
        if mail.batch is None:
            return True
        batch = self.record.batches.get(mail.batch)
        return batch is not None and batch.is_sealed

    def is_waiting(self, mail: MailRecord) -> bool:
        """For its time, which has not come."""
        return mail.state == State.QUEUED and mail.send_at > self.now - HAIR


def judge(evidence: Evidence) -> list[str]:
    """All violations."""
    return [sentence for judgement in JUDGES for sentence in judgement(evidence)]


def nothing_is_lost(evidence: Evidence) -> Iterator[str]:
    """What enqueue has returned is in the ledger, whole."""
    for job in evidence.returned:
        if job.mails == 0 and job.id not in evidence.record.mails:
            yield f"lost: the ledger has no mail {job.id}, which enqueue returned (job {job.job})"
        if job.mails > 0:
            yield from _batch_is_there(job, evidence)


def _batch_is_there(job: Returned, evidence: Evidence) -> Iterator[str]:
    batch = evidence.record.batches.get(job.id)
    if batch is None or not batch.is_sealed:
        yield f"lost: the ledger has no sealed batch {job.id}, which enqueue_batch returned (job {job.job})"
    elif not batch.total == len(evidence.of_batch[job.id]) == job.mails:
        there = len(evidence.of_batch[job.id])
        yield f"lost: batch {job.id} of {job.mails} mails has a total of {batch.total}, and {there} are there"


def terms_are_kept(evidence: Evidence) -> Iterator[str]:
    for job in evidence.returned:
        mails = evidence.of_batch[job.id] if job.mails else [evidence.record.mails.get(job.id)]
        for mail in filter(None, mails):
            if mail.policy != job.policy:
                yield f"mail {mail.id} was enqueued with {job.policy}, and the ledger has {mail.policy}"
            if abs(mail.send_at - (job.send_at or 0)) > HAIR:
                yield f"mail {mail.id} was to be sent at {job.send_at}, and the ledger has {mail.send_at}"


def all_is_finished(evidence: Evidence) -> Iterator[str]:
    for mail in evidence.sent_mails:
        if mail.state not in FINISHED and not evidence.is_waiting(mail):
            yield f"unfinished: mail {mail.id} is still {mail.state} ({mail.reason or 'no reason'})"


def nothing_is_left_over(evidence: Evidence) -> Iterator[str]:
    """No window is open, and no wake-up waits, once nothing is left to do."""
    if all(mail.state in FINISHED for mail in evidence.sent_mails):
        for what, count in evidence.record.waiting.items():
            if count:
                yield f"left over: {count} {what}, though every mail is finished"


def accepted_was_accepted(evidence: Evidence) -> Iterator[str]:
    for mail in evidence.record.mails.values():
        if mail.state == State.ACCEPTED and not evidence.copies[mail.id]:
            yield f"false accepted: mail {mail.id} is accepted in the ledger, and never was"


def not_sent_was_not_sent(evidence: Evidence) -> Iterator[str]:
    for mail in evidence.record.mails.values():
        if mail.state not in NOT_SENT:
            continue
        copies = evidence.copies[mail.id]
        if mail.state == State.EXHAUSTED and mail.reason.startswith("http_5"):
            continue
        if copies:
            yield f"falsely {mail.state}: {copies} copies of mail {mail.id} were accepted"


def a_doubt_ends_as_one(evidence: Evidence) -> Iterator[str]:
    """After a doubt nobody can say that a mail was not sent."""
    for mail in evidence.record.mails.values():
        if mail.state in NOT_SENT and mail.doubts > 0:
            yield f"mail {mail.id} is {mail.state} in spite of {mail.doubts} doubts"


def hold_is_at_most_once(evidence: Evidence) -> Iterator[str]:
    for mail in evidence.record.mails.values():
        if mail.policy == OnDoubt.HOLD and evidence.copies[mail.id] > 1:
            yield f"duplicate under hold: mail {mail.id} was accepted {evidence.copies[mail.id]} times"


def resend_is_at_most_twice(evidence: Evidence) -> Iterator[str]:
    for mail in evidence.record.mails.values():
        copies = evidence.copies[mail.id]
        if mail.policy != OnDoubt.RESEND or copies < 2:
            continue
        if copies > 2:
            yield f"duplicate: mail {mail.id} was accepted {copies} times under resend"
        if mail.doubts == 0:
            yield f"duplicate without a doubt: mail {mail.id} was accepted {copies} times under resend"


def only_the_enqueued_is_sent(evidence: Evidence) -> Iterator[str]:
    for id, copies in evidence.copies.items():
        mail = evidence.record.mails.get(id)
        if mail is None:
            yield f"unknown: {copies} copies of mail {id} were accepted, which the ledger does not have"
        elif not evidence.is_enqueued(mail):
            yield f"unsealed: {copies} copies of mail {id} were accepted, whose batch was never sealed"


def counts_are_right(evidence: Evidence) -> Iterator[str]:
    for batch in evidence.record.batches.values():
        if batch.is_sealed:
            recount = Counter(mail.state for mail in evidence.of_batch[batch.id])
            yield from _differences(f"batch {batch.id} counts", batch.counts, recount)


def reports_are_right(evidence: Evidence) -> Iterator[str]:
    """A report is what the states were when it was taken."""
    for batch in evidence.record.batches.values():
        if batch.report is not None:
            recount = Counter(mail.was or mail.state for mail in evidence.of_batch[batch.id])
            yield from _differences(f"the report of batch {batch.id} has", batch.report, recount)


def _differences(what: str, counts: dict[str, int], recount: Counter[str]) -> Iterator[str]:
    for state in sorted({*counts, *recount}):
        if counts.get(state, 0) != recount[state]:
            yield f"{what} {counts.get(state, 0)} {state}, a recount {recount[state]}"


def each_batch_has_one_report(evidence: Evidence) -> Iterator[str]:
    reported = 0
    for batch in evidence.record.batches.values():
        if batch.report is not None:
            reported += 1
        elif batch.is_sealed and _is_done(batch, evidence):
            yield f"batch {batch.id} is done, and has no report"
        if batch.report is not None and sum(batch.report.get(name, 0) for name in FINISHED_NAMES) != batch.total:
            yield f"the report of batch {batch.id} does not add up to {batch.total}: {batch.report}"
    if evidence.record.reports != reported:
        yield f"{evidence.record.reports} reports were recorded for {reported} batches"


def then_comes_after_the_report(evidence: Evidence) -> Iterator[str]:
    for job in evidence.returned:
        batch = evidence.record.batches.get(job.id)
        if job.then and batch is not None and batch.report is not None and job.id not in evidence.record.thens:
            yield f"batch {job.id} is reported, and what was to come then was not published"


def _is_done(batch: BatchRecord, evidence: Evidence) -> bool:
    return batch.is_final or all(mail.state in FINISHED for mail in evidence.of_batch[batch.id])


def nothing_is_sent_late(evidence: Evidence) -> Iterator[str]:
    slack = evidence.limits.request_deadline + SLACK
    for acceptance in evidence.accepted:
        for mail in filter(None, map(evidence.record.mails.get, acceptance.postroom_ids)):
            late = acceptance.time - mail.expires
            if late > slack:
                yield f"late: mail {mail.id} was accepted {late:.1f} s after it had expired"


def nothing_is_sent_early(evidence: Evidence) -> Iterator[str]:
    for acceptance in evidence.accepted:
        for mail in filter(None, map(evidence.record.mails.get, acceptance.postroom_ids)):
            early = mail.send_at - acceptance.time
            if early > HAIR:
                yield f"early: mail {mail.id} was accepted {early:.1f} s before it was to be sent"


def doubts_of_owners(record: Record) -> Counter[str]:
    """How many mails each dead worker has put in doubt, by the last doubt of each mail."""
    return Counter(
        mail.nonce.partition("/")[0]
        for mail in record.mails.values()
        if mail.reason == "worker_died" and mail.doubts > 0 and mail.nonce
    )


def a_dead_worker_puts_few_in_doubt(evidence: Evidence) -> Iterator[str]:
    for owner, count in doubts_of_owners(evidence.record).items():
        if count > evidence.limits.in_doubt:
            yield f"worker {owner} has put {count} mails in doubt, more than {evidence.limits.in_doubt}"


JUDGES: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    nothing_is_lost,
    terms_are_kept,
    all_is_finished,
    nothing_is_left_over,
    accepted_was_accepted,
    not_sent_was_not_sent,
    a_doubt_ends_as_one,
    hold_is_at_most_once,
    resend_is_at_most_twice,
    only_the_enqueued_is_sent,
    counts_are_right,
    reports_are_right,
    each_batch_has_one_report,
    then_comes_after_the_report,
    nothing_is_sent_late,
    nothing_is_sent_early,
    a_dead_worker_puts_few_in_doubt,
)
