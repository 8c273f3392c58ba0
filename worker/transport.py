"""Transport: posts mails over kept-alive connections, and knows of each whether it may have arrived.

The one file that uses libcurl. It sends a body once or not at all: libcurl by itself repeats a POST without a word when
a reused connection is dropped before the reply, even if the server had read the whole of it, and over HTTP/2 also when
the server refuses the stream (`Curl_retry_request` in libcurl's lib/transfer.c). So each body is fed through a read
callback that cannot be rewound. libcurl then gives up with error 65, or with the error of the new connection, and a
second copy does not exist that it could send.

What the callback has handed over also tells unsent from lost. libcurl reads ahead of what it writes to the network, so
while it has not asked for the last byte, nobody can have the whole body. Once it has, the request counts as lost,
whatever the error: the counts of bytes sent that libcurl keeps start again with each of its tries, and over HTTP/2
they run ahead of the network.
"""

import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import certifi
import pycurl

from worker.reply import NOT_STARTED, Reply

if TYPE_CHECKING:
    from worker.endpoint import Endpoint

#: No more of a reply's body is read (bytes). Its headers are bounded by libcurl: 300 KiB in all.
BODY_LIMIT = 64 * 1024
#: No longer wait for a connection, TLS included (seconds).
CONNECT_DEADLINE = 10.0
#: An idle connection is not used again after this (seconds). Servers drop idle ones, nginx after 75 s; a request that
#: meets such a drop half-way is lost.
IDLE_LIMIT = 30
#: No connection is used for longer than this (seconds). nginx ends an HTTP/2 connection after an hour, see below.
LIFE_LIMIT = 600
#: No window brings an HTTP/2 connection above so many requests; it gets a new one. nginx closes it after 1000, without
#: regard to the streams that are open by then, which are lost (https://github.com/golang/go/issues/18112).
REQUESTS_LIMIT = 900
#: Between two looks at the network, if nothing happens there (seconds).
POLL_INTERVAL = 0.1

#: libcurl's error codes (https://curl.se/libcurl/c/libcurl-errors.html), in words that logs can count.
_REASONS = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "garbage",
    pycurl.E_COULDNT_RESOLVE_HOST: "dns_failure",
    pycurl.E_COULDNT_CONNECT: "connect_failure",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "garbage",
    pycurl.E_HTTP2: "http2_failure",
    pycurl.E_PARTIAL_FILE: "truncated",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_SSL_CONNECT_ERROR: "tls_failure",
    pycurl.E_GOT_NOTHING: "connection_closed",
    pycurl.E_SEND_ERROR: "connection_reset",
    pycurl.E_RECV_ERROR: "connection_reset",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls_certificate",
    pycurl.E_SEND_FAIL_REWIND: "connection_closed",
    pycurl.E_SSL_CACERT_BADFILE: "tls_ca_file",
    92: "http2_failure",
    100: "reply_too_large",
}

#: What `poll` says of a socket that the other side has closed (on Linux; elsewhere only when it is reset).
_CLOSED = getattr(select, "POLLRDHUP", 0)


class Request(NamedTuple):
    """One try at posting one mail."""

    #: Whatever tells the caller which mail it is; it comes back beside the reply.
    tag: Any
    body: bytes
    #: Counted from 1.
    attempt: int
    #: On the transport's clock; it is not sent later.
    start_by: float


class Transport:
    """The connections of one thread, which alone may use it.

    `request_deadline` is in seconds, from the start of a request to the last byte of its reply. `connections` is how
    many requests are under way at once: over as many connections, or over HTTP/2 as streams of one. Certificates are
    checked against `ca_file`, else Mozilla's list.
    """

    def __init__(
        self,
        endpoint: "Endpoint",
        *,
        request_deadline: float,
        connections: int,
        clock: Callable[[], float] = time.monotonic,
        ca_file: str | None = None,
    ) -> None:
        self._clock = clock
        self._connections = connections
        self._multi = _multi(connections)
        self._sockets = _Sockets()
        options = _options(endpoint.url, request_deadline, ca_file or certifi.where())
        options[pycurl.SOCKOPTFUNCTION] = self._sockets.opened
        self._idle = [_Slot(options, endpoint) for _ in range(connections)]
        self._busy: dict[pycurl.Curl, _Slot] = {}
        self._posted = 0
        self._held_back = False

    def post(self, requests: Iterable[Request]) -> Iterator[list[tuple[Any, Reply]]]:
        """Post a window of mails, and yield `(tag, reply)` of each, in groups as they come in.

        While none comes, an empty group is yielded at least every `POLL_INTERVAL`, for the caller to do what is due.
        While the caller settles a group, the next requests are on their way. A request that has to wait for a free
        connection until after its `start_by` is yielded as `NOT_STARTED`. If the caller stops iterating, what is under
        way is broken off: it may have arrived. One call at a time.
        """
        if self._busy:
            raise RuntimeError("the transport is posting already")
        self._held_back = False
        waiting = deque(requests)
        if self._sockets.closed_by_server() or self._is_worn(len(waiting)):
            self._drop_connections()
        self._posted += len(waiting)
        group: list[tuple[Any, Reply]] = []
        try:
            while waiting or self._busy or group:
                started = self._start(waiting, group)
                running = self._multi.perform()[1] if started or not group else 0
                if group:
                    yield group
                elif running == len(self._busy):
                    self._wait()
                    yield []
                    continue
                group = self._finished()
        finally:
            self._break_off()

    def hold_back(self) -> None:
        """Start no more of the requests that are being posted; they are yielded as `NOT_STARTED`."""
        self._held_back = True

    def close(self) -> None:
        """Close all connections. The transport is of no use afterwards."""
        self._break_off()
        for slot in self._idle:
            slot.easy.close()
        self._idle.clear()
        self._multi.close()

    def _start(self, waiting: deque[Request], group: list[tuple[Any, Reply]]) -> int:
        """Start what may start, add to `group` what is too late, and return how many were started."""
        now = self._clock()
        idle = len(self._idle)
        while waiting:
            if self._held_back or waiting[0].start_by < now:
                group.append((waiting.popleft().tag, NOT_STARTED))
            elif self._idle:
                slot = self._idle.pop()
                slot.load(waiting.popleft())
                self._busy[slot.easy] = slot
                self._multi.add_handle(slot.easy)
            else:
                break
        return idle - len(self._idle)

    def _wait(self) -> None:
        """Until something happens on the network, or libcurl has to look at its own deadlines.

        `select` returns at once while libcurl has nothing to wait for that it could see (a name being resolved, more
        than 1024 open files); the pause keeps that from spinning.
        """
        milliseconds = self._multi.timeout()
        seconds = POLL_INTERVAL if milliseconds < 0 else min(POLL_INTERVAL, milliseconds / 1000)
        if not self._multi.select(seconds):
            time.sleep(0.001)

    def _finished(self) -> list[tuple[Any, Reply]]:
        """What has come to an end since the last call."""
        group = []
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            for easy in good:
                slot = self._free(easy)
                group.append((slot.tag, slot.answer()))
            for easy, code, detail in bad:
                slot = self._free(easy)
                group.append((slot.tag, slot.failure(code, detail)))
        return group

    def _free(self, easy: pycurl.Curl) -> "_Slot":
        slot = self._busy.pop(easy)
        self._multi.remove_handle(easy)
        self._idle.append(slot)
        return slot

    def _break_off(self) -> None:
        for easy in list(self._busy):
            self._free(easy).unload()

    def _is_worn(self, more: int) -> bool:
        """Whether an HTTP/2 connection has had its requests, with so many more."""
        return self._posted + more > REQUESTS_LIMIT and self._idle[-1].is_http2()

    def _drop_connections(self) -> None:
        """Begin with new ones, between two windows, where none is in use.

        What is sent over a connection that the server has closed would be lost, and libcurl itself looks only once a
        second (`Curl_cpool_conn_seems_healthy` in its lib/conncache.c).
        """
        self._multi.close()
        self._multi = _multi(self._connections)
        self._posted = 0


class _Slot:
    """One request at a time: libcurl's handle, what it reads the body from, and what it writes the reply to."""

    __slots__ = ("_attempt", "_body", "_endpoint", "_head", "_reader", "_size_bytes", "easy", "tag")

    def __init__(self, options: dict[int, Any], endpoint: "Endpoint") -> None:
        self.tag: Any = None
        self._endpoint = endpoint
        self._reader = BytesIO()
        self._size_bytes = 0
        self._attempt = 0
        self._head: list[bytes] = []
        self._body = b""
        self.easy = pycurl.Curl()
        for option, value in options.items():
            self.easy.setopt(option, value)
        self.easy.setopt(pycurl.HEADERFUNCTION, self._head.append)
        self.easy.setopt(pycurl.WRITEFUNCTION, self._take)

    def load(self, request: Request) -> None:
        """Make the handle ready to post this. What did not change since the last request is not set again."""
        self.tag, body, attempt, _ = request
        self._reader = BytesIO(body)
        self._size_bytes = len(body)
        self.easy.setopt(pycurl.READFUNCTION, self._reader.read)
        self.easy.setopt(pycurl.POSTFIELDSIZE_LARGE, self._size_bytes)
        if attempt != self._attempt:
            self._attempt = attempt
            # No `Expect: 100-continue`, which would cost a round trip.
            self.easy.setopt(pycurl.HTTPHEADER, [*self._endpoint.header_lines(attempt), "Expect:"])

    def answer(self) -> Reply:
        """The reply that came."""
        reply = Reply.answered(self.easy.getinfo(pycurl.RESPONSE_CODE), b"".join(self._head), self._body)
        self.unload()
        return reply

    def failure(self, code: int, detail: str) -> Reply:
        """What an end with one of libcurl's errors means."""
        if code == pycurl.E_WRITE_ERROR and len(self._body) == BODY_LIMIT:
            return self.answer()
        reason = _REASONS.get(code, f"curl_{code}")
        whole = self._reader.tell() == self._size_bytes
        self.unload()
        return Reply.lost(reason) if whole else Reply.unsent(reason, detail)

    def unload(self) -> None:
        """Let go of the body and the reply."""
        self._reader.close()
        self._head.clear()
        self._body = b""

    def is_http2(self) -> bool:
        """Whether the last request went over HTTP/2."""
        version: int = self.easy.getinfo(pycurl.INFO_HTTP_VERSION)
        return version == pycurl.CURL_HTTP_VERSION_2_0

    def _take(self, part: bytes) -> int:
        """Keep a part of the reply's body. Any number but the part's length makes libcurl break off."""
        self._body += part[: BODY_LIMIT - len(self._body)]
        return len(part) if len(self._body) < BODY_LIMIT else 0


class _Sockets:
    """The sockets of all connections so far, to find out which the server has closed."""

    def __init__(self) -> None:
        self._poll = select.poll()

    def opened(self, descriptor: int, _purpose: int) -> int:
        """Told by libcurl before it connects a socket."""
        self._poll.register(descriptor, _CLOSED)
        return pycurl.SOCKOPT_OK

    def closed_by_server(self) -> bool:
        """Whether any is; then all are forgotten. A descriptor that meanwhile is somebody else's does no harm."""
        closed = False
        for descriptor, event in self._poll.poll(0):
            self._poll.unregister(descriptor)
            closed = closed or not event & select.POLLNVAL
        if closed:
            self._poll = select.poll()
        return closed


def _multi(connections: int) -> pycurl.CurlMulti:
    """A set of connections."""
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAXCONNECTS, connections)
    return multi


def _options(url: str, request_deadline: float, ca_file: str) -> dict[int, Any]:
    """What all requests have in common."""
    return {
        pycurl.URL: url,
        pycurl.POST: 1,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.FOLLOWLOCATION: 0,
        # Nothing from the environment or the home directory.
        pycurl.PROXY: "",
        pycurl.NOPROXY: "*",
        pycurl.NETRC: pycurl.NETRC_IGNORED,
        pycurl.SSL_VERIFYPEER: 1,
        pycurl.SSL_VERIFYHOST: 2,
        pycurl.SSLVERSION: pycurl.SSLVERSION_TLSv1_2,
        pycurl.CAINFO: ca_file,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
        # Wait whether the first connection turns out to be HTTP/2, and share it then.
        pycurl.PIPEWAIT: url.startswith("https:"),
        pycurl.HTTP09_ALLOWED: 0,
        pycurl.TCP_NODELAY: 1,
        # Threads and signals don't mix.
        pycurl.NOSIGNAL: 1,
        pycurl.TIMEOUT_MS: round(request_deadline * 1000),
        pycurl.CONNECTTIMEOUT_MS: round(min(CONNECT_DEADLINE, request_deadline) * 1000),
        pycurl.MAXAGE_CONN: IDLE_LIMIT,
        pycurl.MAXLIFETIME_CONN: LIFE_LIMIT,
    }
