"""Claims: how many mails were claimed when, by Redis' own clock, as its `MONITOR` shows the windows being written."""

import codecs
import re
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

import msgspec

#: A window as it is written, and read again when only a part of it is settled.
_WINDOW = re.compile(rb'\+([\d.]+) \[\d+ lua\] "HSET" "postroom:windows" "([^"]+)" "(.*)"\r\n')


class Claims:
    """Listens while it is open. `times`: seconds of Redis' clock, one entry a mail."""

    def __init__(self, url: str) -> None:
        self.times: list[float] = []
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 6379))
        self._nonces: set[bytes] = set()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    def most_in_a_second(self) -> int:
        """The most that were claimed within any one second."""
        times, most, first = sorted(self.times), 0, 0
        for last, time in enumerate(times):
            while times[first] <= time - 1:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _listen(self) -> None:
        with self._socket.makefile("rb") as lines:
            for line in lines:
                if found := _WINDOW.fullmatch(line):
                    self._hear(float(found[1]), found[2], found[3])

    def _hear(self, time: float, nonce: bytes, escaped: bytes) -> None:
        if nonce in self._nonces:
            return
        self._nonces.add(nonce)
        packed, _ = codecs.escape_decode(escaped)
        self.times += [time] * sum(len(rows) for _, rows in msgspec.msgpack.decode(packed)["groups"])
