"""Rules: of the protocol, one line each. Any can be left out, to see what it is there for."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Rules:
    # claim
    #: Only a queued mail is claimed.
    claim_takes_queued: bool = True
    #: A claim said again with the same nonce gets the same window.
    claim_repeats: bool = True
    #: It gets it without what has been settled since, by evidence.
    repeat_omits_settled: bool = True
    #: Nothing is claimed after its deadline.
    claim_checks_expiry: bool = True
    #: A mail that was on its way when its worker died is claimed alone from then on.
    alone_after_death: bool = True
    #: A single that is queued again gets a place in its lane.
    requeue_lists_single: bool = True

    # settle
    #: Proof of acceptance settles a mail from every state.
    proof_settles: bool = True
    #: What a window says of a mail that it does not hold any more is ignored.
    stale_is_ignored: bool = True
    #: A mail leaves its window when it is settled, even if others stay.
    settle_leaves_window: bool = True
    #: A window that was taken for lost still has its word: its outcome ends the doubt.
    late_outcome_heals: bool = True
    #: But only the doubt that this window itself has left.
    heals_own_doubt: bool = True
    #: Counts follow a mail from state to state, so that a settle said again counts nothing.
    counted_once: bool = True
    #: After a doubt, "rejected" and the like say nothing about the copy in doubt: the mail is unresolved.
    failure_after_doubt_is_unresolved: bool = True
    #: A second copy is counted by its receipt, however often it is told of.
    copy_counted_once: bool = True

    # sweep
    #: The windows of an owner that is not heard of for its life are judged.
    dead_is_judged: bool = True
    #: So is a window whose time is over, whoever holds it.
    overdue_is_judged: bool = True
    #: The mails of a judged window are in doubt, not queued.
    judged_is_doubted: bool = True
    #: A judged window is not at work on its chunk any more.
    judged_is_not_live: bool = True
    #: After a gap between sweeps nobody is judged for one life.
    no_judging_after_gap: bool = True
    #: `hold` never sends again what is in doubt.
    hold_never_requeues: bool = True
    #: A second doubt is the last.
    second_doubt_ends: bool = True
    #: A doubt lasts until its window can have no request under way (the grace).
    grace: bool = True
    #: What can be claimed and has no wake-up is announced again.
    wake_again: bool = True
    #: But not while a window is at work on it.
    wake_waits_for_live: bool = True

    # cancel, report
    #: A mail that was ever in doubt cannot be cancelled.
    cancel_refuses_doubted: bool = True
    #: A report is recorded when every mail is finished,
    report_waits_for_all: bool = True
    #: and once.
    report_once: bool = True

    # the worker
    #: No request starts after the window's `start_by`.
    start_by: bool = True
    #: A request whose reply is lost is in doubt, not a failure to be tried again.
    lost_is_doubt: bool = True
    #: The transport writes a body once. (libcurl would write it again if the connection was dropped.)
    body_written_once: bool = True

    def without(self, *names: str) -> "Rules":
        return replace(self, **dict.fromkeys(names, False))


ALL = Rules()
