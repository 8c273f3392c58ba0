"""Stores: rounds in which Valkey is away, or forgets, and nothing happens to the workers."""

import os
import random
import signal
import time
from collections import deque
from typing import Any

from tests.chaos import power
from tests.chaos.broken.hasty import HastyArena
from tests.chaos.broken.rounds.answers import nobody_doubts
from tests.chaos.failpoints import STOP
from tests.chaos.fleet import Arming, unarmed
from tests.chaos.load import Mix
from tests.chaos.network import Network
from tests.chaos.run import Run
from tests.servers import RedisServer

FAILING: list[dict[str, Any]] = [
    {"fault": "latency", "latency": 1.0},
    {"fault": "status", "status": 500, "probability": 0.4},
    {"fault": "accept_then_reset", "probability": 0.4},
]


def repeats(run: Run) -> None:
    """By the time that a settle is said again, others have gone on with what it had failed to send."""
    settings = {"POSTROOM_BACKOFF_BASE": "0.1", "POSTROOM_BACKOFF_CAP": "0.5"}
    mix = Mix(batches=0.6, batch_mails=(8, 40), large=0, scheduled=0)
    with run.round(mix, size=5, rate=60, proxied=True, **settings) as arena:
        chance = run.nemesis(arena).chance
        arena.sandbox.faults(FAILING)
        arena.producing.start()
        say_again(run, arena, lambda: {STOP: f"settle_sent:{chance.randint(4, 12)}"}, longest=4.5)


def reclaims(run: Run) -> None:
    """A claim that is said again gets what it had got, so nothing comes into doubt."""
    mix = Mix(batches=0.6, batch_mails=(8, 40), large=0, scheduled=0)
    with run.round(mix, size=4, rate=40, proxied=True) as arena:
        chance = run.nemesis(arena).chance
        arena.sandbox.faults([{"fault": "latency", "latency": 0.2}])
        arena.producing.start()
        say_again(run, arena, lambda: {STOP: f"claim_sent:{chance.randint(3, 8)}"}, longest=2.5)
        arena.producing.end()
        for _ in arena.steps(14):  # so long a window lives that nobody knows of
            end_the_woken(arena)
            arena.nemesis.wake_zombies(arena.fleet, 1, 2.5)
        nobody_doubts(run, arena)


def say_again(run: Run, arena: HastyArena, arming: Arming, longest: float) -> None:
    """A worker stops once its script is sent, its connection is cut, and it goes on up to so many seconds later."""
    nemesis = arena.nemesis = run.nemesis(arena)
    arena.fleet.arming = arming
    cut: set[int] = set()
    woken = 0
    for _ in arena.steps(35):
        for member in arena.fleet.stopped():
            if member.pid not in cut:
                cut.add(member.pid)
                arena.network.cut("redis", 1000)
        end_the_woken(arena)
        woken += nemesis.wake_zombies(arena.fleet, 1.5, longest)
        if run.enough("repeats", woken):
            break
    arena.fleet.arming = unarmed
    run.count("repeats", woken)


def end_the_woken(arena: HastyArena) -> None:
    """Those that have said it again make room for others."""
    for member in arena.fleet.members.values():
        if member.woken_at and time.monotonic() > member.woken_at + 2 and signal.SIGTERM not in member.signals:
            arena.fleet.send(member, signal.SIGTERM)


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
