"""Breaks: what each rule is there for. Without it, in this scene, this part of the promise does not hold."""

from typing import NamedTuple

from tests.protocol.scenes import Scene


class Break(NamedTuple):
    promise: str
    scene: Scene


ANSWERS = ("accepted", "rejected", "limited", "lost_accepted", "lost")
HOLD = Scene("hold", answers=ANSWERS)
RESEND = Scene("resend", answers=ANSWERS)
ROWS = Scene("hold", batch=True, mails=2, window=2, answers=("accepted", "limited"))
PLAIN = Scene("resend", batch=True, mails=2, window=2, answers=("accepted",))

BREAKS = {
    "claim_takes_queued": Break("hold", HOLD.but(batch=True)),
    "claim_repeats": Break("loss", ROWS.but(window=1, faults=("no_reply",))),
    "repeat_omits_settled": Break("handed_out", RESEND.but(faults=("no_reply",))),
    "claim_checks_expiry": Break("in_time", HOLD.but(expires=True)),
    "alone_after_death": Break("innocence", PLAIN.but(poison=0)),
    "requeue_lists_single": Break("loss", HOLD),
    "proof_settles": Break("proof", RESEND),
    "stale_is_ignored": Break("hold", HOLD.but(faults=("no_reply",))),
    "settle_leaves_window": Break("hold", ROWS.but(faults=("no_reply",))),
    "late_outcome_heals": Break("heard", HOLD.but(faults=("pause",))),
    "heals_own_doubt": Break("hold", HOLD.but(faults=("no_reply",))),
    "counted_once": Break("counts", ROWS.but(faults=("no_reply",))),
    "failure_after_doubt_is_unresolved": Break("failures", RESEND),
    "copy_counted_once": Break("extra_copies", RESEND),
    "overdue_is_judged": Break("loss", HOLD.but(faults=("abandon",))),
    "judged_is_doubted": Break("hold", HOLD.but(faults=("kill",))),
    "judged_is_not_live": Break("loss", PLAIN.but(mails=1, wake_ups=True, faults=("kill",))),
    "no_judging_after_gap": Break("justice", HOLD.but(faults=("away",))),
    "hold_never_requeues": Break("hold", HOLD),
    "second_doubt_ends": Break("resend", RESEND),
    "grace": Break("one_request", RESEND.but(faults=("pause",))),
    "wake_again": Break("loss", PLAIN.but(mails=1, wake_ups=True)),
    "cancel_refuses_doubted": Break("failures", RESEND.but(faults=("cancel",))),
    "report_waits_for_all": Break("report", PLAIN),
    "report_once": Break("report", PLAIN),
    "start_by": Break("one_request", RESEND.but(faults=("pause",))),
    "lost_is_doubt": Break("hold", HOLD),
    "body_written_once": Break("hold", HOLD),
}

#: Nothing breaks without these. They are about time and cost, which the model does not have: a dead worker's mails are
#: found within 7 s, and not only when their window's time is over; and a chunk at work is not announced in vain.
HARMLESS = {
    "dead_is_judged": HOLD.but(faults=("kill", "kill", "pause")),
    "wake_waits_for_live": ROWS.but(wake_ups=True, faults=("kill",)),
}

#: What the promise takes for granted, and what comes of it where that is not so.
TAKEN_FOR_GRANTED = {
    "Redis keeps what it has acknowledged": Break("hold", HOLD.but(faults=("forget",))),
    "SendGrid has not accepted what it answers with an error": Break(
        "hold", HOLD.but(answers=("accepted", "retry_accepted"))
    ),
}
