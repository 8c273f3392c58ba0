"""Power: what a Valkey loses when its power goes: all that it had not yet fsynced, from any byte on."""

import os
import random
import time
from pathlib import Path

from tests.chaos.network import Network
from tests.servers import RedisServer

#: A Valkey goes on for so long (seconds, at most) after the last reply that anybody saw.
GOES_ON = 0.3


def kill(redis: RedisServer, chance: random.Random) -> None:
    """Kill it with SIGKILL, and start it again up to 2 seconds later."""
    redis.kill()
    time.sleep(chance.choice((0.0, 0.0, 0.3, 2.0)))
    redis.start()


def cut_power(redis: RedisServer, network: Network, name: str, chance: random.Random) -> int:
    """Kill it, lose a part of what it had not yet told anybody about, and start it again. Returns the bytes lost.

    Replies are held back first. What is in its log by then is fsynced before it was told (`appendfsync always`); what
    comes after may be lost, and nobody has seen a reply to it.
    """
    network.hold(name)
    log = append_only_file(redis.output_path.parent)
    acknowledged = log.stat().st_size
    time.sleep(chance.uniform(GOES_ON / 10, GOES_ON))
    redis.kill()
    network.drop(name)
    size = log.stat().st_size
    kept = chance.randint(acknowledged, size)
    os.truncate(log, kept)
    redis.start()
    network.release(name)
    return size - kept


def append_only_file(directory: Path) -> Path:
    """The part of the log that is being written."""
    return max((directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
