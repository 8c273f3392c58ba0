"""Gateway: requests a second and what each costs, beside a bare app on the same server. `python -m benchmarks.gateway`.

The bare app reads the body and answers 202, no more. The two are loaded in turn, by as many clients on connections that
are kept, each of which sends its next request when it has its answer. Then memory: over many requests, and over one
batch of a million lines.
"""

import asyncio
import http.client
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from benchmarks.accounting import PeakMemory, cpu_seconds, memory_bytes
from benchmarks.mails import mails
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from postroom.settings import Settings
from producers import Postroom
from tests.gateway import Gateway
from tests.servers import Program, RedisServer, running

#: Connections that are busy at the same time.
CLIENTS = 16
#: Requests that go before, so that what is loaded once is loaded.
WARM_UP = 2_000
#: What stays within this is flat (bytes).
FLAT = 20_000_000


class BareApp(Program):
    """`benchmarks.gateway_bare`."""

    def __init__(self, directory: Path) -> None:
        super().__init__("bare app", [sys.executable, "-m", "benchmarks.gateway_bare"], directory / "bare.log")

    def is_ready(self) -> bool:
        return "listening on" in self.log_since_start()

    @property
    def port(self) -> int:
        found = re.search(r"listening on (\d+)", self.log_since_start())
        assert found
        return int(found[1])


class Load(NamedTuple):
    """What so many requests have taken: seconds, and processor time of the server and of Redis (µs a request)."""

    requests: int
    seconds: float
    server_us: float
    redis_us: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def loaded(server: Program, port: int, token: str, redis: RedisServer, requests: int) -> Load:
    heads = f"POST /v3/mail/send HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json"
    before, redis_before = cpu_seconds(server.pid), cpu_seconds(redis.pid)
    started = time.perf_counter()
    asyncio.run(send_all(port, heads.encode(), requests))
    seconds = time.perf_counter() - started
    server_cpu, redis_cpu = cpu_seconds(server.pid) - before, cpu_seconds(redis.pid) - redis_before
    return Load(requests, seconds, server_cpu / requests * 1e6, redis_cpu / requests * 1e6)


async def send_all(port: int, head: bytes, requests: int) -> None:
    bodies = map(msgspec.json.encode, mails(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in bodies:
            writer.write(b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 202 "), answer
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def side_by_side(directory: Path, requests: int, rounds: int) -> dict[str, list[Load]]:
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(directory)))
        gateway = stack.enter_context(running(Gateway(directory, redis.url)))
        bare = stack.enter_context(running(BareApp(directory)))
        token = gateway.token()
        servers: dict[str, tuple[Program, int]] = {"bare app": (bare, bare.port), "gateway": (gateway, gateway.port)}
        for server, port in servers.values():
            loaded(server, port, token, redis, WARM_UP)
        found: dict[str, list[Load]] = {name: [] for name in servers}
        for _ in through(range(rounds), lambda number: f"round {number + 1}"):
            for name, (server, port) in servers.items():
                found[name].append(loaded(server, port, token, redis, requests))
    return found


def memory_over_requests(directory: Path, requests: int, parts: int = 10) -> list[int]:
    """The gateway's memory after each part, in bytes."""
    with running(RedisServer(directory)) as redis, running(Gateway(directory, redis.url)) as gateway:
        token = gateway.token()
        sizes = []
        for _ in through(range(parts), lambda number: f"memory, part {number + 1}"):
            loaded(gateway, gateway.port, token, redis, requests // parts)
            sizes.append(memory_bytes(gateway.pid))
    return sizes


class Streamed(NamedTuple):
    """One batch: how long it took to take, processor time of the gateway a line, memory before and at most (bytes)."""

    lines: int
    seconds: float
    line_us: float
    before_bytes: int
    peak_bytes: int


def streamed(directory: Path, lines: int) -> Streamed:
    with running(RedisServer(directory)) as redis, running(Gateway(directory, redis.url)) as gateway:
        token = gateway.token()
        post_batch(gateway.port, token, 1_000)
        before, cpu, started = memory_bytes(gateway.pid), cpu_seconds(gateway.pid), time.perf_counter()
        with PeakMemory(gateway.pid) as peak:
            batch = post_batch(gateway.port, token, lines)
        seconds, cpu = time.perf_counter() - started, cpu_seconds(gateway.pid) - cpu
        with Postroom(Settings(redis_url=redis.url)) as postroom:
            assert postroom.progress(batch).queued == lines
    return Streamed(lines, seconds, cpu / lines * 1e6, before, peak.bytes)


def post_batch(port: int, token: str, lines: int) -> str:
    def pieces() -> Iterator[bytes]:
        piece = bytearray()
        for mail in mails(lines):
            piece += msgspec.json.encode(mail) + b"\n"
            if len(piece) > 100_000:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3_600)
    try:
        connection.request("POST", "/v1/batches", pieces(), {"Authorization": f"Bearer {token}"}, encode_chunked=True)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        assert (answer.status, found["total"]) == (202, lines), found
        return str(found["batch_id"])
    finally:
        connection.close()


def finding(loads: dict[str, list[Load]], sizes: list[int], requests: int, batch: Streamed) -> Finding:
    middle = {
        name: Load(*(median(each) for each in zip(*rounds, strict=True)))  # type: ignore[arg-type]
        for name, rounds in loads.items()
    }
    growth, extra = sizes[-1] - sizes[0], batch.peak_bytes - batch.before_bytes
    megabytes = " ".join(f"{size / 1e6:.0f}" for size in sizes)
    return Finding(
        title="The HTTP gateway",
        place=60,
        text=f"Mails of 3 kB, {CLIENTS} connections, one process; AOF always; the client runs on the same machine. "
        "The bare app is on the same server, reads the body and answers 202. Medians of rounds in turn.",
        tables=[
            Table(
                columns=["", "requests/s", "µs of CPU a request", "of Redis"],
                rows=[
                    [name, f"{load.rate:,.0f}", f"{load.server_us:.0f}", f"{load.redis_us:.0f}"]
                    for name, load in middle.items()
                ],
            ),
            Table(
                title="One batch by HTTP",
                columns=["lines", "lines/s", "µs of CPU a line", "memory before, MB", "at most, MB"],
                rows=[
                    [
                        f"{batch.lines:,}",
                        f"{batch.lines / batch.seconds:,.0f}",
                        f"{batch.line_us:.0f}",
                        f"{batch.before_bytes / 1e6:.0f}",
                        f"{batch.peak_bytes / 1e6:.0f}",
                    ]
                ],
            ),
        ],
        targets=[
            Target(
                what=f"the gateway's memory over {requests:,} requests",
                wanted="flat",
                found=f"{megabytes} MB",
                reached=growth < FLAT,
            ),
            Target(
                what=f"the gateway's memory over a batch of {batch.lines:,} lines",
                wanted="flat",
                found=f"{extra / 1e6:.0f} MB more than before",
                reached=extra < 2 * FLAT,
            ),
        ],
        data={"loads": {name: [*map(Load._asdict, rounds)] for name, rounds in loads.items()}, "memory": sizes}
        | {"batch": batch._asdict()},
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--requests", type=int, default=10_000, help="in each round")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--memory-requests", type=int, default=100_000)
    arguments.add_argument("--lines", type=int, default=1_000_000)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        directories = [Path(place, name) for name in ("loads", "memory", "batch")]
        for directory in directories:
            directory.mkdir()
        loads = side_by_side(directories[0], options.requests, options.rounds)
        sizes = memory_over_requests(directories[1], options.memory_requests)
        batch = streamed(directories[2], options.lines)
    hand_over("gateway", finding(loads, sizes, options.memory_requests, batch), options)


if __name__ == "__main__":
    main()
