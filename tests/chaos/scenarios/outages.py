"""Outages: SendGrid is away for a while, in every way in which it can be."""

from postroom.names import State
from tests.chaos.arena import Arena
from tests.chaos.load import Mix
from tests.chaos.run import Run

RATE = 5.0
#: The last part of the time it is well, and what has waited goes out.
WELL = 0.1


def outage(run: Run) -> None:
    seconds = run.minutes * 60
    for _ in range(run.times):
        with run.round(Mix(), rate=RATE, size=3, fixed_sandbox=True, POSTROOM_BACKOFF_CAP="600") as arena:
            arena.producing.start()
            _go_on(run, arena, 5)
            third = seconds * (1 - WELL) / 3
            arena.sandbox.stop()
            _go_on(run, arena, third)
            arena.sandbox.start()
            arena.sandbox.faults([{"fault": "status", "status": 503}])
            _go_on(run, arena, third)
            arena.sandbox.faults([{"fault": "limited", "reset_after": 1}])
            _go_on(run, arena, third)
            arena.sandbox.faults([])
            _go_on(run, arena, seconds * WELL)
        run.count("outages", 1)
        for mail in run.evidence.sent_mails:
            if mail.state != State.ACCEPTED or run.evidence.copies[mail.id] != 1:
                run.violation(f"{mail.id} is {mail.state} ({mail.reason}), {run.evidence.copies[mail.id]} copies")


def _go_on(run: Run, arena: Arena, seconds: float) -> None:
    for _ in arena.steps(seconds):
        run.enough("outages", 0)
