"""Hostile server: speaks HTTP/1.1 and HTTP/2, records which mails it got whole, and misbehaves as its script says.

A script is a function of one `Exchange`; it answers, or does worse. It is called when the whole request has been read.
"""

import datetime
import ipaddress
import itertools
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Headers = list[tuple[str, str]]
Script = Callable[["Exchange"], None]

END_OF_HEAD = b"\r\n\r\n"


class Arrival(NamedTuple):
    """A request that arrived whole. Connections are counted from 1, requests on each from 1."""

    connection: int
    nth: int
    version: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | bytearray


class Exchange:
    """One request that was read whole, and ways to treat it."""

    def __init__(self, server: "HostileServer", wire: socket.socket, arrival: Arrival) -> None:
        self.server = server
        self.wire = wire
        self.arrival = arrival
        self.over = False

    @property
    def body(self) -> bytes:
        return bytes(self.arrival.body)

    @property
    def reused(self) -> bool:
        """Whether the connection had carried a request before."""
        return self.arrival.nth > 1

    def answer(self, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers or []]
        self.raw("\r\n".join(lines).encode() + END_OF_HEAD + body)

    def accept(self) -> None:
        """202 and a receipt, as SendGrid does it."""
        self.answer(202, [("X-Message-Id", self.server.receipt())])

    def hang_up(self) -> None:
        """Close the connection in good order, without a word."""
        self.over = True

    def reset(self) -> None:
        """Close the connection by RST."""
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.over = True

    def silence(self) -> None:
        """Say nothing, and keep the connection until the client leaves."""
        with suppress(OSError):
            self.wire.recv(1)
        self.over = True

    def stall(self) -> None:
        """Neither read nor write anything any more, until the server is closed."""
        self.server.closing.wait(60)
        self.over = True

    def raw(self, data: bytes) -> None:
        """Send these very bytes."""
        with suppress(OSError):
            self.wire.sendall(data)

    def drip(self, data: bytes, interval_seconds: float = 0.02) -> None:
        """Send these very bytes, one after another, until the client leaves or the server is closed."""
        for byte in data:
            readable, _, _ = select.select([self.wire], [], [], interval_seconds)
            if readable or self.server.closing.is_set():
                break
            self.raw(bytes([byte]))
        self.over = True


class Exchange2(Exchange):
    """The same over HTTP/2, and what only HTTP/2 can do."""

    def __init__(
        self,
        server: "HostileServer",
        wire: socket.socket,
        arrival: Arrival,
        peer: h2.connection.H2Connection,
        stream: int,
    ) -> None:
        super().__init__(server, wire, arrival)
        self.peer = peer
        self.stream = stream

    def answer(self, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
        fields = [(":status", str(status)), *((name.lower(), value) for name, value in headers or [])]
        self.peer.send_headers(self.stream, fields, end_stream=not body)
        size = self.peer.max_outbound_frame_size
        for start in range(0, len(body), size):
            self.peer.send_data(self.stream, body[start : start + size], end_stream=start + size >= len(body))

    def silence(self) -> None:
        """Say nothing about this request."""

    def refuse(self) -> None:
        """RST_STREAM with REFUSED_STREAM: by RFC 9113, section 8.7, the request was not processed."""
        self.peer.reset_stream(self.stream, h2.errors.ErrorCodes.REFUSED_STREAM)

    def go_away(self, last_stream: int) -> None:
        """GOAWAY: of streams later than the last one, none was processed. The connection ends."""
        self.peer.close_connection(last_stream_id=last_stream)
        self.raw(self.peer.data_to_send())
        self.over = True


def accept(exchange: Exchange) -> None:
    exchange.accept()


class HostileServer:
    """A server on a free port of 127.0.0.1, from `with` to its end.

    `arrivals` has all requests that were read whole, `partial` counts those that broke off before, `connections` the
    connections. Over HTTP/1.1, when `read_limit` bytes of a longer body have been read, `at_limit` is called for what
    has come so far, and the connection is closed. `versions` are the protocols offered over TLS.
    """

    def __init__(
        self,
        script: Script = accept,
        *,
        tls: "Certificate | None" = None,
        versions: Iterable[str] = ("h2", "http/1.1"),
        read_limit: int | None = None,
        at_limit: Script = Exchange.reset,
    ) -> None:
        self.script = script
        self.read_limit = read_limit
        self.at_limit = at_limit
        self.arrivals: list[Arrival] = []
        self.partial = 0
        self.connections = 0
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self._receipts = itertools.count(1)
        self._tls = tls and tls.server_context(list(versions))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.url = f"{self.base}/v3/mail/send"
        self._wires: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self.stop_listening()
        self.close_connections()
        for thread in self._threads:
            thread.join(10)
        assert not self.errors, self.errors

    def receipt(self) -> str:
        return f"receipt-{next(self._receipts)}"

    def stop_listening(self) -> None:
        """Refuse connections from now on."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close_connections(self) -> None:
        for wire in self._wires.copy():
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def open_connections(self) -> int:
        return len(self._wires)

    def bodies(self) -> list[bytes]:
        return [bytes(arrival.body) for arrival in self.arrivals]

    def _listen(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(wire, self.connections))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, connection: int) -> None:
        wire = plain
        try:
            plain.settimeout(30)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                wire = self._tls.wrap_socket(plain, server_side=True)
            self._wires.add(wire)
            if isinstance(wire, ssl.SSLSocket) and wire.selected_alpn_protocol() == "h2":
                self._serve_http2(wire, connection)
            else:
                self._serve_http1(wire, connection)
        except OSError:
            pass  # The client left.
        except BaseException as error:  # noqa: BLE001 — a fault of this server fails the test.
            self.errors.append(error)
        finally:
            wire.close()
            self._wires.discard(wire)

    def _serve_http1(self, wire: socket.socket, connection: int) -> None:
        pending = b""
        for nth in itertools.count(1):
            while END_OF_HEAD not in pending:
                if not (part := wire.recv(65536)):
                    return
                pending += part
            head, _, pending = pending.partition(END_OF_HEAD)
            request, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = request.split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            size = int(headers["content-length"])
            body = bytearray(pending[:size])
            pending = pending[size:]
            while len(body) < size:
                if self.read_limit is not None and len(body) >= self.read_limit:
                    self.partial += 1
                    self.at_limit(Exchange(self, wire, Arrival(connection, nth, "1.1", method, path, headers, body)))
                    return
                if not (part := wire.recv(65536)):
                    self.partial += 1
                    return
                body += part
            arrival = Arrival(connection, nth, "1.1", method, path, headers, bytes(body))
            self.arrivals.append(arrival)
            exchange = Exchange(self, wire, arrival)
            self.script(exchange)
            if exchange.over:
                return

    def _serve_http2(self, wire: ssl.SSLSocket, connection: int) -> None:
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        peer.initiate_connection()
        wire.sendall(peer.data_to_send())
        requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        nth = itertools.count(1)
        while data := wire.recv(65536):
            for event in peer.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    requests[event.stream_id] = (dict(event.headers), bytearray())
                elif isinstance(event, h2.events.DataReceived):
                    requests[event.stream_id][1].extend(event.data)
                    peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    self.partial += requests.pop(event.stream_id, None) is not None
                elif isinstance(event, h2.events.StreamEnded):
                    headers, body = requests.pop(event.stream_id)
                    method, path = headers[":method"], headers[":path"]
                    arrival = Arrival(connection, next(nth), "2", method, path, headers, bytes(body))
                    self.arrivals.append(arrival)
                    exchange = Exchange2(self, wire, arrival, peer, event.stream_id)
                    self.script(exchange)
                    if exchange.over:
                        return
            wire.sendall(peer.data_to_send())
        self.partial += len(requests)


class Certificate:
    """A self-signed certificate for 127.0.0.1, in `path`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "certificate.pem"
        self._key_path = directory / "key.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Postroom's tests")])
        today = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def server_context(self, versions: list[str]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self._key_path)
        context.set_alpn_protocols(versions)
        return context
