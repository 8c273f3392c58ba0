"""Fleets: scenarios in which something is done to worker processes."""

import signal

from tests.chaos.arena import Arena
from tests.chaos.failpoints import PRODUCER_POINTS, WORKER_POINTS
from tests.chaos.load import Mix
from tests.chaos.run import Run

#: Seconds of disturbance in a round; then it is left alone until all is quiet.
ROUND = 60.0
MIX = Mix(short_lived=0.03, faulty=0.05, merged=0.3)
LATENCY = [{"fault": "latency", "latency": 0.03}]


def kills(run: Run) -> None:
    while run.left("kills"):
        with run.round(MIX) as arena:
            nemesis = run.nemesis(arena)
            arena.sandbox.faults(LATENCY)
            arena.fleet.arming, arena.producing.arming = nemesis.worker_kill, nemesis.producer_kill
            arena.producing.start()
            for _ in arena.steps(ROUND):
                nemesis.kill_the_old(arena.fleet, 2, 6)
                if run.enough("kills", len(arena.fleet.deaths)):
                    break


def takeovers(run: Run) -> None:
    """One at a time: whoever takes over what a dead worker has left lives long enough to do it."""
    while run.left("kills"):
        with run.round(MIX, size=8, rate=150) as arena:
            nemesis = run.nemesis(arena)
            arena.sandbox.faults(LATENCY)
            arena.producing.start()
            due = 3.0
            for passed in arena.steps(ROUND):
                if passed >= due and nemesis.kill_one(arena.fleet, arena.watch.senders()):
                    due = passed + nemesis.chance.uniform(1, 3)
                if run.enough("kills", len(arena.fleet.deaths)):
                    break


def points(run: Run) -> None:
    """Each point is hit so many times."""
    names = [*WORKER_POINTS, *PRODUCER_POINTS]
    while run.left("hits of each point"):
        with run.round(MIX) as arena:
            nemesis = run.nemesis(arena)
            arena.sandbox.faults(LATENCY)
            arena.fleet.arming, arena.producing.arming = nemesis.worker_kill, nemesis.producer_kill
            arena.producing.start()
            for _ in arena.steps(ROUND):
                nemesis.kill_the_old(arena.fleet, 4, 8)
                least = min((run.figures.hits + arena.hits.counts)[name] for name in names)
                if run.enough("hits of each point", least - run.figures.events["hits of each point"]):
                    break
        run.figures.events["hits of each point"] = min(run.figures.hits[name] for name in names)


def clocks(run: Run) -> None:
    while run.left("kills"):
        with run.round(MIX) as arena:
            nemesis = run.nemesis(arena)
            arena.sandbox.faults(LATENCY)
            arena.fleet.arming = lambda nemesis=nemesis: {**nemesis.worker_kill(), **nemesis.clock()}
            arena.producing.arming = lambda nemesis=nemesis: {**nemesis.producer_kill(), **nemesis.clock()}
            arena.fleet.calm = nemesis.clock
            arena.producing.start()
            for _ in arena.steps(ROUND):
                nemesis.kill_the_old(arena.fleet, 3, 6)
                if run.enough("kills", len(arena.fleet.deaths)):
                    break


def zombies(run: Run) -> None:
    while run.left("zombies"):
        with run.round(MIX) as arena:
            nemesis = run.nemesis(arena)
            arena.sandbox.faults(LATENCY)
            arena.fleet.arming = nemesis.worker_stop
            arena.producing.start()
            woken = 0
            for _ in arena.steps(ROUND):
                nemesis.stop_the_old(arena.fleet, 2, 4)
                woken += nemesis.wake_zombies(arena.fleet, 6, 9)
                if run.enough("zombies", woken):
                    break
            for _ in arena.steps(10):
                woken += nemesis.wake_zombies(arena.fleet, 6, 9)
            run.count("zombies", woken)


def deploys(run: Run) -> None:
    while run.left("deploys"):
        with run.round(POSTROOM_REQUEST_DEADLINE="15", POSTROOM_GRACE="25") as arena:
            nemesis = run.nemesis(arena)
            arena.sandbox.faults(LATENCY)
            arena.producing.start()
            for _ in arena.steps(ROUND):
                nemesis.end_the_old(arena.fleet, 1, 5)
                if run.enough("deploys", arena.fleet.ended_well):
                    break
            _let_end(arena)
            run.count("deploys", arena.fleet.ended_well)
            if doubts := int(arena.redis.client().hget("postroom:stats", "doubts") or 0):
                run.violation(f"deploys have put {doubts} mails in doubt")


def _let_end(arena: Arena) -> None:
    """Until whoever was asked to end has ended."""
    for _ in arena.steps(30):
        if not any(signal.SIGTERM in member.signals for member in arena.fleet.members.values()):
            return
