"""Sink: a SendGrid that accepts everything after a given time, and notes when each single arrived.

`python -m benchmarks.lanes_sink --log FILE [--latency SECONDS]` prints its port. The log has a line for each mail that
is no row of a batch: its id, and the Unix time at which the last byte of its request was there. GET of any path answers
how many mails came in all. It reads no more of HTTP/1.1 than Postroom's worker writes.
"""

import argparse
import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SINGLE = re.compile(rb'"postroom_id":"(\w+)"')


class Arrivals:
    """How many mails came, and a log of the singles among them."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self.total = 0

    def note(self, body: bytes) -> int:
        """Take a mail, and return its number."""
        if single := _SINGLE.search(body, max(0, len(body) - 100)):
            self._log(f"{single[1].decode()} {time.time():.6f}\n")
        self.total += 1
        return self.total


class Connection(asyncio.Protocol):
    """One connection, on which one request follows another's reply."""

    def __init__(self, arrivals: Arrivals, latency: float) -> None:
        self._arrivals = arrivals
        self._latency = latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_size = self._received.find(b"\r\n\r\n") + 4
        if head_size < 4:
            return
        if self._received.startswith(b"GET"):
            self._received = b""
            text = str(self._arrivals.total)
            self._transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            return
        length = _LENGTH.search(self._received, 0, head_size)
        if length and len(self._received) >= head_size + int(length[1]):
            number = self._arrivals.note(self._received)
            self._received = b""
            self._answer(number)

    def _answer(self, number: int) -> None:
        reply = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: %022d\r\nContent-Length: 0\r\n\r\n" % number
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, reply)
        else:
            self._transport.write(reply)


async def serve(arrivals: Arrivals, latency: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(arrivals, latency), "127.0.0.1", 0, backlog=1024)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    with options.log.open("w", buffering=1) as log:
        asyncio.run(serve(Arrivals(log.write), options.latency))


if __name__ == "__main__":
    main()
