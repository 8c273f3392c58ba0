"""Enqueueing: how long a call takes, beside a bare `SET` of the same bytes. `python -m benchmarks.enqueue`.

The two are called in turn, so that whatever else the machine does hits both alike. The ratios of each round are their
own; the table has the medians over the rounds.
"""

import asyncio
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
import redis
import redis.asyncio

from benchmarks.enqueue_outage import CLIENTS, seconds_to_failure
from benchmarks.mails import mails
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from postroom.settings import Settings
from producers import AsyncPostroom, Postroom
from tests.servers import RedisServer, running

PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}
#: Calls that come before those that count: connections, scripts and caches are made then.
WARM_UP = 200


class Round(NamedTuple):
    """Seconds of each call, in the order of the calls."""

    sets: list[float]
    enqueues: list[float]

    def summary(self) -> dict[str, float]:
        """Percentiles in microseconds, and the ratios enqueue to set."""
        figures: dict[str, float] = {}
        for name, share in PERCENTILES.items():
            bare, ours = percentile(self.sets, share), percentile(self.enqueues, share)
            figures |= {f"set_{name}": bare * 1e6, f"enqueue_{name}": ours * 1e6, f"ratio_{name}": ours / bare}
        return figures


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]


def medians(rounds: list[Round]) -> dict[str, float]:
    summaries = [one.summary() for one in rounds]
    return {name: round(median(one[name] for one in summaries), 2) for name in summaries[0]}


def sync_round(postroom: Postroom, client: redis.Redis, calls: int) -> Round:
    """Each mail is new, and so is the key of each `SET`."""
    taken = Round([], [])
    for number, mail in enumerate(mails(calls)):
        body = msgspec.json.encode(mail)
        started = time.perf_counter()
        client.set(f"bare:{number}", body)
        between = time.perf_counter()
        postroom.enqueue(mail)
        taken.enqueues.append(time.perf_counter() - between)
        taken.sets.append(between - started)
    return taken


async def async_round(postroom: AsyncPostroom, client: redis.asyncio.Redis, calls: int) -> Round:
    taken = Round([], [])
    for number, mail in enumerate(mails(calls)):
        body = msgspec.json.encode(mail)
        started = time.perf_counter()
        await client.set(f"bare:{number}", body)
        between = time.perf_counter()
        await postroom.enqueue(mail)
        taken.enqueues.append(time.perf_counter() - between)
        taken.sets.append(between - started)
    return taken


def sync_rounds(url: str, rounds: int, calls: int) -> list[Round]:
    with Postroom(Settings(redis_url=url)) as postroom, redis.Redis.from_url(url) as client:
        sync_round(postroom, client, WARM_UP)
        return [sync_round(postroom, client, calls) for _ in range(rounds)]


async def async_rounds(url: str, rounds: int, calls: int) -> list[Round]:
    async with AsyncPostroom(Settings(redis_url=url)) as postroom, redis.asyncio.Redis.from_url(url) as client:
        await async_round(postroom, client, WARM_UP)
        return [await async_round(postroom, client, calls) for _ in range(rounds)]


def measure(client: str, rounds: int, calls: int) -> dict[str, float]:
    """Medians over the rounds, of a client that has a Redis to itself."""
    with tempfile.TemporaryDirectory() as directory, running(RedisServer(Path(directory))) as server:
        if client == "sync":
            return medians(sync_rounds(server.url, rounds, calls))
        return medians(asyncio.run(async_rounds(server.url, rounds, calls)))


def finding(latencies: dict[str, dict[str, float]], outages: dict[str, dict[str, float]], calls: str) -> Finding:
    slowest = max(seconds for clients in outages.values() for seconds in clients.values())
    return Finding(
        title="Enqueueing one mail",
        place=30,
        text=f"A mail of 3 kB and a bare `SET` of the same bytes by redis-py, called in turn; AOF always; {calls}. "
        "Microseconds; each figure is the median of the rounds', also each ratio.",
        tables=[
            Table(columns=["", *PERCENTILES], rows=list(latency_rows(latencies))),
            Table(
                title="Seconds until `QueueUnavailable`, the slower one of two calls",
                columns=["Redis is", *CLIENTS],
                rows=[[name, *(f"{taken[client]:.2f}" for client in CLIENTS)] for name, taken in outages.items()],
            ),
        ],
        targets=[
            *latency_targets(latencies),
            Target(
                what="enqueue when Redis is down or silent",
                wanted="`QueueUnavailable` within 1 s",
                found=f"{slowest:.2f} s",
                reached=slowest <= 1,
            ),
        ],
        data={"latencies": latencies, "outages": outages},
    )


def latency_rows(latencies: dict[str, dict[str, float]]) -> Iterator[list[str]]:
    for client, figures in latencies.items():
        for what, name, digits in (("set", "bare `SET`", 0), ("enqueue", "enqueue", 0), ("ratio", "ratio", 2)):
            yield [f"{client}, {name}", *(f"{figures[f'{what}_{share}']:,.{digits}f}" for share in PERCENTILES)]


def latency_targets(latencies: dict[str, dict[str, float]]) -> Iterator[Target]:
    for client, figures in latencies.items():
        p50, p99 = figures["ratio_p50"], figures["ratio_p99"]
        yield Target(
            what=f"enqueue of one mail, {client}",
            wanted="p50 and p99 within 2 times a bare `SET`",
            found=f"{p50:.2f} and {p99:.2f} times",
            reached=max(p50, p99) <= 2,
        )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--calls", type=int, default=2_000, help="of each kind, in each round")
    arguments.add_argument("--rounds", type=int, default=7)
    options = arguments.parse_args()
    latencies = {client: measure(client, options.rounds, options.calls) for client in through(list(CLIENTS))}
    with tempfile.TemporaryDirectory() as directory:
        outages = seconds_to_failure(Path(directory))
    calls = f"{options.rounds} rounds of {options.calls:,} calls"
    hand_over("enqueue", finding(latencies, outages, calls), options)


if __name__ == "__main__":
    main()
