"""Network: a scenario in which connections to Valkey and to the sandbox are cut, trapped half-way, and stalled."""

import random

from tests.chaos.arena import Arena
from tests.chaos.run import Run
from tests.chaos.scenarios.fleets import LATENCY, ROUND

WAYS = ("redis", "sandbox")
#: Something is done about so often (seconds).
EVERY = 0.1


def tcp_cuts(run: Run) -> None:
    while run.left("cuts"):
        with run.round(proxied=True) as arena:
            chance = run.nemesis(arena).chance
            arena.sandbox.faults(LATENCY)
            arena.producing.start()
            due = 0.0
            for passed in arena.steps(ROUND):
                if passed >= due:
                    due = passed + chance.uniform(0, 2 * EVERY)
                    disturb(arena, chance, run)
                if run.enough("cuts", sum(map(arena.network.cuts, WAYS))):
                    break
            for way in WAYS:
                arena.network.flow(way)
                run.count("cuts", arena.network.cuts(way))
                run.count(f"cuts of {way}", arena.network.cuts(way))


def disturb(arena: Arena, chance: random.Random, run: Run) -> None:
    way = chance.choice(WAYS)
    what = chance.choices(("cut", "request", "reply", "stall", "flow"), (8, 5, 5, 1, 4))[0]
    if what == "cut":
        arena.network.cut(way, chance.randint(1, 4))
    elif what == "stall":
        arena.network.stall(way)
        run.count("stalls", 1)
    elif what == "flow":
        for each in WAYS:
            arena.network.flow(each)
    else:
        arena.network.trap(way, what, chance.randint(1, 3))
