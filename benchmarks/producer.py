"""Producer: the program that hands a peer's mails over, and measures what that costs it.

`python -m benchmarks.producer PEER WARM COUNT`: hands over WARM mails, prints `warm`, waits for a line on standard
input, hands over COUNT others, and prints what it took as JSON. Mails are made beforehand.
"""

import asyncio
import gc
import importlib
import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Any

from benchmarks.mails import mails

HandOver = Callable[[Sequence[Any]], Awaitable[list[float]]]


def hand_over(peer: ModuleType) -> HandOver:
    """A coroutine function that takes mails, and returns how long each call was, in seconds."""
    everything = hasattr(peer, "enqueue_all")
    enqueue = peer.enqueue_all if everything else peer.enqueue
    waits = inspect.iscoroutinefunction(enqueue)

    async def all_of(items: Sequence[Any]) -> list[float]:
        durations = []
        for item in [items] if everything else items:
            started = time.perf_counter()
            if waits:
                await enqueue(item)
            else:
                enqueue(item)
            durations.append(time.perf_counter() - started)
        return durations

    return all_of


def percentile(sorted_values: Sequence[float], part: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * part))]


async def produce(name: str, warm: int, count: int) -> None:
    peer = importlib.import_module(f"benchmarks.peers.{name}")
    if hasattr(peer, "start"):
        await peer.start()
    prepare = getattr(peer, "prepare", list)
    enqueue = hand_over(peer)
    await enqueue(prepare(mails(warm, start=count)))
    items = prepare(mails(count))
    gc.collect()
    gc.freeze()
    print("warm", flush=True)
    sys.stdin.readline()
    cpu, started = time.process_time(), time.perf_counter()
    durations = sorted(await enqueue(items))
    taken = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - started}
    if len(durations) > 1:
        taken |= {"p50": percentile(durations, 0.5), "p99": percentile(durations, 0.99)}
    print(json.dumps(taken), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    asyncio.run(produce(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
