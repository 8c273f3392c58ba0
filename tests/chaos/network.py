"""Network: the proxies of a round, as its supervisor commands them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.servers import ROOT, clean_environment


class Network:
    """Commands of one proxy process."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def through(self, name: str, url: str) -> str:
        """Open a way of this name to an address, and return the address that leads over it."""
        parts = urlsplit(url)
        port = self._command("open", name, target=parts.port)["port"]
        return urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))

    def cut(self, name: str, count: int) -> int:
        """Cut so many open connections; returns how many there were to cut."""
        return self._command("cut", name, count=count)["cut"]

    def trap(self, name: str, side: str, count: int = 1) -> None:
        """Cut connections in the middle of the next requests or replies."""
        self._command("trap", name, side=side, count=count)

    def stall(self, name: str) -> None:
        self._command("stall", name)

    def flow(self, name: str) -> None:
        self._command("flow", name)

    def hold(self, name: str) -> None:
        """When this returns, no reply is forwarded any more."""
        self._command("hold", name)

    def drop(self, name: str) -> None:
        """Cut all; the replies that are held are gone."""
        self._command("drop", name)

    def release(self, name: str) -> None:
        self._command("release", name)

    def cuts(self, name: str) -> int:
        """All that were cut so far, also by traps."""
        return self._command("count", name)["cut"]

    def _command(self, do: str, name: str, **details: Any) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, "name": name, **details}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the proxy has ended: see proxy.log"
        answer: dict[str, int] = json.loads(line)
        return answer


@contextmanager
def network(directory: Path, seed: str) -> Iterator[Network]:
    with (directory / "proxy.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.proxy", "--seed", seed],
            cwd=ROOT,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    with process:
        try:
            yield Network(process)
        finally:
            process.kill()
