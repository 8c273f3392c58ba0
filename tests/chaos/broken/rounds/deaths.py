"""Deaths: rounds in which workers and producers are killed or stopped, always where it matters."""

import signal

from postroom.names import OnDoubt, State
from tests.chaos.broken.ways import OwnWays
from tests.chaos.failpoints import KILL, PRODUCER_POINTS
from tests.chaos.load import Mix
from tests.chaos.run import Run
from tests.chaos.scenarios import batches

#: Stands in the place of `batches.POISONED_ROW` in a batch that is as small.
POISONED_ROW = 17


def deaths(run: Run) -> None:
    """Everybody has full hands: a batch for each thread, and slow answers."""
    with run.round(Mix(batches=0.6, batch_mails=(60, 120), large=0, scheduled=0), rate=150, size=3) as arena:
        nemesis = run.nemesis(arena)
        arena.sandbox.faults([{"fault": "latency", "latency": 0.4}])
        arena.producing.start()
        due = 2.0
        for passed in arena.steps(40):
            if passed >= due and nemesis.kill_one(arena.fleet, arena.watch.senders()):
                due = passed + nemesis.chance.uniform(0.5, 1.5)
            if run.enough("kills", len(arena.fleet.deaths)):
                break


def poisoned(run: Run) -> None:
    mix = Mix(batches=1, batch_mails=(60, 60), large=0, hold=0, scheduled=0)
    batches.POISONED_ROW = POISONED_ROW
    with run.round(mix, rate=10_000, jobs=run.times) as arena:
        arena.fleet.arming = arena.fleet.calm = batches._poisoned
        arena.producing.start()
        arena.wait_for_producer()
    for sentence in batches._of_poison(run.evidence, OnDoubt.RESEND, arena.hits.counts["poison"]):
        run.violation(sentence)


def chords(run: Run) -> None:
    points = ("chord_body:1", "before_ack:2", "before_report:1", "after_report:1")
    with run.round(Mix(batches=0.9, batch_mails=(1, 30), large=0, scheduled=0.1), size=4) as arena:
        chance = run.nemesis(arena).chance
        arena.fleet.arming = lambda: {KILL: chance.choice(points)}
        arena.producing.start()
        for _ in arena.steps(15):
            if run.enough("kills", len(arena.fleet.deaths)):
                break


def producers(run: Run) -> None:
    with run.round(Mix(batches=0.8, batch_mails=(30, 80), scheduled=0.2), rate=300, size=3) as arena:
        chance = run.nemesis(arena).chance
        points = sorted(PRODUCER_POINTS)
        arena.producing.arming = lambda: {KILL: f"{(point := chance.choice(points))}:{1 if 'seal' in point else 2}"}
        arena.producing.start()
        for _ in arena.steps(15):
            if arena.producing.kills >= run.times:
                break
        run.count("producers killed", arena.producing.kills)


def sleepers(run: Run) -> None:
    """Some sleep from before a claim's reply comes until all that they have claimed has expired."""
    mix = Mix(batches=0.5, batch_mails=(5, 20), large=0, hold=1, scheduled=0, short_lived=0.9)
    with run.round(mix, size=2 + run.times, rate=150, proxied=True) as arena:
        ways = OwnWays(arena)
        arena.sandbox.faults([{"fault": "latency", "latency": 0.1}])
        arena.producing.start()
        arena.go_on(2)
        sleepers = list(arena.fleet.members.values())[: run.times]
        for member in sleepers:
            arena.network.hold(ways.of(member))
        arena.go_on(0.7)
        for member in sleepers:
            arena.fleet.send(member, signal.SIGSTOP)
            arena.network.release(ways.of(member))
        arena.producing.end()
        arena.go_on(24)
        for member in sleepers:
            arena.fleet.send(member, signal.SIGCONT)
        arena.go_on(4)


def zombies_heard(run: Run) -> None:
    """Workers sleep with requests on the wire, and none dies: what each of them has heard counts in the end."""
    settings = {"POSTROOM_REQUEST_DEADLINE": "25", "POSTROOM_GRACE": "40"}
    with run.round(Mix(batch_mails=(8, 30), large=0, scheduled=0), size=4, rate=80, **settings) as arena:
        arena.sandbox.faults([{"fault": "latency", "latency": 0.5}])
        arena.producing.start()
        arena.go_on(2)
        for member in list(arena.fleet.members.values())[: run.times]:
            arena.fleet.send(member, signal.SIGSTOP)
            arena.go_on(7)
            arena.fleet.send(member, signal.SIGCONT)
            arena.go_on(0.5)
        arena.producing.end()
        run.count("zombies", run.times)
    stats = _counted(run)
    if stats:
        run.violation(stats)
    for mail in run.evidence.sent_mails:
        if run.evidence.copies[mail.id] and mail.state != State.ACCEPTED:
            run.violation(f"unheard: {mail.id} was accepted, a worker was told so, and it is {mail.state}")


def _counted(run: Run) -> str:
    twice = [id for id, copies in run.evidence.copies.items() if copies > 1]
    return f"resent: {len(twice)} mails were sent again, though their workers knew better: {twice[:5]}" if twice else ""
