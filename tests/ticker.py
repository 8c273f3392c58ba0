"""Ticker: how long an event loop is held by what goes on in it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple


class Hold(NamedTuple):
    """From one tick to the next: by how many seconds it came late, and for how many the event loop was busy.

    On a machine that others use it may come late for their sake; `busy` is the processor time of this thread alone.
    """

    late: float
    busy: float


@asynccontextmanager
async def ticking() -> AsyncIterator[list[Hold]]:
    """Meanwhile, a task that wakes up every millisecond and notes what has held it."""
    holds: list[Hold] = []

    async def tick() -> None:
        while True:
            due, busy = time.perf_counter() + 0.001, time.thread_time()
            await asyncio.sleep(0.001)
            holds.append(Hold(time.perf_counter() - due, time.thread_time() - busy))

    task = asyncio.create_task(tick())
    await asyncio.sleep(0.005)
    try:
        yield holds
    finally:
        task.cancel()
