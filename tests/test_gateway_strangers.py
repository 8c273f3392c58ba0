"""Strangers at the gateway: slow ones, greedy ones and rude ones are refused, and the others are served meanwhile."""

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.gateway import Gateway, memory_bytes
from tests.mails import mail
from tests.servers import RedisServer, eventually, running

SEND = "/v3/mail/send"
MEGABYTE = 1024 * 1024
#: So long (seconds) the gateway waits for a request; and what an end of that may take on a busy machine.
PATIENCE, SOON = 1.0, 5.0


@pytest.fixture(scope="module")
def gateway(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    with running(Gateway(directory, redis_server.url, "--read-timeout", f"{PATIENCE:g}s")) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture(autouse=True)
def _others_are_served(gateway: Gateway) -> Iterator[None]:
    """Whatever a test has done to the gateway: it serves, and has seen no bug."""
    yield
    with gateway.client() as client:
        assert client.post(SEND, json=mail()).status_code == 202
    assert not [line for line in gateway.journal() if line.get("reason") == "bug"]
    assert "Traceback" not in gateway.log()


def connect(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=SOON)


def head(gateway: Gateway, *headers: str, path: str = SEND, token: str | None = None) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {gateway.token() if token is None else token}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def all_of(connection: socket.socket) -> bytes:
    """What comes until the connection is closed, which is soon."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def drip(connection: socket.socket, piece: bytes, seconds: float = SOON) -> bytes:
    """Send a little again and again until the connection is closed; returns what was answered."""
    received = b""
    connection.settimeout(0.1)
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            connection.sendall(piece)
            answer = connection.recv(65_536)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return received
        if not answer:
            return received
        received += answer
    raise AssertionError(f"still open after {seconds:g} s; it answered {received!r}")


# Slow ones.


def test_one_that_says_nothing_is_let_go(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        assert all_of(connection) == b""


def test_one_that_drips_its_headers_is_let_go(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"POST /v3/mail/send HTTP/1.1\r\n")
        assert b"408 Request Timeout" in drip(connection, b"X-A: b\r\n")


def test_one_that_drips_its_headers_after_a_good_request_is_let_go(gateway: Gateway) -> None:
    body = json.dumps(mail()).encode()
    with connect(gateway) as connection:
        connection.sendall(head(gateway, f"Content-Length: {len(body)}") + body + b"POST /v3")
        assert b" 202 " in connection.recv(65_536)
        assert b" 408 " in drip(connection, b"/")


@pytest.mark.parametrize("path", [SEND, "/v1/batches"])
def test_one_that_sends_no_body_is_let_go(gateway: Gateway, path: str) -> None:
    with connect(gateway) as connection:
        connection.sendall(head(gateway, "Content-Length: 1000", path=path) + b"{")
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"errors"' in answer


def test_one_that_drips_a_mail_is_let_go(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(head(gateway, "Content-Length: 1000000"))
        assert b" 408 " in drip(connection, b" ")


def test_one_that_goes_on_after_it_was_refused_is_let_go(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(head(gateway, "Content-Length: 1000000", token="none"))
        assert b" 401 " in drip(connection, b" ", seconds=15)


def test_many_slow_ones_do_not_keep_others_waiting(gateway: Gateway, client: httpx.Client) -> None:
    with ExitStack() as stack:
        for number in range(100):
            connection = stack.enter_context(connect(gateway))
            connection.sendall(
                b"POST /v3/mail/send HTTP/1.1\r\nX-A: " if number % 2 else head(gateway, "Content-Length: 9")
            )
        begun = time.monotonic()
        assert client.post(SEND, json=mail()).status_code == 202
        assert time.monotonic() - begun < SOON


# Greedy ones.


@pytest.mark.parametrize("path", [SEND, "/v1/batches"])
@pytest.mark.parametrize("in_pieces", [False, True], ids=["announced", "in chunks"])
def test_a_body_of_31_megabytes_is_refused(client: httpx.Client, path: str, in_pieces: bool) -> None:
    body = b'{"subject": "' + b"x" * 31 * MEGABYTE + b'"}'
    pieces = (body[start : start + MEGABYTE] for start in range(0, len(body), MEGABYTE))
    answer = client.post(path, content=pieces if in_pieces else body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["message"] == "content too large"


def test_a_body_of_30_megabytes_is_taken(client: httpx.Client) -> None:
    """But for the id, which is added to it."""
    body = json.dumps(mail(text="x" * (30 * MEGABYTE - 1000))).encode()
    assert client.post(SEND, content=body, headers={"content-type": "application/json"}).status_code == 202


def zeros(megabytes: int) -> bytes:
    """Zeros, zipped: a thousandth of their size."""
    zipper = zlib.compressobj(9, wbits=31)
    return b"".join(zipper.compress(bytes(MEGABYTE)) for _ in range(megabytes)) + zipper.flush()


@pytest.mark.parametrize("path", [SEND, "/v1/batches"])
def test_a_small_body_that_would_be_a_gigabyte_is_refused(gateway: Gateway, client: httpx.Client, path: str) -> None:
    bomb = zeros(1024)
    assert len(bomb) < 2 * MEGABYTE
    before = memory_bytes(gateway.pid, "VmHWM")
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post(path, content=bomb, headers=headers).status_code == 413
    assert memory_bytes(gateway.pid, "VmHWM") - before < 120 * MEGABYTE


def test_zipped_nothings_without_end_are_refused(client: httpx.Client) -> None:
    nothings = gzip.compress(b"") * 1_700_000
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert client.post(SEND, content=nothings, headers=headers).status_code == 413


def test_headers_without_end_are_refused(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"POST /v3/mail/send HTTP/1.1\r\n")
        assert b" 431 " in drip(connection, b"X-A: " + b"b" * 10_000 + b"\r\n")


def test_a_path_without_end_is_refused(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"POST /")
        assert b" 431 " in drip(connection, b"b" * 10_000)


# Rude ones.


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST v3/mail/send HTTP/1.1\r\n\r\n",
        b"POST /v3/mail/send HTTP/9.9\r\n\r\n",
        b"POST /v3/mail/send HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v3/mail/send HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /\xff HTTP/1.1\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(gateway: Gateway, said: bytes) -> None:
    with connect(gateway) as connection:
        connection.sendall(said)
        assert all_of(connection).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))


def test_one_that_leaves_in_the_middle_is_forgotten(gateway: Gateway) -> None:
    before = len(gateway.journal())
    with connect(gateway) as connection:
        connection.sendall(head(gateway, "Content-Length: 1000") + b"{")
    eventually(lambda: any(line.get("reason") == "cut" for line in gateway.journal()[before:]))


def test_an_upgrade_is_not_made(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(
            head(gateway, "Connection: Upgrade, close", "Upgrade: websocket", "Content-Length: 2") + b"{}"
        )
        assert all_of(connection).startswith(b"HTTP/1.1 4")
