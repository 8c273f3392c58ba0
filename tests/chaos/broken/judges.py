"""Judges: what the oracle is asked besides, and which of its judgements hold at any moment."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from postroom.names import State
from tests.chaos import oracle
from tests.chaos.oracle import Evidence

#: A mail is rejected for what SendGrid has answered.
ANSWERS = ("http_4",)


def each_is_one_mail(evidence: Evidence) -> Iterator[str]:
    """No two mails are sent to an address: each has an address of its own, whatever was repeated to enqueue it."""
    mails: dict[str, set[str]] = defaultdict(set)
    for acceptance in evidence.accepted:
        for address in acceptance.recipients:
            mails[address].update(acceptance.postroom_ids)
    for address, ids in mails.items():
        if len(ids) > 1:
            yield f"enqueued twice: {address} was sent {', '.join(sorted(ids))}"


def only_sendgrid_rejects(evidence: Evidence) -> Iterator[str]:
    for mail in evidence.record.mails.values():
        if mail.state == State.REJECTED and not mail.reason.startswith(ANSWERS):
            yield f"mail {mail.id} is rejected ({mail.reason}), and SendGrid has not refused it"


#: These hold at any moment, also when the log was read a little before the ledger.
AT_ANY_MOMENT: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    oracle.hold_is_at_most_once,
    oracle.resend_is_at_most_twice,
    oracle.not_sent_was_not_sent,
    oracle.a_doubt_ends_as_one,
    oracle.only_the_enqueued_is_sent,
    oracle.nothing_is_sent_late,
    oracle.nothing_is_sent_early,
    oracle.a_dead_worker_puts_few_in_doubt,
    each_is_one_mail,
    only_sendgrid_rejects,
)
