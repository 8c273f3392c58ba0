"""The hang-up trap: a server reads a whole request on a reused connection and hangs up. Nothing may be sent again."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pycurl
import pytest

from tests.hostile_server import Certificate, Exchange, Exchange2, HostileServer, Script
from worker.endpoint import Endpoint
from worker.reply import Fate, Reply
from worker.transport import Request, Transport

MAILS = 1000
WINDOW = 50
CONNECTIONS = 8

Server = Callable[[Script], HostileServer]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["http/1.1", "http/1.1 over TLS", "http/2"])
def server(request: pytest.FixtureRequest, certificate: Certificate) -> Server:
    if request.param == "http/1.1":
        return HostileServer
    version = "h2" if request.param == "http/2" else "http/1.1"
    return lambda script: HostileServer(script, tls=certificate, versions=[version])


def now_and_then(misbehave: Script) -> Script:
    """Accept, but treat every 37th request like this, if its connection has been used before."""
    turn = itertools.count(1)

    def script(exchange: Exchange) -> None:
        if next(turn) % 37 == 0 and exchange.reused:
            misbehave(exchange)
        else:
            exchange.accept()

    return script


def bodies() -> list[bytes]:
    return [b'{"mail": %d, "text": "%s"}' % (number, b"x" * 2900) for number in range(MAILS)]


def post_all(server: HostileServer, ca_file: Path) -> dict[int, Reply]:
    """Post all mails in windows, and return the reply of each."""
    endpoint = Endpoint(server.url, {"Content-Type": "application/json"})
    transport = Transport(endpoint, request_deadline=20, connections=CONNECTIONS, ca_file=str(ca_file))
    replies: dict[int, Reply] = {}
    for window in windows():
        requests = [Request(number, body, 1, time.monotonic() + 20) for number, body in window]
        for number, reply in itertools.chain.from_iterable(transport.post(requests)):
            assert number not in replies
            replies[number] = reply
    transport.close()
    return replies


def windows() -> Iterator[list[tuple[int, bytes]]]:
    numbered = enumerate(bodies())
    while window := list(itertools.islice(numbered, WINDOW)):
        yield window


@pytest.mark.parametrize("misbehave", [Exchange.hang_up, Exchange.reset])
def test_no_mail_arrives_twice_when_a_server_reads_it_and_hangs_up(
    server: Server, certificate: Certificate, misbehave: Script
) -> None:
    with server(now_and_then(misbehave)) as hostile:
        replies = post_all(hostile, certificate.path)

    arrivals = Counter(hostile.bodies())
    lost = {number for number, reply in replies.items() if reply.fate is Fate.LOST}
    accepted = {number for number, reply in replies.items() if reply.receipt}
    assert max(arrivals.values()) == 1
    assert lost, "the server never misbehaved"
    assert lost | accepted == set(range(MAILS))
    assert all(arrivals[bodies()[number]] for number in accepted)


def test_the_very_mails_that_were_hung_up_on_are_lost(certificate: Certificate) -> None:
    hung_up_on: set[bytes] = set()

    def hang_up(exchange: Exchange) -> None:
        hung_up_on.add(exchange.body)
        exchange.hang_up()

    with HostileServer(now_and_then(hang_up)) as hostile:
        replies = post_all(hostile, certificate.path)

    assert {bodies()[number] for number, reply in replies.items() if reply.fate is Fate.LOST} == hung_up_on


def test_a_refused_http2_stream_is_not_sent_again(certificate: Certificate) -> None:
    def refuse(exchange: Exchange) -> None:
        assert isinstance(exchange, Exchange2)
        exchange.refuse()

    with HostileServer(now_and_then(refuse), tls=certificate, versions=["h2"]) as hostile:
        replies = post_all(hostile, certificate.path)

    assert max(Counter(hostile.bodies()).values()) == 1
    assert {reply.fate for reply in replies.values()} == {Fate.ANSWERED, Fate.LOST}


def test_an_http2_stream_beyond_a_goaway_is_not_sent_again(certificate: Certificate) -> None:
    def go_away(exchange: Exchange) -> None:
        assert isinstance(exchange, Exchange2)
        exchange.go_away(last_stream=exchange.stream - 2)

    with HostileServer(now_and_then(go_away), tls=certificate, versions=["h2"]) as hostile:
        replies = post_all(hostile, certificate.path)

    assert max(Counter(hostile.bodies()).values()) == 1
    assert {reply.fate for reply in replies.values()} == {Fate.ANSWERED, Fate.LOST}


def test_a_mail_is_lost_also_when_the_server_can_not_be_reached_again(server: Server, certificate: Certificate) -> None:
    """libcurl's own error is then that of the second connection, as if nothing had been sent."""

    def leave(exchange: Exchange) -> None:
        if exchange.reused:
            exchange.server.stop_listening()
            exchange.hang_up()
        else:
            exchange.accept()

    with server(leave) as hostile:
        transport = Transport(
            Endpoint(hostile.url, {}), request_deadline=10, connections=1, ca_file=str(certificate.path)
        )
        requests = [Request(number, b"mail %d" % number, 1, time.monotonic() + 10) for number in range(2)]
        replies = dict(itertools.chain.from_iterable(transport.post(requests)))
        transport.close()

    assert hostile.bodies() == [b"mail 0", b"mail 1"]
    assert [replies[number].fate for number in range(2)] == [Fate.ANSWERED, Fate.LOST]


def test_libcurl_by_itself_does_send_mails_twice(server: Server, certificate: Certificate) -> None:
    """The control: with POSTFIELDS, which libcurl can rewind, the same server gets copies."""
    with server(now_and_then(Exchange.hang_up)) as hostile:
        post_all_with_plain_libcurl(hostile, certificate.path)

    assert max(Counter(hostile.bodies()).values()) > 1


def post_all_with_plain_libcurl(server: HostileServer, ca_file: Path) -> None:
    multi = pycurl.CurlMulti()
    for window in windows():
        easies = []
        for _, body in window[:CONNECTIONS]:
            easy = pycurl.Curl()
            easy.setopt(pycurl.URL, server.url)
            easy.setopt(pycurl.CAINFO, str(ca_file))
            easy.setopt(pycurl.PIPEWAIT, 1)
            easy.setopt(pycurl.TIMEOUT, 20)
            easy.setopt(pycurl.POSTFIELDS, body)
            multi.add_handle(easy)
            easies.append(easy)
        running = 1
        while running:
            _, running = multi.perform()
            multi.select(1.0)
        for easy in easies:
            multi.remove_handle(easy)
            easy.close()
    multi.close()
