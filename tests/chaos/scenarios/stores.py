"""Stores: scenarios in which something is done to Valkey."""

from tests.chaos import power, producer
from tests.chaos.arena import Arena
from tests.chaos.run import Run
from tests.chaos.scenarios.fleets import LATENCY, ROUND


def redis_kills(run: Run) -> None:
    while run.left("redis kills"):
        with run.round() as arena:
            chance = run.nemesis(arena).chance
            arena.sandbox.faults(LATENCY)
            arena.producing.start()
            done, due = 0, 2.0
            for passed in arena.steps(ROUND):
                if passed >= due:
                    power.kill(arena.redis, chance)
                    done, due = done + 1, passed + chance.uniform(0.5, 4)
                if run.enough("redis kills", done):
                    break
            run.count("redis kills", done)


def power_loss(run: Run) -> None:
    while run.left("power losses"):
        with run.round(rate=250, proxied=True) as arena:
            chance = run.nemesis(arena).chance
            arena.sandbox.faults(LATENCY)
            arena.producing.start()
            done, due = 0, 2.0
            for passed in arena.steps(ROUND):
                if passed >= due:
                    lost = power.cut_power(arena.redis, arena.network, "redis", chance)
                    run.count("bytes lost", lost)
                    run.count("power losses that lost something", int(lost > 0))
                    done, due = done + 1, passed + chance.uniform(0.5, 4)
                if run.enough("power losses", done):
                    break
            run.count("power losses", done)


def memory_full(run: Run) -> None:
    while run.left("memory full"):
        with run.round(rate=300) as arena:
            arena.producing.start()
            done = 0
            while not run.enough("memory full", done) and done < 5:
                _be_full(arena, share=run.nemesis(arena).chance.choice((0.9, 1.0, 1.1)))
                done += 1
            run.count("memory full", done)
            refusals = sum(returned.full for returned in producer.read(arena.producing.path))
            run.count("QueueFull", refusals)
            if not refusals:
                run.violation("nobody was told that the queue is full")


def _be_full(arena: Arena, share: float) -> None:
    """A maximum of memory that is this share of what is used, for some seconds."""
    client = arena.redis.client()
    for _ in arena.steps(3):
        pass
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] * share))
    for _ in arena.steps(4):
        pass
    client.config_set("maxmemory", 0)
    for _ in arena.steps(2):
        pass
