"""The sandbox answers as SendGrid does, logs what it accepts, and misbehaves on request."""

import functools
import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import sendgrid
from python_http_client.exceptions import BadRequestsError
from sendgrid.helpers.mail import Mail

from sandbox.rules import Kind
from tests.servers import ROOT, SandboxServer, eventually, running

HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."


class Sandbox(SandboxServer):
    """A sandbox with options, and a client that has a good key."""

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self.command += options
        self.http = httpx.Client(trust_env=False, timeout=10)

    def close(self) -> None:
        self.http.close()
        super().close()

    def post(self, body: object, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(f"{self.url}/v3/mail/send", content=content, headers=HEADERS | headers)

    def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        return self.http.request(method, self.url + path, json=body, headers={"authorization": "Bearer SG.test"})

    def receipts(self) -> set[str]:
        return {line["receipt"] for line in self.accepted()}

    def accepted_for(self, postroom_id: str) -> int:
        return sum(postroom_id in line["postroom_ids"] for line in self.accepted())

    def connect(self) -> socket.socket:
        address = urlsplit(self.url)
        return socket.create_connection((address.hostname, address.port), timeout=10)

    def send(self, body: object) -> socket.socket:
        """The connection over which a mail was sent, its answer still to be read."""
        connection = self.connect()
        connection.sendall(request(json.dumps(body).encode()))
        return connection


HEADERS = {"authorization": "Bearer SG.test", "content-type": "application/json"}


def request(body: bytes, *extra: str) -> bytes:
    lines = [
        "POST /v3/mail/send HTTP/1.1",
        "Host: sandbox",
        "Authorization: Bearer SG.test",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *extra,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def mail_to(*addresses: str, postroom_id: str | None = None, **fields: object) -> dict[str, Any]:
    body: dict[str, Any] = {
        "personalizations": [{"to": [{"email": address} for address in addresses or ["ada@example.com"]]}],
        "from": {"email": "shop@example.com"},
        "subject": "Your order",
        "content": [{"type": "text/plain", "value": "Thank you."}],
    }
    if postroom_id:
        body["custom_args"] = {"postroom_id": postroom_id}
    return body | fields


def new_id() -> str:
    return uuid4().hex


def rest_of(connection: socket.socket) -> tuple[bytes, str]:
    """What comes until the end, and the end: `closed`, `reset`, or `silent` for 0.3 seconds."""
    received = b""
    connection.settimeout(0.3)
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        return received, "reset"
    except TimeoutError:
        return received, "silent"
    finally:
        connection.close()
    return received, "closed"


def answer_on(connection: socket.socket) -> bytes:
    """One whole answer, head and body."""
    received = b""
    while not (head := re.search(rb"(?i)content-length: (\d+)\r\n(?:.*\r\n)*?\r\n", received)) or (
        len(received) < head.end() + int(head[1])
    ):
        data = connection.recv(65_536)
        assert data, f"closed after {received!r}"
        received += data
    return received


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running(Sandbox(tmp_path_factory.mktemp("sandbox"), "--seed", "1")) as server:
        yield server


@pytest.fixture
def sandbox(shared: Sandbox) -> Iterator[Sandbox]:
    """A sandbox with an empty inbox and no rules; its log has other tests' mails, too."""
    shared.call("DELETE", "/api/mails")
    yield shared
    shared.faults([])


# SendGrid's answers


def test_a_mail_is_accepted_with_a_receipt_and_no_body(sandbox: Sandbox) -> None:
    answer = sandbox.post(mail_to())
    assert (answer.status_code, answer.content) == (202, b"")
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", answer.headers["x-message-id"])


def test_each_mail_has_a_receipt_of_its_own(sandbox: Sandbox) -> None:
    receipts = {sandbox.post(mail_to()).headers["x-message-id"] for _ in range(20)}
    assert len(receipts) == 20


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "authorization required"),
        ("Basic SG.test", "authorization required"),
        ("Bearer sk-test", "The provided authorization grant is invalid, expired, or revoked"),
    ],
)
def test_a_missing_or_a_bad_key_is_refused_with_401(sandbox: Sandbox, authorization: str, message: str) -> None:
    answer = sandbox.post(mail_to(), authorization=authorization)
    assert answer.status_code == 401
    assert answer.json() == {"errors": [{"message": message, "field": None, "help": None}]}


def test_with_a_key_given_no_other_is_good(tmp_path: Path) -> None:
    with running(Sandbox(tmp_path, "--key", "SG.mine", "--key", "other")) as server:
        codes = [
            server.post(mail_to(), authorization=f"Bearer {key}").status_code for key in ("SG.mine", "other", "SG.x")
        ]
    assert codes == [202, 202, 401]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_than_json_is_refused_with_415(sandbox: Sandbox, media_type: str) -> None:
    answer = sandbox.post(mail_to(), **{"content-type": media_type})
    assert answer.status_code == 415
    assert answer.json()["errors"][0]["message"] == "Content-Type should be application/json."


def test_a_content_type_may_name_its_character_set(sandbox: Sandbox) -> None:
    assert sandbox.post(mail_to(), **{"content-type": "Application/JSON; charset=utf-8"}).status_code == 202


def test_a_body_that_is_not_utf8_is_refused_with_415(sandbox: Sandbox) -> None:
    answer = sandbox.post(json.dumps(mail_to(subject="MARK")).encode().replace(b"MARK", b"\xff\xfe"))
    assert answer.status_code == 415
    assert answer.json()["errors"][0]["message"] == "Invalid UTF8 in request"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_other_methods_than_post_are_refused_with_405(sandbox: Sandbox, method: str) -> None:
    answer = sandbox.call(method, "/v3/mail/send")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["errors"][0]["message"] == "method not allowed"


def test_a_mail_of_more_than_30_megabytes_is_refused_with_413(sandbox: Sandbox) -> None:
    limit = 30 * 1024 * 1024
    envelope = len(json.dumps(mail_to(content=[{"type": "text/plain", "value": ""}])))
    codes = [
        sandbox.post(mail_to(content=[{"type": "text/plain", "value": "x" * (limit - envelope + more)}])).status_code
        for more in (0, 1)
    ]
    assert codes == [202, 413]


def test_a_mail_that_unzips_to_more_than_30_megabytes_is_refused_with_413(sandbox: Sandbox) -> None:
    zipped = gzip.compress(b" " * (31 * 1024 * 1024))
    assert sandbox.post(zipped, **{"content-encoding": "gzip"}).status_code == 413


@pytest.mark.parametrize(
    ("change", "field", "help", "message"),
    [
        (
            {"personalizations": [{"to": [{"email": "a@example.com"}]}, {"to": []}]},
            "personalizations.1.to",
            HELP + "personalizations.to",
            "The to array is required for all personalization objects",
        ),
        (
            {"personalizations": [{"to": [{"email": "dup@example.com"}, {"email": "dup@example.com"}]}]},
            "personalizations.0",
            HELP + "recipient-errors",
            "We found the first duplicate instance of [dup@example.com] in the personalizations.0.to field.",
        ),
        (
            {"content": [{"type": "text/plain", "value": ""}]},
            "content.0.value",
            HELP + "content.value",
            "The content value must be a string at least one character in length.",
        ),
        (
            {"personalizations": [{"to": [{"email": ["a@example.com"]}]}]},
            "personalizations.0.to.0.email",
            HELP + "personalizations.to",
            "Invalid type. Expected: string, given: array.",
        ),
        ({"personalizations": [None]}, "personalizations.0", None, "Invalid type. Expected: object, given: null."),
    ],
)
def test_an_invalid_mail_is_refused_with_400_in_sendgrids_words(
    sandbox: Sandbox, change: dict[str, Any], field: str, help: str | None, message: str
) -> None:
    answer = sandbox.post(mail_to(**change))
    assert answer.status_code == 400
    error = answer.json()["errors"][0]
    assert (error["field"], error["help"]) == (field, help)
    assert message in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"])
def test_a_body_that_is_no_json_object_is_refused_with_400(sandbox: Sandbox, body: bytes) -> None:
    answer = sandbox.post(body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, None)


def test_a_mail_in_sendgrids_sandbox_mode_is_checked_but_not_accepted(sandbox: Sandbox) -> None:
    before = sandbox.receipts()
    settings = {"sandbox_mode": {"enable": True}}
    assert sandbox.post(mail_to(mail_settings=settings)).status_code == 200
    assert sandbox.post(mail_to(content=[], mail_settings=settings)).status_code == 400
    assert sandbox.receipts() == before
    assert sandbox.call("GET", "/api/mails").json()["total"] == 0


def test_a_zipped_body_is_read(sandbox: Sandbox) -> None:
    answer = sandbox.post(
        gzip.compress(json.dumps(mail_to("zip@example.com")).encode()), **{"content-encoding": "gzip"}
    )
    assert answer.status_code == 202
    assert sandbox.accepted()[-1]["recipients"] == ["zip@example.com"]


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(json.dumps(mail_to()).encode())[:-4]])
def test_a_body_that_cannot_be_unzipped_is_refused_with_400(sandbox: Sandbox, body: bytes) -> None:
    assert sandbox.post(body, **{"content-encoding": "gzip"}).status_code == 400


def test_two_slashes_before_v3_are_taken_for_one(sandbox: Sandbox) -> None:
    answer = sandbox.http.post(f"{sandbox.url}//v3/mail/send", json=mail_to(), headers=HEADERS)
    assert answer.status_code == 202


def test_a_client_that_asks_is_told_to_go_on_before_it_sends_the_body(sandbox: Sandbox) -> None:
    body = json.dumps(mail_to()).encode()
    with sandbox.connect() as connection:
        connection.sendall(request(body, "Expect: 100-continue")[: -len(body)])
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert answer_on(connection).startswith(b"HTTP/1.1 202 Accepted\r\n")


def test_a_connection_is_kept_for_more_requests(sandbox: Sandbox) -> None:
    with sandbox.connect() as connection:
        for _ in range(3):
            connection.sendall(request(json.dumps(mail_to()).encode()))
            assert answer_on(connection).startswith(b"HTTP/1.1 202 Accepted\r\n")


def test_a_body_in_chunks_is_read(sandbox: Sandbox) -> None:
    body = json.dumps(mail_to()).encode()
    chunks = (body[start : start + 50] for start in range(0, len(body), 50))
    answer = sandbox.http.post(f"{sandbox.url}/v3/mail/send", content=chunks, headers=HEADERS)
    assert answer.status_code == 202


def test_nothing_is_accepted_of_a_client_that_leaves_in_the_middle(sandbox: Sandbox) -> None:
    postroom_id = new_id()
    whole = request(json.dumps(mail_to(postroom_id=postroom_id)).encode())
    with sandbox.connect() as connection:
        connection.sendall(whole[:-1])
    assert sandbox.post(mail_to()).status_code == 202
    assert sandbox.accepted_for(postroom_id) == 0


def test_sendgrids_own_client_gets_a_receipt(sandbox: Sandbox) -> None:
    client = sendgrid.SendGridAPIClient("SG.test", host=sandbox.url)
    answer = client.send(Mail("shop@example.com", "ada@example.com", "Your order", "Thank you."))
    assert answer.status_code == 202
    assert answer.headers["X-Message-Id"] in sandbox.receipts()


def test_sendgrids_own_client_raises_for_an_invalid_mail(sandbox: Sandbox) -> None:
    client = sendgrid.SendGridAPIClient("SG.test", host=sandbox.url)
    with pytest.raises(BadRequestsError) as raised:
        client.client.mail.send.post(request_body=mail_to(content=[]))
    assert raised.value.to_dict["errors"][0]["field"] == "content"


def test_an_unknown_path_of_the_api_is_refused_in_json(sandbox: Sandbox) -> None:
    answer = sandbox.call("GET", "/v3/nothing")
    assert answer.status_code == 404
    assert answer.json() == {"errors": [{"message": "not found", "field": None, "help": None}]}


# Scheduled sends


def new_batch(sandbox: Sandbox) -> str:
    answer = sandbox.call("POST", "/v3/mail/batch")
    assert answer.status_code == 201
    batch_id: str = answer.json()["batch_id"]
    return batch_id


def test_a_batch_id_that_was_made_is_valid_and_another_is_not(sandbox: Sandbox) -> None:
    batch_id = new_batch(sandbox)
    good, bad = (sandbox.call("GET", f"/v3/mail/batch/{each}") for each in (batch_id, "made-up"))
    assert (good.status_code, good.json()) == (200, {"batch_id": batch_id})
    assert (bad.status_code, bad.json()["errors"][0]["message"]) == (400, "invalid batch id")


def test_batches_and_scheduled_sends_ask_for_the_key(sandbox: Sandbox) -> None:
    for path in ("/v3/mail/batch", "/v3/user/scheduled_sends"):
        assert sandbox.http.post(sandbox.url + path).status_code == 401


def test_a_batch_is_cancelled_paused_and_resumed(sandbox: Sandbox) -> None:
    batch_id = new_batch(sandbox)
    path = f"/v3/user/scheduled_sends/{batch_id}"
    cancelled, paused = ({"batch_id": batch_id, "status": status} for status in ("cancel", "pause"))

    stopped = sandbox.call("POST", "/v3/user/scheduled_sends", cancelled)
    assert (stopped.status_code, stopped.json()) == (201, cancelled)
    assert sandbox.call("POST", "/v3/user/scheduled_sends", paused).status_code == 400
    assert cancelled in sandbox.call("GET", "/v3/user/scheduled_sends").json()
    assert sandbox.call("PATCH", path, {"status": "pause"}).status_code == 204
    assert sandbox.call("GET", path).json() == [paused]
    assert sandbox.call("PATCH", path, {"status": "forget"}).status_code == 400
    assert sandbox.call("DELETE", path).status_code == 204
    assert sandbox.call("GET", path).json() == []
    assert sandbox.call("DELETE", path).status_code == 404


def test_no_more_than_ten_batches_are_stopped_at_a_time(tmp_path: Path) -> None:
    with running(Sandbox(tmp_path)) as server:
        stops = [{"batch_id": new_batch(server), "status": "cancel"} for _ in range(11)]
        codes = [server.call("POST", "/v3/user/scheduled_sends", stop).status_code for stop in stops]
    assert codes == [201] * 10 + [400]


def test_a_scheduled_mail_of_a_cancelled_batch_is_not_shown_as_sent(sandbox: Sandbox) -> None:
    batch_id = new_batch(sandbox)
    receipt = sandbox.post(mail_to(batch_id=batch_id, send_at=int(time.time()) + 3600)).headers["x-message-id"]
    states = [sandbox.call("GET", f"/api/mails/{receipt}").json()["state"]]
    sandbox.call("POST", "/v3/user/scheduled_sends", {"batch_id": batch_id, "status": "cancel"})
    states.append(sandbox.call("GET", f"/api/mails/{receipt}").json()["state"])
    assert states == ["scheduled", "cancelled"]


# The acceptance log


def test_the_log_tells_what_was_accepted(sandbox: Sandbox) -> None:
    before = time.time()
    body = mail_to(postroom_id="global")
    body["personalizations"] = [
        {
            "to": [{"email": "to@example.com"}],
            "cc": [{"email": "cc@example.com"}],
            "custom_args": {"postroom_id": "own", "x": "y"},
        },
        {"to": [{"email": "to2@example.com"}], "bcc": [{"email": "bcc@example.com"}]},
    ]
    answer = sandbox.post(body, **{"x-postroom-attempt": "3"})
    line = sandbox.accepted()[-1]
    assert before <= line.pop("time") <= time.time()
    assert line == {
        "receipt": answer.headers["x-message-id"],
        "postroom_ids": ["global", "own"],
        "attempt": 3,
        "recipients": ["to@example.com", "cc@example.com", "to2@example.com", "bcc@example.com"],
        "subject": "Your order",
    }


def test_a_mail_of_another_program_has_no_id_and_no_attempt_in_the_log(sandbox: Sandbox) -> None:
    for attempt in ("one", "-1", "9" * 5000):
        sandbox.post(mail_to(), **{"x-postroom-attempt": attempt})
        line = sandbox.accepted()[-1]
        assert (line["postroom_ids"], line["attempt"]) == ([], None)


def test_a_mail_is_in_the_log_when_its_answer_comes(sandbox: Sandbox) -> None:
    for _ in range(50):
        assert sandbox.post(mail_to()).headers["x-message-id"] == sandbox.accepted()[-1]["receipt"]


def test_the_log_outlives_a_kill_of_the_sandbox_and_is_continued(tmp_path: Path) -> None:
    with running(Sandbox(tmp_path)) as server:
        receipts = [server.post(mail_to()).headers["x-message-id"] for _ in range(5)]
        server.kill()
        assert [line["receipt"] for line in server.accepted()] == receipts
        server.start()
        receipts.append(server.post(mail_to()).headers["x-message-id"])
        assert [line["receipt"] for line in server.accepted()] == receipts


def test_what_cannot_be_logged_is_not_accepted(tmp_path: Path) -> None:
    with running(Sandbox(tmp_path, "--log", "/dev/full")) as server:
        answer = server.post(mail_to())
        assert (answer.status_code, server.call("GET", "/api/mails").json()["total"]) == (500, 0)
        assert "No space left" in answer.json()["errors"][0]["message"]


# Faults by address


@pytest.mark.parametrize("status", [302, 401, 403, 413, 500, 502, 503, 504])
def test_an_address_asks_for_a_status(sandbox: Sandbox, status: int) -> None:
    postroom_id = new_id()
    answer = sandbox.post(mail_to(f"{status}+anything@sandbox.test", postroom_id=postroom_id))
    assert (answer.status_code, sandbox.accepted_for(postroom_id)) == (status, 0)
    assert "x-message-id" not in answer.headers


@pytest.mark.parametrize("status", [502, 504])
def test_an_address_asks_for_an_error_after_acceptance(sandbox: Sandbox, status: int) -> None:
    postroom_id = new_id()
    answer = sandbox.post(mail_to(f"accept-{status}@sandbox.test", postroom_id=postroom_id))
    assert (answer.status_code, sandbox.accepted_for(postroom_id)) == (status, 1)


def test_a_redirection_leads_to_another_host(sandbox: Sandbox) -> None:
    location = sandbox.post(mail_to("302@sandbox.test")).headers["location"]
    assert urlsplit(location).hostname == "elsewhere.sandbox.test"


@pytest.mark.parametrize("address", ["limited-3@sandbox.test", "429-3@sandbox.test"])
def test_a_limited_answer_tells_when_the_limit_ends(sandbox: Sandbox, address: str) -> None:
    before = time.time()
    answer = sandbox.post(mail_to(address))
    assert answer.status_code == 429
    assert answer.json() == {"errors": [{"field": None, "message": "too many requests"}]}
    assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("600", "0")
    assert before + 3 <= int(answer.headers["x-ratelimit-reset"]) <= time.time() + 4


def test_a_rejection_quotes_the_address(sandbox: Sandbox) -> None:
    answer = sandbox.post(mail_to("reject@sandbox.test"))
    assert answer.status_code == 400
    assert "[reject@sandbox.test]" in answer.json()["errors"][0]["message"]


def test_a_sender_that_is_not_verified_is_refused_with_403(sandbox: Sandbox) -> None:
    answer = sandbox.post(mail_to("sender@sandbox.test"))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (403, "from")


def test_an_address_goes_well_after_the_times_it_names(sandbox: Sandbox) -> None:
    mail = mail_to(f"503x2+{new_id()}@sandbox.test")
    assert [sandbox.post(mail).status_code for _ in range(4)] == [503, 503, 202, 202]


def test_times_are_counted_for_each_postroom_id(sandbox: Sandbox) -> None:
    first, second = (mail_to("503x1@sandbox.test", postroom_id=new_id()) for _ in range(2))
    codes = [sandbox.post(mail).status_code for mail in (first, second, first, second)]
    assert codes == [503, 503, 202, 202]


def test_a_percentage_strikes_so_many_mails(sandbox: Sandbox) -> None:
    codes = [sandbox.post(mail_to("503p50@sandbox.test")).status_code for _ in range(60)]
    assert 15 <= codes.count(503) <= 45


def test_any_recipient_may_ask_for_a_fault_in_any_letter_case(sandbox: Sandbox) -> None:
    mail = mail_to()
    mail["personalizations"].append({"to": [{"email": "x@example.com"}], "bcc": [{"email": "Reject@Sandbox.TEST"}]})
    assert sandbox.post(mail).status_code == 400


@pytest.mark.parametrize("address", ["ada@sandbox.test", "503@example.com", "503y@sandbox.test", "drip-0@sandbox.test"])
def test_other_addresses_are_accepted(sandbox: Sandbox, address: str) -> None:
    assert sandbox.post(mail_to(address)).status_code == 202


def test_latencies_add_up_and_come_before_the_fault(sandbox: Sandbox) -> None:
    start = time.monotonic()
    answer = sandbox.post(mail_to("latency-0.1@sandbox.test", "503-0.1@sandbox.test", "latency-9@example.com"))
    assert answer.status_code == 503
    assert time.monotonic() - start >= 0.1 + 0.1


def test_a_latency_does_not_hold_up_other_mails(sandbox: Sandbox) -> None:
    slow = sandbox.send(mail_to("latency-0.5@sandbox.test"))
    assert sandbox.post(mail_to()).status_code == 202
    slow.setblocking(False)
    with pytest.raises(BlockingIOError):
        slow.recv(1)
    slow.settimeout(10)
    assert slow.recv(1000).startswith(b"HTTP/1.1 202")
    slow.close()


@pytest.mark.parametrize(
    ("word", "accepted", "received", "end"),
    [
        ("hang", 0, rb"", "silent"),
        ("reset", 0, rb"", "reset"),
        ("accept-hang", 1, rb"", "silent"),
        ("accept-reset", 1, rb"", "reset"),
        ("accept-close", 1, rb"", "closed"),
        ("garbage", 1, rb"SSH-2.0-.*", "closed"),
        ("truncated", 1, rb"HTTP/1.1 202 Accepted\r\n.*Content-Length: 1000\r\n\r\n\{\"mess", "closed"),
    ],
)
def test_an_address_asks_for_a_fault_of_the_connection(
    sandbox: Sandbox, word: str, accepted: int, received: bytes, end: str
) -> None:
    postroom_id = new_id()
    data, ended = rest_of(sandbox.send(mail_to(f"{word}@sandbox.test", postroom_id=postroom_id)))
    assert ended == end
    assert re.fullmatch(received, data, re.DOTALL)
    assert sandbox.accepted_for(postroom_id) == accepted


def test_a_dripping_reply_has_no_end(sandbox: Sandbox) -> None:
    postroom_id = new_id()
    with sandbox.send(mail_to("drip-0.001@sandbox.test", postroom_id=postroom_id)) as connection:
        pieces = [connection.recv(65_536) for _ in range(120)]
    reply = b"".join(pieces)
    assert max(len(piece) for piece in pieces) < 20
    assert reply.startswith(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: ")
    assert b"\r\n\r\n" not in reply
    assert sandbox.accepted_for(postroom_id) == 1


def test_a_huge_reply_has_no_end(sandbox: Sandbox) -> None:
    postroom_id, size = new_id(), 0
    with sandbox.send(mail_to("huge@sandbox.test", postroom_id=postroom_id)) as connection:
        while size < 1_000_000:
            size += len(connection.recv(65_536))
    assert sandbox.accepted_for(postroom_id) == 1


def test_a_reply_without_a_receipt_is_a_202_all_the_same(sandbox: Sandbox) -> None:
    postroom_id = new_id()
    answer = sandbox.post(mail_to("no-receipt@sandbox.test", postroom_id=postroom_id))
    assert (answer.status_code, "x-message-id" in answer.headers) == (202, False)
    assert sandbox.accepted_for(postroom_id) == 1


def test_a_connection_serves_on_after_an_answer_that_was_a_fault(sandbox: Sandbox) -> None:
    with sandbox.send(mail_to("503@sandbox.test")) as connection:
        assert answer_on(connection).startswith(b"HTTP/1.1 503 ")
        connection.sendall(request(json.dumps(mail_to()).encode()))
        assert answer_on(connection).startswith(b"HTTP/1.1 202 ")


# Faults at run time


def test_rules_strike_the_recipients_that_they_name(sandbox: Sandbox) -> None:
    sandbox.faults([{"fault": "status", "status": 500, "match": "@Slow.example"}])
    codes = [sandbox.post(mail_to(to)).status_code for to in ("a@slow.example", "a@example.com")]
    assert codes == [500, 202]


def test_a_rule_without_a_match_strikes_each_mail_so_many_times(sandbox: Sandbox) -> None:
    sandbox.faults([{"fault": "status", "status": 503, "times": 1}])
    first, second = (mail_to(postroom_id=new_id()) for _ in range(2))
    assert [sandbox.post(mail).status_code for mail in (first, second, first, second)] == [503, 503, 202, 202]


def test_a_rule_strikes_at_most_so_many_requests_in_all(sandbox: Sandbox) -> None:
    sandbox.faults([{"fault": "limited", "at_most": 2}])
    assert [sandbox.post(mail_to()).status_code for _ in range(4)] == [429, 429, 202, 202]


def test_the_first_rule_that_is_not_used_up_strikes(sandbox: Sandbox) -> None:
    sandbox.faults([{"fault": "limited", "at_most": 1}, {"fault": "sender", "at_most": 1}])
    assert [sandbox.post(mail_to()).status_code for _ in range(3)] == [429, 403, 202]


def test_rules_tell_how_often_they_struck_and_end_when_they_are_deleted(sandbox: Sandbox) -> None:
    sandbox.faults([{"fault": "status", "status": 502}])
    sandbox.post(mail_to())
    assert sandbox.call("GET", "/api/faults").json() == [{"fault": "status", "status": 502, "struck": 1}]
    assert sandbox.call("DELETE", "/api/faults").status_code == 204
    assert sandbox.post(mail_to()).status_code == 202


def test_a_rule_may_set_the_text_and_the_place_to_go(sandbox: Sandbox) -> None:
    sandbox.faults(
        [
            {"fault": "status", "status": 401, "message": "Maximum credits exceeded", "at_most": 1},
            {"fault": "status", "status": 302, "location": "http://127.0.0.2/"},
        ]
    )
    assert sandbox.post(mail_to()).json()["errors"][0]["message"] == "Maximum credits exceeded"
    assert sandbox.post(mail_to()).headers["location"] == "http://127.0.0.2/"


@pytest.mark.parametrize(
    "rules",
    [
        {},
        [{"fault": "sleep"}],
        [{"fault": "status"}],
        [{"fault": "status", "status": 299}],
        [{"fault": "hang", "status": 500}],
        [{"fault": "hang", "times": 0}],
        [{"fault": "hang", "often": 1}],
        [{"fault": "latency"}],
        [{"fault": "reset_early", "match": "a"}],
    ],
)
def test_rules_that_make_no_sense_are_refused_and_the_old_ones_stay(sandbox: Sandbox, rules: object) -> None:
    sandbox.faults([{"fault": "limited"}])
    answer = sandbox.call("PUT", "/api/faults", rules)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert sandbox.post(mail_to()).status_code == 429


def test_an_early_reset_comes_before_the_body_is_read(sandbox: Sandbox) -> None:
    sandbox.faults([{"fault": "reset_early", "at_most": 1}])
    body = b"x" * 20_000_000
    with sandbox.connect() as connection, pytest.raises(ConnectionError):
        connection.sendall(request(body))
    assert sandbox.post(mail_to()).status_code == 202


def test_every_fault_can_be_asked_for_at_run_time(sandbox: Sandbox) -> None:
    needs: dict[Kind, dict[str, object]] = {
        Kind.STATUS: {"status": 500},
        Kind.ACCEPT_THEN_STATUS: {"status": 500},
        Kind.LATENCY: {"latency": 0.01},
        Kind.DRIP: {"interval": 0.01},
    }
    for kind in Kind:
        rule = {"fault": kind, **needs.get(kind, {})}
        sandbox.faults([rule])
        with sandbox.send(mail_to()):
            eventually(functools.partial(rules_are, sandbox, [rule | {"struck": 1}]))


def rules_are(sandbox: Sandbox, rules: list[dict[str, object]]) -> bool:
    return bool(sandbox.call("GET", "/api/faults").json() == rules)


def test_the_help_page_names_every_fault(sandbox: Sandbox) -> None:
    page = sandbox.call("GET", "/faults").text
    assert all(f"<code>{kind.value}</code>" in page for kind in Kind)


# The inbox as JSON


def test_the_inbox_has_the_newest_mails_first_in_pages(sandbox: Sandbox) -> None:
    for number in range(5):
        sandbox.post(mail_to(subject=f"Number {number}"))
    page = sandbox.call("GET", "/api/mails?offset=1&limit=2").json()
    assert (page["total"], [mail["subject"] for mail in page["mails"]]) == (5, ["Number 3", "Number 2"])


@pytest.mark.parametrize("words", ["GRACE@", "wEEKLY"])
def test_the_inbox_is_searched_by_recipient_and_subject(sandbox: Sandbox, words: str) -> None:
    sandbox.post(mail_to())
    sandbox.post(mail_to("ada@example.com", "grace@example.com", subject="Weekly news"))
    page = sandbox.call("GET", f"/api/mails?q={words}").json()
    assert (page["total"], [mail["subject"] for mail in page["mails"]]) == (1, ["Weekly news"])


@pytest.mark.parametrize("query", ["offset=-1", "offset=99999999999999999999", "limit=1001", "limit=many"])
def test_a_page_of_the_inbox_that_makes_no_sense_is_refused(sandbox: Sandbox, query: str) -> None:
    assert sandbox.call("GET", f"/api/mails?{query}").status_code == 400


def test_one_mail_is_given_as_it_came(sandbox: Sandbox) -> None:
    mail = mail_to(postroom_id="abc", a_field_of_the_future={"b": [1.5, None]})
    receipt = sandbox.post(mail).headers["x-message-id"]
    found = sandbox.call("GET", f"/api/mails/{receipt}").json()
    assert (found["receipt"], found["postroom_ids"], found["body"]) == (receipt, ["abc"], mail)
    assert sandbox.call("GET", "/api/mails/unknown").status_code == 404


def test_emptying_the_inbox_leaves_the_log(sandbox: Sandbox) -> None:
    receipt = sandbox.post(mail_to()).headers["x-message-id"]
    assert sandbox.call("DELETE", "/api/mails").status_code == 204
    assert sandbox.call("GET", "/api/mails").json() == {"total": 0, "mails": []}
    assert receipt in sandbox.receipts()


def test_the_inbox_keeps_no_more_mails_than_it_is_told(tmp_path: Path) -> None:
    with running(Sandbox(tmp_path, "--mails", "3")) as server:
        for number in range(5):
            server.post(mail_to(subject=f"Number {number}"))
        kept = [mail["subject"] for mail in server.call("GET", "/api/mails").json()["mails"]]
        assert (kept, len(server.accepted())) == (["Number 4", "Number 3", "Number 2"], 5)


def test_the_inbox_keeps_no_more_than_64_megabytes(sandbox: Sandbox) -> None:
    big = mail_to(content=[{"type": "text/plain", "value": "x" * 25_000_000}])
    codes = [sandbox.post(big).status_code for _ in range(4)]
    assert (codes, sandbox.call("GET", "/api/mails").json()["total"]) == ([202] * 4, 2)


def test_the_counts_tell_what_became_of_the_requests(tmp_path: Path) -> None:
    with running(Sandbox(tmp_path)) as server:
        for address in ("ada@example.com", "503@sandbox.test", "accept-504@sandbox.test"):
            server.post(mail_to(address))
        rest_of(server.send(mail_to("accept-close@sandbox.test")))
        assert server.call("GET", "/api/stats").json() == {
            "requests": 4,
            "accepted": 3,
            "refused": 2,
            "by_status": {"202": 1, "503": 1, "504": 1},
            "faults": {"status": 1, "accept_then_status": 1, "accept_then_close": 1},
        }


# The program


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_good_order_though_requests_are_held(tmp_path: Path, number: signal.Signals) -> None:
    with running(Sandbox(tmp_path)) as server:
        words = ("hang", "accept-hang", "drip-0.01", "latency-60")
        held = [server.send(mail_to(f"{word}@sandbox.test")) for word in words]
        eventually(lambda: server.call("GET", "/api/stats").json()["requests"] == len(held))
        server.process.send_signal(number)
        assert server.process.wait(5) == 0
        replies = [rest_of(connection)[0] for connection in held]
        assert [replies[0], replies[1], replies[3]] == [b"", b"", b""]
        assert server.log_since_start().count("\n") == 1


def sandbox_command(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_a_port_that_is_taken_is_told_in_one_line(sandbox: Sandbox) -> None:
    port = str(urlsplit(sandbox.url).port)
    ended = sandbox_command("--port", port)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in ended.stderr


def test_a_log_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    ended = sandbox_command("--port", "0", "--log", str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert f"the acceptance log {tmp_path} cannot be written: Is a directory" in ended.stderr


@pytest.mark.parametrize("options", [["--port", "65536"], ["--port", "x"], ["--mails", "0"], ["--colour"]])
def test_wrong_usage_ends_with_2(options: list[str]) -> None:
    assert sandbox_command(*options).returncode == 2


def test_a_program_can_run_it(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    program = "import sys, pathlib, sandbox; sandbox.run(log_path=pathlib.Path(sys.argv[1]), on_ready=print)"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program, str(log)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        answer = httpx.post(f"{url}/v3/mail/send", json=mail_to(), headers=HEADERS, trust_env=False)
        process.terminate()
        assert process.wait(10) == 0
    assert json.loads(log.read_text())["receipt"] == answer.headers["x-message-id"]
