"""Batches: scenarios of one batch each, and what is to become of it."""

from collections.abc import Mapping
from typing import Any

from postroom.names import OnDoubt, State
from tests.chaos import poison as poisons
from tests.chaos.load import Mix
from tests.chaos.oracle import Evidence
from tests.chaos.run import Run

#: A sandbox that is slow, limits, fails and breaks off. It never accepts what it answers with 4xx, 500 or 503.
TROUBLE: list[dict[str, Any]] = [
    {"fault": "limited", "probability": 0.002, "reset_after": 1},
    {"fault": "status", "status": 500, "probability": 0.02},
    {"fault": "status", "status": 503, "probability": 0.02},
    {"fault": "status", "status": 502, "probability": 0.005},
    {"fault": "reset", "probability": 0.005},
    {"fault": "accept_then_reset", "probability": 0.005},
    {"fault": "accept_then_status", "status": 504, "probability": 0.005},
    {"fault": "latency", "latency": 0.05},
]
POISONED_ROW = 437
KILL_EVERY = 5.0


def poison(run: Run) -> None:
    for policy in [OnDoubt.RESEND, OnDoubt.HOLD] * ((run.times + 1) // 2):
        mix = Mix(batches=1, batch_mails=(1000, 1000), large=0, hold=float(policy is OnDoubt.HOLD), scheduled=0)
        with run.round(mix, rate=10_000, jobs=1, POSTROOM_CHUNK_MAILS="200") as arena:
            arena.fleet.arming = arena.fleet.calm = _poisoned
            arena.producing.start()
            arena.wait_for_producer()
            run.count(f"poisoned batches under {policy}", 1)
        starts = arena.hits.counts["poison"]
        run.count(f"workers poisoned under {policy}", starts)
        for sentence in _of_poison(run.evidence, policy, starts):
            run.violation(sentence)


def _poisoned() -> Mapping[str, str]:
    return {poisons.VARIABLE: f'"m0-{POISONED_ROW}"'}


def _of_poison(evidence: Evidence, policy: OnDoubt, starts: int) -> list[str]:
    mails = sorted(evidence.sent_mails, key=lambda mail: (int(mail.id.split(".")[1]), int(mail.id.split(".")[2])))
    bad = mails.pop(POISONED_ROW)
    # Under hold, those that were on the wire with it stay in doubt for ever.
    fine = (State.ACCEPTED,) if policy is OnDoubt.RESEND else (State.ACCEPTED, State.UNRESOLVED)
    wrong = [f"neighbour {mail.id} is {mail.state}" for mail in mails if mail.state not in fine]
    if (bad.state, bad.reason) != (State.UNRESOLVED, "worker_died"):
        wrong.append(f"the poisoned mail is {bad.state} ({bad.reason})")
    if starts != (2 if policy is OnDoubt.RESEND else 1):
        wrong.append(f"{starts} workers have started to send the poisoned mail under {policy}")
    return wrong


def everything(run: Run) -> None:
    mix = Mix(batches=1, batch_mails=(run.times, run.times), large=0.001, hold=0, scheduled=0)
    with run.round(mix, rate=1_000_000, jobs=1, size=4, POSTROOM_CHUNK_MAILS="200", POSTROOM_WINDOW="32") as arena:
        nemesis = run.nemesis(arena)
        arena.sandbox.faults(TROUBLE)
        arena.producing.start()
        due = KILL_EVERY
        for passed in arena.steps(run.minutes * 60):
            if passed >= due and nemesis.kill_one(arena.fleet, arena.watch.senders()):
                due = passed + KILL_EVERY
            if arena.producing.is_over and arena.watch.left() == 0:
                break
            run.enough("mails", 0)
        run.count("seconds under fire", round(passed))
    _report_equals_log(run)


def _report_equals_log(run: Run) -> None:
    """What was accepted is in the report as accepted, but for what nobody could tell."""
    evidence = run.evidence
    (batch,) = evidence.record.batches.values()
    unresolved = [mail.id for mail in evidence.sent_mails if mail.state == State.UNRESOLVED]
    unknown = sum(evidence.copies[id] > 0 for id in unresolved)
    reported = (batch.report or {}).get(State.ACCEPTED, 0)
    run.count("accepted in the report", reported)
    run.count("accepted in the log", len(evidence.copies))
    run.count("unresolved, and in the log", unknown)
    if reported + unknown != len(evidence.copies):
        run.violation(f"the report has {reported} accepted, the log {len(evidence.copies)}, {unknown} unresolved")
