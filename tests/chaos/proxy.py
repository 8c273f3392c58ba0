"""Proxy: stands between two programs that talk over TCP, and cuts, stalls, or holds back replies on command.

A process of its own. Commands are lines of JSON on its standard input, and each is answered by a line, once it is done:

    {"do": "open", "name": "redis", "target": 6379}      {"port": 12345}
    {"do": "cut", "name": "redis", "count": 3}           {"cut": 3}, so many of the open connections, chosen at random
    {"do": "trap", "name": "redis", "side": "reply", "count": 2}    the next two replies end half-way, in a cut
    {"do": "stall" | "flow", "name": "redis"}            nothing is forwarded, in either direction
    {"do": "hold" | "release", "name": "redis"}          no reply is forwarded; `drop` cuts all and forgets the replies
    {"do": "count", "name": "redis"}                     {"cut": 17}, all that were cut so far
"""

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

from tests.chaos.death import die_with_parent

PART = 65536
#: A socket that is closed with this option set is reset.
AT_ONCE = struct.pack("ii", 1, 0)


class Line:
    """One connection and the one behind it."""

    def __init__(self, way: "Way", client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._way = way
        self._writers = (client, server)

    def cut(self) -> None:
        """Half of them by a reset, the others by an end."""
        self._way.cuts += 1
        hard = self._way.chance.random() < 0.5
        for writer in self._writers:
            if hard and not writer.transport.is_closing():
                with suppress(OSError):  # it has just been closed from the other side
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()

    async def pump(self, side: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while part := await source.read(PART):
            await self._way.may_pass(side)
            if self._way.is_trapped(side):
                sink.write(part[: self._way.chance.randrange(len(part))])
                self.cut()
                return
            sink.write(part)
            await sink.drain()
        await self._way.may_pass(side)
        if sink.can_write_eof():
            sink.write_eof()


class Way:
    """All connections to one target."""

    def __init__(self, target: int, chance: random.Random) -> None:
        self._target = target
        self._flowing = asyncio.Event()
        self._replying = asyncio.Event()
        self._flowing.set()
        self._replying.set()
        self._traps: Counter[str] = Counter()
        self._lines: dict[Line, None] = {}
        self.chance = chance
        self.cuts = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        line = Line(self, writer, behind_writer)
        self._lines[line] = None
        pumps = [
            asyncio.ensure_future(line.pump("request", reader, behind_writer)),
            asyncio.ensure_future(line.pump("reply", behind_reader, writer)),
        ]
        try:
            await asyncio.gather(*pumps)
        except OSError:
            pass
        finally:
            self._lines.pop(line, None)
            for pump in pumps:
                pump.cancel()
            for each in (writer, behind_writer):
                each.transport.abort()

    async def may_pass(self, side: str) -> None:
        await self._flowing.wait()
        if side == "reply":
            await self._replying.wait()

    def is_trapped(self, side: str) -> bool:
        if self._traps[side] == 0:
            return False
        self._traps[side] -= 1
        return True

    def cut(self, count: int | None = None) -> int:
        lines = list(self._lines)
        chosen = lines if count is None else self.chance.sample(lines, min(count, len(lines)))
        for line in chosen:
            self._lines.pop(line)
            line.cut()
        return len(chosen)

    def do(self, command: dict[str, Any]) -> dict[str, int]:
        match command["do"]:
            case "cut":
                return {"cut": self.cut(command["count"])}
            case "drop":
                return {"cut": self.cut()}
            case "trap":
                self._traps[command["side"]] += command["count"]
            case "stall":
                self._flowing.clear()
            case "flow":
                self._flowing.set()
            case "hold":
                self._replying.clear()
            case "release":
                self._replying.set()
        return {"cut": self.cuts}


async def serve(seed: str) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    ways: dict[str, Way] = {}
    while line := await commands.readline():
        command = json.loads(line)
        if command["do"] == "open":
            way = ways[command["name"]] = Way(command["target"], random.Random(f"{seed} {command['name']}"))
            server = await asyncio.start_server(way.connected, "127.0.0.1", 0)
            answer = {"port": server.sockets[0].getsockname()[1]}
        else:
            answer = ways[command["name"]].do(command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    die_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.seed))


if __name__ == "__main__":
    main()
