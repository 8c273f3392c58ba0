"""The gateway: it takes mail as SendGrid does, of those who have a key, and says in SendGrid's words what is wrong."""

import gzip
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from postroom.names import Lane, State
from postroom.settings import Settings
from producers import Postroom
from producers.gateway.key_store import KeyStore
from producers.gateway.keys import taken_apart
from tests.command_line import spawned, started
from tests.gateway import SOON, Gateway
from tests.mails import mail
from tests.servers import Program, RedisServer, eventually, free_port, running
from tests.stack import ask, ledger
from tests.webhook import Signer, body_of, event

SEND = "/v3/mail/send"


@pytest.fixture(scope="module")
def standing(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that stands for all tests here, on the shared Redis."""
    with running(Gateway(tmp_path_factory.mktemp("gateway"), redis_server.url)) as gateway:
        yield gateway


@pytest.fixture
def gateway(standing: Gateway, redis_url: str) -> Gateway:  # which empties Redis
    return standing


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        yield postroom


def errors(answer: httpx.Response, status: int) -> list[dict[str, Any]]:
    """The errors of an answer, in SendGrid's form; each says what to do, or where SendGrid does."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    found: list[dict[str, Any]] = answer.json()["errors"]
    assert found
    assert all({*each} - {"row"} == {"message", "field", "help"} for each in found)
    return found


# Sending.


def test_a_mail_is_queued_when_it_is_answered(client: httpx.Client, postroom: Postroom) -> None:
    answer = client.post(SEND, json=mail())
    assert (answer.status_code, answer.content) == (202, b"")
    assert postroom.status(answer.headers["x-message-id"]).state is State.QUEUED


def test_the_answer_has_no_server_header_and_no_type_as_it_has_no_body(client: httpx.Client) -> None:
    assert client.post(SEND, json=mail()).headers.keys() == {"date", "content-length", "x-message-id"}


def test_a_mail_that_breaks_sendgrids_rules_is_answered_in_sendgrids_words(client: httpx.Client) -> None:
    faulty = mail("nobody") | {"subject": ""}
    found = errors(client.post(SEND, json=faulty), 400)
    assert {error["field"] for error in found} == {"personalizations.0.to.0.email", "subject"}
    assert any(error["help"].endswith("errors.html#message.personalizations.to") for error in found)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nothing", b'{"from": }', b"\x00"])
def test_what_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    errors(client.post(SEND, content=body, headers={"content-type": "application/json"}), 400)


def test_text_that_is_not_utf8_is_refused_as_sendgrid_does(client: httpx.Client) -> None:
    body = json.dumps(mail(subject="x")).encode().replace(b'"x"', b'"\xff"')
    (error,) = errors(client.post(SEND, content=body, headers={"content-type": "application/json"}), 415)
    assert error["message"] == "Invalid UTF8 in request"


def test_the_keys_of_a_body_may_have_any_order_and_unknown_ones_pass(
    client: httpx.Client, gateway: Gateway, redis_url: str
) -> None:
    body = {"attachmentsOfOurs": [{"contentId": 1}], **dict(reversed(mail().items()))}
    id = client.post(SEND, json=body).headers["x-message-id"]
    assert ask(redis_url, ledger().payload(id)) is not None


@pytest.mark.parametrize("path", ["//v3/mail/send", "///v3/mail/send", "/v3/mail/send?x=1", "/v3/mail%2Fsend"])
def test_the_path_may_begin_with_more_slashes(gateway: Gateway, path: str) -> None:
    """As it does where a client's base URL ends in one. (httpx would mend it.)"""
    status, _, _ = talk(gateway, request(gateway, path=path))
    assert status == 202


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", SEND, 405),
        ("PUT", SEND, 405),
        ("GET", "/", 404),
        ("POST", "/v3/mail/batch", 404),
        ("GET", "/v1/mails", 404),
    ],
)
def test_what_there_is_not_is_told_in_sendgrids_form(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    errors(answer, status)
    assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize("type", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_type_than_json_is_refused(client: httpx.Client, type: str) -> None:
    errors(client.post(SEND, content=json.dumps(mail()), headers={"content-type": type}), 415)


@pytest.mark.parametrize("type", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_type_may_be_written_in_other_ways(client: httpx.Client, type: str) -> None:
    assert client.post(SEND, content=json.dumps(mail()), headers={"content-type": type}).status_code == 202


# Forms of a request.


def request(gateway: Gateway, *headers: str, path: str = SEND, body: bytes | None = None, length: bool = True) -> bytes:
    body = json.dumps(mail()).encode() if body is None else body
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {gateway.token()}",
        "Content-Type: application/json",
        *([f"Content-Length: {len(body)}"] if length else []),
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def connected(gateway: Gateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        yield connection


def answer_on(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection: its status, headers and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(1)
        assert piece, f"closed after {received!r}"
        received += piece
    first, *lines = received.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = b""
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    return int(first.split()[1]), headers, body


def talk(gateway: Gateway, said: bytes) -> tuple[int, dict[str, str], bytes]:
    with connected(gateway) as connection:
        connection.sendall(said)
        return answer_on(connection)


def test_a_body_may_be_zipped(client: httpx.Client, postroom: Postroom) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    body = json.dumps(mail()).encode()
    halves = gzip.compress(body[:50]) + gzip.compress(body[50:])
    for zipped in (gzip.compress(body), halves):
        answer = client.post(SEND, content=zipped, headers=headers)
        assert postroom.status(answer.headers["x-message-id"]).state is State.QUEUED


ZIPPED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("body", [b"", b"no gzip", ZIPPED[:-1], ZIPPED + b"x"])
def test_a_zipped_body_that_is_none_is_refused(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    errors(client.post(SEND, content=body, headers=headers), 400)


def test_another_coding_is_refused(client: httpx.Client) -> None:
    errors(client.post(SEND, json=mail(), headers={"content-encoding": "br"}), 415)


def test_a_client_that_waits_for_a_100_gets_it(gateway: Gateway) -> None:
    head, _, body = request(gateway, "Expect: 100-continue").partition(b"\r\n\r\n")
    with connected(gateway) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert answer_on(connection)[0] == 100
        connection.sendall(body)
        assert answer_on(connection)[0] == 202


def test_a_client_that_waits_for_a_100_with_a_bad_key_is_refused_before_it_sends(gateway: Gateway) -> None:
    head, _, _ = request(gateway, "Expect: 100-continue").partition(b"\r\n\r\n")
    assert talk(gateway, head.replace(b"SG.pr_", b"SG.xx_") + b"\r\n\r\n")[0] == 401


def test_a_body_may_come_in_chunks(gateway: Gateway) -> None:
    body = json.dumps(mail()).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    assert talk(gateway, request(gateway, "Transfer-Encoding: chunked", body=chunks, length=False))[0] == 202


def test_a_connection_is_kept_or_closed_as_the_client_wants(gateway: Gateway) -> None:
    with connected(gateway) as connection:
        for _ in range(3):
            connection.sendall(request(gateway))
            assert answer_on(connection)[0] == 202
        connection.sendall(request(gateway, "Connection: close"))
        assert answer_on(connection)[0] == 202
        assert connection.recv(1) == b""


def test_requests_may_be_sent_before_the_answers_have_come(gateway: Gateway) -> None:
    with connected(gateway) as connection:
        connection.sendall(request(gateway) * 3)
        assert [answer_on(connection)[0] for _ in range(3)] == [202] * 3


def test_a_mails_headers_that_leak_into_the_request_do_no_harm(gateway: Gateway) -> None:
    """SendGrid's Python client puts headers of one call on all later ones."""
    leaked = [
        "List-Unsubscribe: <mailto:ann@example.com>",
        "X-Message-Id: 1",
        "Subject: Hello",
        "From: shop@example.net",
    ]
    assert talk(gateway, request(gateway, *leaked))[0] == 202


# Keys.


def test_without_a_key_nothing_is_taken(gateway: Gateway) -> None:
    for path in ("/v1/mails/x", "/v1/batches/x", "/v1/batches/x/report"):
        errors(httpx.get(gateway.url + path, trust_env=False), 401)
    for path in (SEND, "/v1/batches", "/v1/mails/x/cancel", "/v1/batches/x/cancel"):
        (error,) = errors(httpx.post(gateway.url + path, json=mail(), trust_env=False), 401)
        assert error["message"] == "authorization required"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-1],
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace("_", "-", 1),
        lambda token: "SG.pr_aaaaaaaaaa_" + token[-43:],
        lambda _: "SG.a-key-of-sendgrid",
        lambda _: "x" * 4000,
        lambda _: "\xff",
    ],
)
def test_with_a_wrong_key_nothing_is_taken(gateway: Gateway, spoil: Any) -> None:
    wrong = f"Bearer {spoil(gateway.token())}".encode("latin-1")
    answer = httpx.post(gateway.url + SEND, json=mail(), headers={b"authorization": wrong}, trust_env=False)
    (error,) = errors(answer, 401)
    assert error["message"] == "The provided authorization grant is invalid, expired, or revoked"


@pytest.mark.parametrize("scheme", ["Basic", "", "Token"])
def test_a_key_comes_as_a_bearer_token(gateway: Gateway, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {gateway.token()}".strip()}
    errors(httpx.post(gateway.url + SEND, json=mail(), headers=headers, trust_env=False), 401)


def test_a_revoked_key_is_refused_within_a_second(gateway: Gateway) -> None:
    token = gateway.token()
    with gateway.client(token) as client:
        assert client.post(SEND, json=mail()).status_code == 202
        with KeyStore(Settings(redis_url=gateway.redis_url)) as store:
            store.revoke((taken_apart(token) or ("", ""))[0])
        eventually(lambda: client.post(SEND, json=mail()).status_code == 401, timeout=SOON)


def test_an_expired_key_is_refused(gateway: Gateway) -> None:
    with gateway.client(gateway.token(now=time.time() - 100, expires_in=99)) as client:
        errors(client.post(SEND, json=mail()), 401)


@pytest.mark.parametrize("path", [SEND, "/v1/batches"])
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("from", {"from": {"email": "shop@example.net"}}),
        ("from", {"from": {"email": "shop@news.example.com"}}),
        ("from", {"from": {"email": "shop@example.net"}, "personalizations": 7}),
        (
            "personalizations.0.from",
            {"personalizations": [{"to": [{"email": "a@b.test"}], "from": {"email": "x@y.test"}}]},
        ),
    ],
)
def test_mail_from_another_domain_than_the_keys_is_refused(
    client: httpx.Client, path: str, field: str, change: dict[str, Any]
) -> None:
    (error,) = errors(client.post(path, json=mail() | change), 403)
    assert error["field"] == field
    assert "example.com" in error["help"]


def test_of_a_sender_that_is_said_twice_the_one_that_counts_is_looked_at(client: httpx.Client) -> None:
    body = json.dumps(mail())
    headers = {"content-type": "application/json"}
    other = body[:-1] + ', "from": {"email": "shop@example.net"}}'
    errors(client.post(SEND, content=other, headers=headers), 403)
    odd = body[:-1] + ', "from": 7, "from": {"email": "shop@example.net"}}'
    errors(client.post(SEND, content=odd, headers=headers), 403)


def test_a_key_for_all_domains_sends_from_any(gateway: Gateway) -> None:
    with gateway.client(gateway.token(from_domains=["*"])) as client:
        assert client.post(SEND, json=mail() | {"from": {"email": "shop@example.net"}}).status_code == 202


@pytest.mark.parametrize(("lane", "single", "batch"), [(None, "transactional", "bulk"), (Lane.BULK, "bulk", "bulk")])
def test_a_key_may_have_a_lane(gateway: Gateway, redis_url: str, lane: Lane | None, single: str, batch: str) -> None:
    with gateway.client(gateway.token(lane=lane)) as client:
        id = client.post(SEND, json=mail()).headers["x-message-id"]
        batch_id = client.post("/v1/batches", json=mail()).json()["batch_id"]
    assert ask(redis_url, ledger().lane_of(id)) == single
    record = ask(redis_url, ledger().batch(batch_id))
    assert record is not None
    assert record.lane == batch


def test_a_key_may_have_a_limit_of_size(gateway: Gateway) -> None:
    body = json.dumps(mail())
    with gateway.client(gateway.token(max_bytes=len(body))) as client:
        headers = {"content-type": "application/json"}
        assert client.post(SEND, content=body, headers=headers).status_code == 202
        errors(client.post(SEND, content=body + " ", headers=headers), 413)
        (error,) = errors(client.post("/v1/batches", content=f"{body}\n{body[:-1]} }}\n"), 413)
        assert "row 1" in error["help"]


# Idempotency.


def test_the_same_key_and_mail_are_one_mail(client: httpx.Client, redis_url: str) -> None:
    headers = {"Idempotency-Key": "order 1234"}
    reordered = dict(reversed(mail().items()))
    ids = {
        client.post(SEND, json=body, headers=headers).headers["x-message-id"] for body in (mail(), mail(), reordered)
    }
    assert len(ids) == 1
    assert ask(redis_url, ledger().lane_length(Lane.TRANSACTIONAL)) == 1


def test_the_same_key_and_another_mail_are_a_conflict(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "order 1234"}
    assert client.post(SEND, json=mail(), headers=headers).status_code == 202
    (error,) = errors(client.post(SEND, json=mail(subject="Other"), headers=headers), 409)
    assert error["field"] == "Idempotency-Key"


def test_idempotency_keys_belong_to_an_app_and_outlive_a_change_of_its_key(gateway: Gateway) -> None:
    ids = []
    for name in ("shop", "shop", "letters"):
        with gateway.client(gateway.token(name)) as client:
            answer = client.post(SEND, json=mail(), headers={"Idempotency-Key": "order 1234"})
            ids.append(answer.headers["x-message-id"])
    assert ids[0] == ids[1] != ids[2]


def test_without_a_key_each_request_is_a_mail(client: httpx.Client, redis_url: str) -> None:
    assert len({client.post(SEND, json=mail()).headers["x-message-id"] for _ in range(3)}) == 3
    assert ask(redis_url, ledger().lane_length(Lane.TRANSACTIONAL)) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "a\tb"])
def test_an_idempotency_key_has_1_to_255_visible_characters(client: httpx.Client, key: str) -> None:
    (error,) = errors(client.post(SEND, json=mail(), headers={b"idempotency-key": key.encode("latin-1")}), 400)
    assert error["field"] == "Idempotency-Key"


# Asking.


def test_a_mail_is_asked_for_and_cancelled(client: httpx.Client) -> None:
    id = client.post(SEND, json=mail()).headers["x-message-id"]
    assert client.get(f"/v1/mails/{id}").json()["state"] == "queued"
    assert client.post(f"/v1/mails/{id}/cancel").json() == {"cancelled": 1, "too_late": 0}
    assert client.get(f"/v1/mails/{id}").json()["state"] == "cancelled"


@pytest.mark.parametrize("id", ["a" * 20, "x", "a" * 20 + ".0", "a" * 20 + ".0.0", "%00", "..", "ä"])
def test_an_unknown_id_is_told(client: httpx.Client, id: str) -> None:
    for method, path in [
        ("GET", "mails/{}"),
        ("POST", "mails/{}/cancel"),
        ("GET", "batches/{}"),
        ("GET", "batches/{}/report"),
        ("POST", "batches/{}/cancel"),
    ]:
        errors(client.request(method, f"/v1/{path.format(id)}"), 404)


def test_a_mail_is_no_batch_and_a_batch_no_mail(client: httpx.Client) -> None:
    id = client.post(SEND, json=mail()).headers["x-message-id"]
    batch = client.post("/v1/batches", json=mail()).json()["batch_id"]
    errors(client.get(f"/v1/batches/{id}"), 404)
    errors(client.post(f"/v1/batches/{id}/cancel"), 404)
    errors(client.get(f"/v1/mails/{batch}"), 404)
    errors(client.post(f"/v1/mails/{batch}/cancel"), 404)


# Redis is away.


@pytest.fixture
def alone(own_redis_server: RedisServer, tmp_path: Any) -> Iterator[tuple[Gateway, httpx.Client, RedisServer]]:
    """A gateway on a Redis of its own, with a client that has sent a mail."""
    with running(Gateway(tmp_path, own_redis_server.url)) as gateway, gateway.client() as client:
        assert client.post(SEND, json=mail()).status_code == 202
        yield gateway, client, own_redis_server


def refused_soon(client: httpx.Client, message: str) -> httpx.Response:
    begun = time.monotonic()
    answer = client.post(SEND, json=mail(), headers={"Idempotency-Key": "order"})
    assert time.monotonic() - begun < SOON
    (error,) = errors(answer, 503)
    assert message in error["message"]
    assert int(answer.headers["retry-after"]) > 0
    return answer


Alone = tuple[Gateway, httpx.Client, RedisServer]


def test_when_redis_is_down_the_gateway_says_so_and_goes_on_when_it_is_back(alone: Alone) -> None:
    _, client, redis = alone
    redis.kill()
    refused_soon(client, "Redis did not answer")
    time.sleep(1)  # the key is looked up again
    refused_soon(client, "Nothing was queued")
    assert client.get("/healthz").status_code == 200
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (503, {"redis": False})
    redis.start()
    assert client.post(SEND, json=mail()).status_code == 202
    assert client.get("/readyz").status_code == 200


def test_when_redis_is_silent_the_gateway_says_within_a_second_that_it_may_be_queued(alone: Alone) -> None:
    _, client, redis = alone
    redis.pause()
    answer = refused_soon(client, "It may be queued all the same")
    redis.resume()
    again = client.post(SEND, json=mail(), headers={"Idempotency-Key": "order"})
    assert again.headers["x-message-id"] == answer.headers["x-message-id"]
    assert client.get(f"/v1/mails/{answer.headers['x-message-id']}").json()["state"] == "queued"


def test_a_silent_redis_keeps_none_of_many_clients_longer_than_a_second(alone: Alone) -> None:
    gateway, client, redis = alone
    token = gateway.token()
    redis.pause()
    time.sleep(1)

    def send(_: int) -> tuple[int, float]:
        with gateway.client(token) as other:
            begun = time.monotonic()
            return other.post(SEND, json=mail()).status_code, time.monotonic() - begun

    with ThreadPoolExecutor(30) as threads:
        found = list(threads.map(send, range(30)))
    redis.resume()
    assert {status for status, _ in found} == {503}
    assert max(seconds for _, seconds in found) < 2 * SOON
    assert client.post(SEND, json=mail()).status_code == 202


def test_when_memory_is_short_no_more_is_taken(alone: Alone) -> None:
    _, client, redis = alone
    with redis.client() as admin:
        admin.config_set("maxmemory", admin.info()["used_memory"])
        time.sleep(1.1)  # what was known of the memory is forgotten
        answer = client.post(SEND, json=mail())
        (error,) = errors(answer, 503)
        assert "short of memory" in error["message"]
        assert answer.headers["retry-after"] == "30"
        errors(client.post("/v1/batches", json=mail()), 503)
        admin.config_set("maxmemory", 0)
    eventually(lambda: client.post(SEND, json=mail()).status_code == 202)


def test_the_gateway_starts_while_redis_is_away(tmp_path: Any) -> None:
    with running(Gateway(tmp_path, f"redis://127.0.0.1:{free_port()}/0", "--host", "0.0.0.0")) as gateway:
        answer = httpx.post(
            f"http://127.0.0.1:{gateway.port}{SEND}",
            json=mail(),
            headers={"authorization": f"Bearer SG.pr_{'a' * 10}_{'a' * 43}"},
            trust_env=False,
        )
        errors(answer, 503)


# The program.


def test_without_keys_it_does_not_listen_where_others_reach_it(redis_url: str) -> None:
    for host in ("0.0.0.0", "::"):
        ran = spawned("gateway", "--host", host, "--port", "0", POSTROOM_REDIS_URL=redis_url)
        assert ran.code == 2
        assert "postroom keys add" in ran.err


def test_with_a_key_it_does(redis_url: str, tmp_path: Any) -> None:
    gateway = Gateway(tmp_path, redis_url, "--host", "0.0.0.0")
    gateway.token()
    with running(gateway):
        assert httpx.get(f"http://127.0.0.1:{gateway.port}/healthz", trust_env=False).status_code == 200


def test_a_port_that_is_taken_is_told(gateway: Gateway, redis_url: str) -> None:
    ran = spawned("gateway", "--port", str(gateway.port), POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, "--port takes another one" in ran.err) == (2, True)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_setting_that_cannot_be_is_told_before_it_listens(redis_url: str, workers: str) -> None:
    words = ("gateway", "--port", "0", "--workers", workers)
    ran = spawned(*words, POSTROOM_REDIS_URL=redis_url, POSTROOM_WEBHOOK_KEY="nonsense")
    assert (ran.code, ran.out) == (2, "")
    assert "POSTROOM_WEBHOOK_KEY" in ran.err


@pytest.mark.parametrize("words", [["--port", "x"], ["--workers", "0"], ["--read-timeout", "soon"], ["more"]])
def test_wrong_usage_is_told(words: list[str]) -> None:
    assert spawned("gateway", *words).code == 2


def test_with_json_the_address_is_told_in_json(redis_url: str) -> None:
    with started("gateway", "--port", "0", "--json", POSTROOM_REDIS_URL=redis_url) as command:
        assert command.stdout is not None
        url = json.loads(command.stdout.readline())["url"]
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200


@pytest.mark.parametrize("workers", ["1", "3"])
def test_at_sigterm_it_ends_in_good_order(redis_url: str, tmp_path: Any, workers: str) -> None:
    with running(Gateway(tmp_path, redis_url, "--workers", workers)) as gateway:
        with gateway.client() as client:
            eventually(lambda: [line["event"] for line in gateway.journal()].count("started") == int(workers))
            assert client.post(SEND, json=mail()).status_code == 202
        assert gateway.stop() == 0
        assert [line["event"] for line in gateway.journal()].count("stopped") == int(workers)
        assert "Traceback" not in gateway.log()


def test_a_request_that_is_under_way_at_sigterm_is_answered(redis_url: str, tmp_path: Any) -> None:
    with running(Gateway(tmp_path, redis_url)) as gateway:
        head, _, body = request(gateway).partition(b"\r\n\r\n")
        with connected(gateway) as connection:
            connection.sendall(head + b"\r\n\r\n" + body[:10])
            with gateway.client("") as client:
                assert client.get("/healthz").status_code == 200  # so the other one has been read, too
            gateway.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert answer_on(connection)[0] == 202
        assert gateway.stop() == 0


def test_a_worker_that_dies_is_started_again(redis_url: str, tmp_path: Any) -> None:
    def pids(gateway: Program) -> list[int]:
        assert isinstance(gateway, Gateway)
        return [line["pid"] for line in gateway.journal() if line["event"] == "started"]

    with running(Gateway(tmp_path, redis_url, "--workers", "2")) as gateway:
        first = eventually(lambda: len(pids(gateway)) == 2 and pids(gateway))
        assert first
        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(pids(gateway)) == 3)
        with gateway.client() as client:
            assert {client.post(SEND, json=mail()).status_code for _ in range(10)} == {202}
        assert gateway.stop() == 0


def test_the_journal_has_a_line_for_each_request_and_ids_only(redis_url: str, tmp_path: Any) -> None:
    canary = "canary7gq2"
    with running(Gateway(tmp_path, redis_url)) as gateway:
        token = gateway.token(canary)
        with gateway.client(token) as client:
            body = mail(f"{canary}@example.com", subject=canary) | {"custom_args": {canary: canary}}
            id = client.post(SEND, json=body, headers={"Idempotency-Key": canary}).headers["x-message-id"]
            client.post(SEND, json=body | {"from": {"email": f"{canary}@{canary}.test"}})
            client.post(SEND, json=body | {"headers": {canary: 7}})
            client.post(SEND, json=body, headers={"authorization": f"Bearer {canary}"})
            client.post("/v1/batches", json=body)
            client.post(f"/v1/batches?{canary}={canary}", json=body)
            client.get(f"/v1/mails/{canary}@example.com")
            client.get(f"/{canary}")
            client.get(f"/v1/mails/{id}")
        assert gateway.stop() == 0
        statuses = [line["status"] for line in gateway.journal() if "status" in line]
        assert statuses == [202, 403, 400, 401, 202, 400, 404, 404, 200]
        assert any(line.get("id") == id for line in gateway.journal())
        assert canary not in gateway.log()
        assert token not in gateway.log()


# SendGrid's events.


def test_sendgrids_events_are_taken_without_a_key_if_sendgrid_has_signed_them(redis_url: str, tmp_path: Any) -> None:
    signer = Signer()
    with running(Gateway(tmp_path, redis_url, POSTROOM_WEBHOOK_KEY=signer.public_key)) as gateway:
        with gateway.client() as client, gateway.client("") as sendgrid:
            id = client.post(SEND, json=mail()).headers["x-message-id"]
            body = body_of(event(id))
            headers = signer.sign(body)
            assert sendgrid.post("/webhooks/sendgrid", content=body).status_code == 403
            assert sendgrid.post("/webhooks/sendgrid", content=body + b" ", headers=headers).status_code == 403
            assert sendgrid.post("/webhooks/sendgrid", content=body, headers=headers).status_code == 204
            assert client.get(f"/v1/mails/{id}").json()["state"] == "accepted"
        assert [line["status"] for line in gateway.journal() if line["event"] == "webhook"] == [403, 403, 204]
        assert "ann@example.com" not in gateway.log()
