"""Fuzz of the gateway: `python -m tests.gateway_fuzz [--requests N] [--seed N]`.

Requests that are wrong in their body, their headers, their path or their form. Each is refused in clear words, or
taken; none is a 5xx, and none stays in memory.
"""

import argparse
import gzip
import json
import socket
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from postroom.settings import Settings
from producers.gateway.key_store import KeyStore
from producers.gateway.keys import new_key
from tests.chaos.fuzz.clarity import unclear
from tests.chaos.fuzz.nonsense import TEXTS, corpus, garbled, mutated, nested, reworded, value
from tests.gateway import Gateway, memory_bytes
from tests.servers import RedisServer, running

PATHS = (
    *("/v3/mail/send", "//v3/mail/send", "/v3/mail/send/", "/v3/mail", "/v3/mail/send?a=b", "/v3/mail/send%00"),
    *("/v1/batches", "/v1/batches?expires_in=60", "/v1/batches?expires_in=x", "/v1/batches?on_doubt=%ff", "/v1/mails"),
    *("/v1/mails/aaaaaaaaaaaaaaaaaaaa", "/v1/mails/%00", "/v1/mails/aaaaaaaaaaaaaaaaaaaa.0.0", "/v1/mails//cancel"),
    *("/v1/batches/aaaaaaaaaaaaaaaaaaaa", "/v1/batches/x/report", "/v1/batches/aaaaaaaaaaaaaaaaaaaa/cancel"),
    *("/", "/docs", "/openapi.json", "/healthz", "/webhooks/sendgrid/x", "/../etc/passwd", "/%2e%2e", "*", "?", ""),
)
METHODS = ("POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE")
NAMES = (
    *("Content-Type", "Content-Encoding", "Idempotency-Key", "Authorization", "Expect", "Accept", "X-Message-Id"),
    *("Connection", "Host", "Upgrade", "Cookie", "X-Forwarded-For", "Accept-Encoding", "On-Behalf-Of"),
)
#: One part of the work is over after so many requests: then Redis is emptied, and memory is measured.
PART = 1000
#: An answer comes within so long (seconds), or it is a finding.
SOON = 10.0
#: The gateway may have so much more memory at the end than after the first fifth (bytes).
GROWTH_BYTES = 30_000_000


class Fuzz:
    def __init__(self, gateway: Gateway, redis: RedisServer, random: Random) -> None:
        self._gateway = gateway
        self._redis = redis
        self._random = random
        self._corpus = corpus()
        self._key, self._token = new_key("fuzz", from_domains=["*"], now=time.time())
        self._connection: socket.socket | None = None
        self.statuses: Counter[int | None] = Counter()
        self.findings: list[str] = []
        self.memory_bytes: list[int] = []

    def run(self, requests: int) -> None:
        for number in range(requests):
            if number % PART == 0:
                self._begin_part()
            self._try_one()
        self._begin_part()
        self._close()
        growth = self.memory_bytes[-1] - self.memory_bytes[len(self.memory_bytes) // 5]
        if growth > GROWTH_BYTES:
            self.findings.append(f"memory grew by {growth:,} bytes: {self.memory_bytes}")

    def _begin_part(self) -> None:
        self._redis.client().flushall()
        with KeyStore(Settings(redis_url=self._redis.url)) as store:
            store.add(self._key)
        self.memory_bytes.append(memory_bytes(self._gateway.pid))

    def _try_one(self) -> None:
        request, is_whole = self._request()
        status, body = self._exchange(request) if is_whole else self._exchange_alone(request)
        self.statuses[status] += 1
        if what := self._wrong(status, body, is_whole):
            self.findings.append(f"{what}: {request[:500]!r}")

    def _wrong(self, status: int | None, body: bytes, is_whole: bool) -> str | None:
        if status is None:
            return "no answer" if is_whole else None
        if status >= 500:
            return f"answered {status}"
        if status < 400 or not body:
            return None
        try:
            errors = msgspec.json.decode(body)["errors"]
        except (msgspec.MsgspecError, LookupError):
            return f"{status} without errors"
        return next((f"unclear: {error}" for error in errors if unclear(error["message"])), None)

    # What is sent.

    def _request(self) -> tuple[bytes, bool]:
        """A request; and whether it is one by the rules of HTTP, so that an answer must come."""
        random = self._random
        body, headers = self._body()
        method, path = "POST", random.choice(("/v3/mail/send",) * 4 + ("/v1/batches",))
        if random.random() < 0.2:
            method, path = random.choice(METHODS), random.choice(PATHS)
        if random.random() < 0.2:
            headers[random.choice(NAMES)] = self._line()
        headers["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        request = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode() + body
        if random.random() < 0.05:
            return garbled(random, request), False
        is_odd = method == "HEAD" or path in {"*", "?", ""} or {"Upgrade", "Connection", "Expect"} & headers.keys()
        return request, not is_odd

    def _body(self) -> tuple[bytes, dict[str, str]]:
        random = self._random
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        how = random.randrange(10)
        good = random.choice(self._corpus)
        if how == 0:
            body = nested(random)
        elif how in {1, 2}:
            body = garbled(random, _json(good))
        elif how == 3:
            body = _json(value(random))
        elif how == 4:
            body = b"\n".join(_json(reworded(random, good)) for _ in range(5))
        else:
            body = _json(reworded(random, good) if how < 8 else mutated(random, good))
        if random.random() < 0.1:
            headers["Content-Encoding"] = "gzip"
            zipped = gzip.compress(body, 1)
            body = garbled(random, zipped) if random.random() < 0.5 else zipped
        return body, headers

    def _line(self) -> str:
        """A text that can be a header's."""
        text = self._random.choice((*TEXTS, "gzip", "100-continue", "close", "application/json;", self._token))
        return "".join(char for char in text if char.isascii() and char.isprintable())[:8000]

    # How it is sent.

    def _exchange(self, request: bytes) -> tuple[int | None, bytes]:
        """On the connection that is open; if it was closed after the last answer, on another."""
        for _ in range(2):
            if self._connection is None:
                self._connection = self._connect()
            with suppress(OSError):
                self._connection.sendall(request)
                answer = _answer(self._connection, has_body=not request.startswith(b"HEAD"))
                if answer is not None:
                    status, headers, body = answer
                    if b"connection: close" in headers.lower():
                        self._close()
                    return status, body
            self._close()
        return None, b""

    def _exchange_alone(self, request: bytes) -> tuple[int | None, bytes]:
        """On a connection of its own, whose end is the end of the request."""
        with self._connect() as connection, suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = _answer(connection, has_body=not request.startswith(b"HEAD"))
            if answer is not None and answer[0] != 100:
                return answer[0], answer[2]
        return None, b""

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._gateway.port), timeout=SOON)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _json(good: Any) -> bytes:
    return json.dumps(good).encode(errors="surrogatepass")


def _answer(connection: socket.socket, *, has_body: bool) -> tuple[int, bytes, bytes] | None:
    """Status, head and body; None if the connection is closed before the head is whole."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (piece := connection.recv(65_536)):
            return None
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while has_body and len(body) < length:
        if not (piece := connection.recv(65_536)):
            break
        body += piece
    return int(head.split()[1]), head, body[:length]


def fuzz(directory: Path, requests: int, seed: int) -> Fuzz:
    """Fuzz a gateway of its own."""
    with running(RedisServer(directory)) as redis:
        redis.client().config_set("appendfsync", "no")  # nobody kills it here
        with running(Gateway(directory, redis.url)) as gateway:
            done = Fuzz(gateway, redis, Random(seed))
            done.run(requests)
            done.findings += [str(line) for line in gateway.journal() if line.get("reason") == "bug"]
            assert gateway.stop() == 0
    return done


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway_fuzz")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        done = fuzz(Path(directory), asked.requests, asked.seed)
    print(f"{asked.requests:,} requests in {time.monotonic() - begun:.0f} s, answered {dict(done.statuses)}")
    megabytes = [size // 1_000_000 for size in done.memory_bytes]
    print(f"memory of the gateway, MB: {megabytes[:: max(1, len(megabytes) // 10)]}")
    for finding in done.findings[:20]:
        print(finding)
    return 1 if done.findings else 0


if __name__ == "__main__":
    sys.exit(main())
