"""Stores: rounds in which Valkey is away, or forgets, and nothing happens to the workers."""

import os
import random
import time
from collections import deque
from typing import Any

from tests.chaos import power
from tests.chaos.broken.hasty import HastyArena
from tests.chaos.broken.rounds.answers import nobody_doubts
from tests.chaos.broken.ways import OwnWays
from tests.chaos.load import Mix
from tests.chaos.network import Network
from tests.chaos.run import Run
from tests.servers import RedisServer

FAILING: list[dict[str, Any]] = [
    {"fault": "status", "status": 500, "probability": 0.45, "latency": 0.7},
    {"fault": "accept_then_reset", "probability": 0.4, "latency": 0.4},
    {"fault": "latency", "latency": 2.2},
]


def repeats(run: Run) -> None:
    """By the time that a settle is said again, others have gone on with what it had failed to send.

    They are singles, which anybody goes on with; what comes due of a chunk waits for whoever sends from it.
    """
    settings = {
        "POSTROOM_REQUEST_DEADLINE": "4",
        "POSTROOM_GRACE": "14",
        "POSTROOM_BACKOFF_BASE": "0.1",
        "POSTROOM_THREADS": "14",
    }
    mix = Mix(batches=0, large=0, scheduled=0)
    with run.round(mix, size=5, rate=80, proxied=True, **settings) as arena:
        arena.sandbox.faults(FAILING)
        say_again(run, arena)
        arena.sandbox.faults([])


def reclaims(run: Run) -> None:
    """A claim that is said again gets what it had got, so nothing comes into doubt."""
    mix = Mix(batches=0.6, batch_mails=(8, 40), large=0, scheduled=0)
    with run.round(mix, size=4, rate=250, proxied=True) as arena:
        arena.sandbox.faults([{"fault": "latency", "latency": 0.05}])
        say_again(run, arena)
        arena.producing.end()
        arena.go_on(13)  # so long a window lives that nobody knows of
        nobody_doubts(run, arena)


def say_again(run: Run, arena: HastyArena) -> None:
    """What two workers say is done, and the replies are lost seconds later, again and again."""
    chance = run.nemesis(arena).chance
    ways = OwnWays(arena)
    arena.producing.start()
    arena.go_on(2)
    for _ in range(run.times):
        held = [ways.of(member) for member in chance.sample(list(arena.fleet.members.values()), 2)]
        for way in held:
            arena.network.hold(way)
        arena.go_on(chance.uniform(2.0, 2.9))
        for way in held:
            arena.network.drop(way)
            arena.network.release(way)
        arena.go_on(0.5)


def partition(run: Run) -> None:
    """A worker that reaches SendGrid and not Redis is given up; then what it knows comes after all."""
    mix = Mix(batches=1, batch_mails=(5, 20), large=0, hold=1, scheduled=0)
    with run.round(mix, size=3, rate=100, proxied=True) as arena:
        ways = OwnWays(arena)
        arena.sandbox.faults([{"fault": "latency", "latency": 0.5}])
        arena.producing.start()
        arena.go_on(3)
        way = ways.of(next(iter(arena.fleet.members.values())))
        arena.network.stall(way)
        arena.go_on(4)
        arena.producing.end()
        arena.go_on(run.times - 4)
        arena.network.flow(way)
        arena.go_on(5)
    run.count("changed since the report", sum(mail.was is not None for mail in run.evidence.sent_mails))


def gap(run: Run) -> None:
    """Valkey is away for longer than an owner's life, while all have their windows on the wire."""
    settings = {"POSTROOM_REQUEST_DEADLINE": "14", "POSTROOM_GRACE": "24"}
    mix = Mix(batch_mails=(8, 20), large=0, scheduled=0)
    with run.round(mix, size=3, rate=200, jobs=run.times, **settings) as arena:
        arena.sandbox.faults([{"fault": "latency", "latency": 11}])
        arena.producing.start()
        arena.go_on(2)
        arena.redis.pause()
        time.sleep(7)
        arena.redis.resume()
        arena.go_on(6)
        nobody_doubts(run, arena)


def restarts(run: Run) -> None:
    settings = {"POSTROOM_REQUEST_DEADLINE": "8", "POSTROOM_GRACE": "18"}
    with run.round(Mix(batch_mails=(8, 30), scheduled=0.1), size=3, rate=60, **settings) as arena:
        chance = run.nemesis(arena).chance
        arena.sandbox.faults([{"fault": "latency", "latency": 0.3}])
        arena.producing.start()
        arena.go_on(3)
        arena.redis.pause()
        time.sleep(7)
        arena.redis.resume()
        arena.go_on(3)
        for _ in range(run.times - 1):
            power.kill(arena.redis, chance)
            arena.go_on(2)
        arena.producing.end()
        arena.go_on(14)
        nobody_doubts(run, arena)


def powerless(run: Run) -> None:
    """As much is lost as its `appendfsync` allows: nothing that it has told, or all of the last second."""
    with run.round(Mix(large=0), size=3, rate=150, proxied=True) as arena:
        chance = run.nemesis(arena).chance
        arena.sandbox.faults([{"fault": "latency", "latency": 0.03}])
        arena.producing.start()
        for _ in range(run.times):
            sizes: deque[tuple[float, int]] = deque()
            for _ in arena.steps(4):
                sizes.append((time.monotonic(), power.append_only_file(arena.redis.output_path.parent).stat().st_size))
            lost = cut_power(arena.redis, arena.network, sizes, chance)
            run.count("bytes lost", lost)
            run.count("losses", 1)
        arena.go_on(2)


def cut_power(redis: RedisServer, network: Network, sizes: deque[tuple[float, int]], chance: random.Random) -> int:
    client = redis.client()
    if client.config_get("appendfsync")["appendfsync"] == "always":
        return power.cut_power(redis, network, "redis", chance)
    # The last fsync was a second ago.
    network.hold("redis")
    redis.kill()
    network.drop("redis")
    log = power.append_only_file(redis.output_path.parent)
    size = log.stat().st_size
    fsynced = max(known for moment, known in sizes if moment < time.monotonic() - 1)
    os.truncate(log, fsynced)
    redis.start()
    network.release("redis")
    return size - fsynced
