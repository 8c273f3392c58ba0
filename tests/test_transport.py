"""The transport: what goes out, what comes back, and what is known of a mail when nothing comes back."""

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pycurl
import pytest

from postroom.errors import ConfigurationError
from postroom.names import Lane
from postroom.settings import Settings
from tests.hostile_server import Certificate, Exchange, HostileServer, Script
from tests.servers import eventually, free_port
from worker.endpoint import Endpoint
from worker.reply import NOT_STARTED, Fate, Reply
from worker.transport import BODY_LIMIT, Request, Transport

KEY = "SG.very-secret"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["http/1.1", "http/2"])
def tls(request: pytest.FixtureRequest, certificate: Certificate) -> Certificate | None:
    """What makes a server speak HTTP/1.1 in the clear, or HTTP/2."""
    return certificate if request.param == "http/2" else None


class Client:
    """A transport, closed at the end, and what it takes to post with it."""

    def __init__(self, url: str, **options: Any) -> None:
        self.clock = options.pop("clock", time.monotonic)
        endpoint = Endpoint(url, {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})
        options = {"request_deadline": 10.0, "connections": 4, **options}
        self.transport = Transport(endpoint, clock=self.clock, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def request(self, tag: object, body: bytes, attempt: int = 1, start_in: float = 10.0) -> Request:
        return Request(tag, body, attempt, self.clock() + start_in)

    def post(self, *bodies: bytes, attempt: int = 1) -> list[Reply]:
        """Post a window, and return the replies in the order of the bodies."""
        requests = [self.request(tag, body, attempt) for tag, body in enumerate(bodies)]
        replies = dict(itertools.chain.from_iterable(self.transport.post(requests)))
        return [replies[tag] for tag in range(len(bodies))]


def client_of(server: HostileServer, certificate: Certificate, **options: Any) -> Client:
    return Client(server.url, ca_file=str(certificate.path), **options)


def reply_to(script: Script, certificate: Certificate, **options: Any) -> Reply:
    """What comes back for one mail from a server that behaves like this."""
    with HostileServer(script) as server, client_of(server, certificate, **options) as client:
        return client.post(b"mail")[0]


def test_a_mail_goes_out_as_it_is_with_the_headers_of_the_endpoint(
    tls: Certificate | None, certificate: Certificate
) -> None:
    body = '{"subject": "Grüße 👋"}'.encode()

    with HostileServer(tls=tls) as server, client_of(server, certificate) as client:
        [reply] = client.post(body, attempt=3)

    [arrival] = server.arrivals
    assert (arrival.version, arrival.method, arrival.path) == ("2" if tls else "1.1", "POST", "/v3/mail/send")
    assert arrival.body == body
    assert arrival.headers["authorization"] == f"Bearer {KEY}"
    assert arrival.headers["content-type"] == "application/json"
    assert arrival.headers["x-postroom-attempt"] == "3"
    assert not {"expect", "cookie", "accept-encoding", "transfer-encoding"} & set(arrival.headers)
    assert (reply.fate, reply.status, reply.receipt) == (Fate.ANSWERED, 202, "receipt-1")


def test_each_request_tells_its_own_attempt(certificate: Certificate) -> None:
    with HostileServer() as server, client_of(server, certificate, connections=1) as client:
        for attempt in (1, 1, 2, 8, 1):
            client.post(b"mail", attempt=attempt)

    assert [arrival.headers["x-postroom-attempt"] for arrival in server.arrivals] == ["1", "1", "2", "8", "1"]


def test_mails_of_any_size_arrive_whole(tls: Certificate | None, certificate: Certificate) -> None:
    sizes = [1, 16_383, 16_384, 65_535, 65_536, 65_537, 3 * MEGABYTE, 25 * MEGABYTE]
    bodies = [os.urandom(size) for size in sizes]

    with HostileServer(tls=tls) as server, client_of(server, certificate) as client:
        replies = client.post(*bodies)

    assert Counter(server.bodies()) == Counter(bodies)
    assert all(reply.receipt for reply in replies)


def test_each_mail_gets_its_own_reply(tls: Certificate | None, certificate: Certificate) -> None:
    def echo(exchange: Exchange) -> None:
        exchange.answer(400, body=exchange.body)

    bodies = [b"mail %d" % number for number in range(200)]
    with HostileServer(echo, tls=tls) as server, client_of(server, certificate) as client:
        assert [reply.body for reply in client.post(*bodies)] == bodies


def test_connections_are_kept_from_window_to_window(tls: Certificate | None, certificate: Certificate) -> None:
    with HostileServer(tls=tls) as server, client_of(server, certificate, connections=3) as client:
        for _ in range(10):
            client.post(*[b"mail"] * 10)

    assert server.connections == (1 if tls else 3)


def test_no_more_requests_are_under_way_than_there_are_connections(certificate: Certificate) -> None:
    under_way = threading.Semaphore(3)

    def count(exchange: Exchange) -> None:
        assert under_way.acquire(blocking=False)
        time.sleep(0.001)
        under_way.release()
        exchange.accept()

    with HostileServer(count) as server, client_of(server, certificate, connections=3) as client:
        assert all(reply.receipt for reply in client.post(*[b"mail"] * 100))


def test_a_connection_that_the_server_has_closed_is_not_used_again(
    tls: Certificate | None, certificate: Certificate
) -> None:
    with HostileServer(tls=tls) as server, client_of(server, certificate, connections=2) as client:
        for _ in range(5):
            assert all(reply.receipt for reply in client.post(*[b"mail"] * 10))
            server.close_connections()
            eventually(lambda: not server.open_connections())


def test_an_http2_connection_is_retired_before_a_server_would_close_it_in_our_face(certificate: Certificate) -> None:
    """nginx closes it after 1000 requests, and loses those that are under way."""
    with (
        HostileServer(tls=certificate, versions=["h2"]) as server,
        client_of(server, certificate, connections=20) as client,
    ):
        for _ in range(15):
            assert all(reply.receipt for reply in client.post(*[b"mail"] * 100))

    assert server.connections == 2
    assert max(arrival.nth for arrival in server.arrivals) < 1000


def test_replies_are_given_out_while_others_are_still_awaited(certificate: Certificate) -> None:
    seen = threading.Event()

    def slow_for_one(exchange: Exchange) -> None:
        if exchange.body == b"slow":
            seen.wait(10)
        exchange.accept()

    with HostileServer(slow_for_one) as server, client_of(server, certificate) as client:
        groups = client.transport.post([client.request("slow", b"slow"), client.request("quick", b"quick")])
        assert [tag for tag, _ in next(filter(None, groups))] == ["quick"]
        seen.set()
        assert [tag for group in groups for tag, _ in group] == ["slow"]


def test_the_caller_gets_its_turn_while_no_reply_comes(certificate: Certificate) -> None:
    seen = threading.Event()

    def slow(exchange: Exchange) -> None:
        seen.wait(10)
        exchange.accept()

    with HostileServer(slow) as server, client_of(server, certificate) as client:
        groups = client.transport.post([client.request("slow", b"slow")])
        assert [next(groups) for _ in range(5)] == [[]] * 5
        seen.set()
        assert [tag for group in groups for tag, _ in group] == ["slow"]


def test_what_is_held_back_is_not_started(certificate: Certificate) -> None:
    with HostileServer() as server, client_of(server, certificate, connections=2) as client:
        replies = []
        for group in client.transport.post(client.request(number, b"mail") for number in range(9)):
            replies += group
            if group:
                client.transport.hold_back()
        assert 1 <= sum(reply.status == 202 for _, reply in replies) <= 4 < len(replies) == 9
        assert {reply.fate for _, reply in replies if reply.status != 202} == {Fate.NOT_STARTED}
        assert len(server.arrivals) == sum(reply.status == 202 for _, reply in replies)

        replies = [reply for group in client.transport.post([client.request(0, b"mail")]) for _, reply in group]
        assert [reply.status for reply in replies] == [202]


def test_requests_are_taken_from_any_iterable(certificate: Certificate) -> None:
    with HostileServer() as server, client_of(server, certificate) as client:
        groups = client.transport.post(client.request(number, b"mail") for number in range(9))
        assert sorted(tag for group in groups for tag, _ in group) == list(range(9))
        assert list(client.transport.post([])) == []


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_mail_whose_time_is_over_is_not_sent(certificate: Certificate) -> None:
    with HostileServer() as server, client_of(server, certificate, clock=Clock()) as client:
        requests = [client.request("late", b"late", start_in=-0.001), client.request("just", b"just", start_in=0)]
        replies = dict(itertools.chain.from_iterable(client.transport.post(requests)))

    assert replies["late"] is NOT_STARTED
    assert replies["just"].receipt
    assert server.bodies() == [b"just"]


def test_a_mail_that_waits_in_line_until_its_time_is_over_is_not_sent(certificate: Certificate) -> None:
    clock = Clock()

    def take_long(exchange: Exchange) -> None:
        clock.now += 60
        exchange.accept()

    with HostileServer(take_long) as server, client_of(server, certificate, clock=clock, connections=1) as client:
        replies = client.post(b"first", b"second")

    assert [reply.fate for reply in replies] == [Fate.ANSWERED, Fate.NOT_STARTED]
    assert server.bodies() == [b"first"]


def test_a_mail_in_line_is_given_back_when_its_time_is_over_not_when_its_turn_comes(certificate: Certificate) -> None:
    clock = Clock()
    given_back = threading.Event()

    def take_long(exchange: Exchange) -> None:
        clock.now += 60
        given_back.wait(8)
        exchange.accept()

    with HostileServer(take_long) as server, client_of(server, certificate, clock=clock, connections=1) as client:
        groups = client.transport.post([client.request("first", b"first"), client.request("second", b"second")])
        assert next(filter(None, groups)) == [("second", NOT_STARTED)]
        given_back.set()
        assert [tag for group in groups for tag, _ in group] == ["first"]


def test_a_reply_that_drips_is_no_reply(certificate: Certificate) -> None:
    reply_of_4_seconds = b"HTTP/1.1 202 Accepted\r\nContent-Length: 200\r\nX-Message-Id: abc\r\n\r\n".ljust(200, b" ")
    started = time.monotonic()

    reply = reply_to(lambda exchange: exchange.drip(reply_of_4_seconds), certificate, request_deadline=0.5)

    assert (reply.fate, reply.reason) == (Fate.LOST, "timeout")
    assert time.monotonic() - started < 2


def test_silence_is_no_reply_and_costs_no_processor_time(tls: Certificate | None, certificate: Certificate) -> None:
    with (
        HostileServer(lambda exchange: exchange.silence(), tls=tls) as server,
        client_of(server, certificate, request_deadline=1.0) as client,
    ):
        started = time.process_time()
        [reply] = client.post(b"mail")

    assert (reply.fate, reply.reason) == (Fate.LOST, "timeout")
    assert time.process_time() - started < 0.3


@pytest.mark.parametrize(
    ("bytes_sent", "reason"),
    [
        (b"", "connection_closed"),
        (b"HTTP/1.1 202 Acc", "connection_closed"),
        (b"HTTP/1.1 202 Accepted\r\nX-Message-Id: abc", "truncated"),
        (b"HTTP/1.1 202 Accepted\r\nX-Message-Id: abc\r\n", "truncated"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nX-Message-Id: abc\r\n", "truncated"),
        (b"HTTP/1.1 202 Accepted\r\nX-Message-Id: abc\r\nContent-Length: 9\r\n\r\nhalf", "truncated"),
        (b"HTTP/1.1 100 Continue\r\nX-Message-Id: abc\r\n\r\n", "connection_closed"),
        (b"\x00\xff 202 what?\r\n\r\n", "garbage"),
        (b"HTTP/1.1 two-o-two\r\n\r\n", "garbage"),
        (b"+OK 202\r\nX-Message-Id: abc\r\n\r\n", "garbage"),
        (b"HTTP/1.1 202 Accepted\r\nX-Message-Id: abc\r\n" + b"X-Filler: %s\r\n" % (b"y" * 9000) * 99, None),
        (b"HTTP/1.1 202 Accepted\r\nX-Message-Id: " + b"y" * MEGABYTE, None),
        (b"HTTP/1.1 103 Early Hints\r\nX-Message-Id: abc\r\n\r\n" * 100_000, None),
    ],
)
def test_half_a_reply_and_garbage_are_no_reply(bytes_sent: bytes, reason: str | None, certificate: Certificate) -> None:
    def reply_so(exchange: Exchange) -> None:
        exchange.raw(bytes_sent)
        exchange.hang_up()

    reply = reply_to(reply_so, certificate)

    assert reply.fate is Fate.LOST
    assert reason in (None, reply.reason)


@pytest.mark.parametrize("size", [BODY_LIMIT - 1, BODY_LIMIT, BODY_LIMIT + 1, 5 * MEGABYTE])
def test_no_more_than_64_kib_of_a_reply_are_read(tls: Certificate | None, size: int, certificate: Certificate) -> None:
    body = os.urandom(min(size, 60_000) if tls else size)

    with (
        HostileServer(lambda exchange: exchange.answer(400, body=body), tls=tls) as server,
        client_of(server, certificate) as client,
    ):
        [reply] = client.post(b"mail")
        [after] = client.post(b"another")

    assert (reply.status, reply.body) == (400, body[:BODY_LIMIT])
    assert after.status == 400


def test_a_redirect_is_not_followed(certificate: Certificate) -> None:
    with HostileServer() as elsewhere:
        location = [("Location", elsewhere.url)]
        reply = reply_to(lambda exchange: exchange.answer(302, location), certificate)

    assert (reply.fate, reply.status) == (Fate.ANSWERED, 302)
    assert elsewhere.connections == 0


def test_no_proxy_is_taken_from_the_environment(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer() as server, HostileServer() as proxy, client_of(server, certificate) as client:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base)
        client.post(b"mail")
        assert (server.bodies(), proxy.bodies()) == ([b"mail"], [])

        plain = pycurl.Curl()
        plain.setopt(pycurl.URL, server.url)
        plain.setopt(pycurl.POSTFIELDS, b"by proxy")
        plain.perform()
        plain.close()
        assert proxy.bodies() == [b"by proxy"], "the control: libcurl does look at these variables"


def test_a_refused_connection_is_unsent(certificate: Certificate) -> None:
    with Client(f"http://127.0.0.1:{free_port()}/v3/mail/send") as client:
        [reply] = client.post(b"mail")

    assert (reply.fate, reply.reason) == (Fate.UNSENT, "connect_failure")


def test_a_name_that_does_not_resolve_is_unsent() -> None:
    with Client("http://postroom.invalid/v3/mail/send") as client:
        [reply] = client.post(b"mail")

    assert (reply.fate, reply.reason) == (Fate.UNSENT, "dns_failure")


def test_a_certificate_that_nobody_vouches_for_is_unsent(certificate: Certificate) -> None:
    with HostileServer(tls=certificate) as server, Client(server.url) as client:
        [reply] = client.post(b"mail")

    assert (reply.fate, reply.reason) == (Fate.UNSENT, "tls_certificate")
    assert server.arrivals == []


def test_a_certificate_for_another_name_is_unsent(certificate: Certificate) -> None:
    with (
        HostileServer(tls=certificate) as server,
        Client(server.url.replace("127.0.0.1", "localhost"), ca_file=str(certificate.path)) as client,
    ):
        [reply] = client.post(b"mail")

    assert (reply.fate, reply.reason) == (Fate.UNSENT, "tls_certificate")
    assert server.arrivals == []


def test_a_server_that_speaks_no_tls_is_unsent(certificate: Certificate) -> None:
    with HostileServer() as server, Client(server.url.replace("http:", "https:"), request_deadline=1.0) as client:
        [reply] = client.post(b"mail")

    assert reply.fate is Fate.UNSENT
    assert server.arrivals == []


@pytest.mark.parametrize(("at_limit", "reason"), [(Exchange.reset, "connection_reset"), (Exchange.stall, "timeout")])
def test_a_mail_that_was_not_sent_to_its_end_is_unsent(at_limit: Script, reason: str, certificate: Certificate) -> None:
    with (
        HostileServer(read_limit=MEGABYTE, at_limit=at_limit) as server,
        client_of(server, certificate, request_deadline=1.0) as client,
    ):
        [reply] = client.post(bytes(25 * MEGABYTE))

    assert (reply.fate, reply.reason) == (Fate.UNSENT, reason)
    assert (server.bodies(), server.partial) == ([], 1)


def test_an_answer_to_half_a_mail_is_an_answer(certificate: Certificate) -> None:
    """A proxy that finds a mail too large says so before it has read it."""

    def too_large(exchange: Exchange) -> None:
        exchange.answer(413, [("Connection", "close")], b"big")
        exchange.stall()

    with (
        HostileServer(read_limit=MEGABYTE, at_limit=too_large) as server,
        client_of(server, certificate) as client,
    ):
        [reply] = client.post(bytes(25 * MEGABYTE))

    assert (reply.fate, reply.status, reply.body) == (Fate.ANSWERED, 413, b"big")


def test_a_caller_may_stop_halfway_and_post_again(tls: Certificate | None, certificate: Certificate) -> None:
    def silent_for_some(exchange: Exchange) -> None:
        if exchange.body == b"quick":
            exchange.accept()

    with HostileServer(silent_for_some, tls=tls) as server, client_of(server, certificate, connections=2) as client:
        for _ in range(5):
            groups = client.transport.post([client.request(body, body) for body in (b"quick", b"silent", b"waiting")])
            assert isinstance(groups, Iterator)
            assert next(filter(None, groups))[0][0] == b"quick"
            groups.close()  # type: ignore[attr-defined]
        assert all(reply.receipt for reply in client.post(*[b"quick"] * 10))


def test_two_windows_at_once_are_a_mistake(certificate: Certificate) -> None:
    with HostileServer(Exchange.silence) as server, client_of(server, certificate, request_deadline=0.5) as client:
        window = [client.request("silent", b"silent"), client.request("late", b"late", start_in=-1)]
        groups = client.transport.post(window)
        assert next(filter(None, groups)) == [("late", NOT_STARTED)]
        with pytest.raises(RuntimeError, match="already"):
            client.post(b"mail")
        assert [tag for group in groups for tag, _ in group] == ["silent"]


def settings(**values: Any) -> Settings:
    return Settings.of(sendgrid_api_key=KEY, **values)


def test_the_endpoint_is_sendgrids_with_its_headers() -> None:
    endpoint = Endpoint.of(settings(), Lane.BULK)

    assert endpoint.url == "https://api.sendgrid.com/v3/mail/send"
    lines = endpoint.header_lines(2)
    assert f"Authorization: Bearer {KEY}" in lines
    assert "Content-Type: application/json" in lines
    assert "Accept: application/json" in lines
    assert "X-Postroom-Attempt: 2" in lines
    assert [line for line in lines if line.startswith("User-Agent: postroom/")]
    assert not [line for line in lines if line.startswith("On-Behalf-Of")]


def test_the_endpoint_may_be_in_europe_or_here_or_a_subusers() -> None:
    europe = Endpoint.of(settings(sendgrid_url="https://api.eu.sendgrid.com/", sendgrid_subuser="shop"), Lane.BULK)
    here = Endpoint.of(settings(sendgrid_url="http://127.0.0.1:8025"), Lane.BULK)

    assert europe.url == "https://api.eu.sendgrid.com/v3/mail/send"
    assert "On-Behalf-Of: shop" in europe.header_lines(1)
    assert here.url == "http://127.0.0.1:8025/v3/mail/send"


def test_a_lane_may_have_a_key_of_its_own() -> None:
    two_keys = settings(sendgrid_key_bulk="SG.bulk")

    assert "Authorization: Bearer SG.bulk" in Endpoint.of(two_keys, Lane.BULK).header_lines(1)
    assert f"Authorization: Bearer {KEY}" in Endpoint.of(two_keys, Lane.TRANSACTIONAL).header_lines(1)


def test_an_endpoint_does_not_show_the_key() -> None:
    assert KEY not in repr(Endpoint.of(settings(), Lane.BULK))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"sendgrid_api_key": None}, "SENDGRID_API_KEY"),
        ({"sendgrid_api_key": "SG.secret\n"}, "SENDGRID_API_KEY"),
        ({"sendgrid_api_key": "SG.sécret"}, "SENDGRID_API_KEY"),
        ({"sendgrid_key_bulk": "SG.secret\r\nX: y"}, "POSTROOM_SENDGRID_KEY_BULK"),
        ({"sendgrid_subuser": "a\nb"}, "POSTROOM_SENDGRID_SUBUSER"),
        ({"sendgrid_url": "api.sendgrid.com"}, "POSTROOM_SENDGRID_URL"),
        ({"sendgrid_url": "ftp://api.sendgrid.com"}, "POSTROOM_SENDGRID_URL"),
        ({"sendgrid_url": "https://user:secret@api.sendgrid.com"}, "POSTROOM_SENDGRID_URL"),
        ({"sendgrid_url": "https://api.sendgrid.com?x"}, "POSTROOM_SENDGRID_URL"),
    ],
)
def test_an_unfit_setting_is_named_and_not_shown(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as error:
        Endpoint.of(Settings.of(**{"sendgrid_api_key": KEY, **values}), Lane.BULK)

    assert "secret" not in str(error.value)


def test_certificates_are_checked_against_mozillas_list_by_default(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with HostileServer() as server, Client(server.url.replace("http:", "https:"), ca_file=missing) as client:
        [reply] = client.post(b"mail")

    assert (reply.fate, reply.reason) == (Fate.UNSENT, "tls_ca_file")
