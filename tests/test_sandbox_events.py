"""The sandbox's events: signed posts of what became of each mail; on request late, twice, out of order, or never."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
from sendgrid import EventWebhook

from tests.mails import mail
from tests.servers import SandboxServer, eventually


class Receiver:
    """Takes posts as the webhook of an app would, and answers with `status`."""

    def __init__(self) -> None:
        self.posts: list[tuple[bytes, dict[str, str]]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if receiver.status == 200:
                    receiver.posts.append((body, dict(self.headers)))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events?by=sandbox"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def events(self) -> list[dict[str, Any]]:
        return [event for body, _ in self.posts for event in json.loads(body)]

    def whats(self) -> Counter[str]:
        return Counter(event["event"] for event in self.events())

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


Hook = Callable[..., Any]


@pytest.fixture
def hook(sandbox_server: SandboxServer, receiver: Receiver) -> Hook:
    """Have events posted to the receiver; more words are fields of the hook."""
    return lambda **fields: ask(sandbox_server, "PUT", {"url": receiver.url} | fields)


def ask(sandbox: SandboxServer, method: str, body: Any = None) -> Any:
    answer = httpx.request(method, f"{sandbox.url}/api/webhook", json=body, trust_env=False, verify=False)
    return answer.raise_for_status().json() if answer.content else None


def send(sandbox: SandboxServer, *to: str, **fields: Any) -> str:
    """Have mail accepted; its receipt."""
    body = mail() | {"personalizations": [{"to": [{"email": address} for address in to]}], **fields}
    answer = httpx.post(
        f"{sandbox.url}/v3/mail/send",
        json=body,
        headers={"authorization": "Bearer SG.test"},
        trust_env=False,
        verify=False,
    )
    assert answer.status_code == 202
    return answer.headers["x-message-id"]


def test_a_mail_is_processed_and_delivered(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    hook()
    receipt = send(sandbox_server, "Ann@example.com", custom_args={"order": "17"}, categories=["receipts"])

    eventually(lambda: len(receiver.events()) == 2)

    processed, delivered = receiver.events()
    assert (processed["event"], delivered["event"]) == ("processed", "delivered")
    assert processed["timestamp"] <= delivered["timestamp"]
    assert processed["sg_event_id"] != delivered["sg_event_id"]
    for event in (processed, delivered):
        assert event["sg_message_id"].startswith(f"{receipt}.recvd-")
        assert (event["email"], event["order"], event["category"]) == ("ann@example.com", "17", ["receipts"])


def test_posts_are_signed(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    key = hook()["public_key"]
    send(sandbox_server, "ann@example.com")
    eventually(lambda: receiver.posts)

    body, headers = receiver.posts[0]
    signature = headers["X-Twilio-Email-Event-Webhook-Signature"]
    timestamp = headers["X-Twilio-Email-Event-Webhook-Timestamp"]
    assert EventWebhook(key).verify_signature(body.decode(), signature, timestamp)
    assert not EventWebhook(key).verify_signature(body.decode() + " ", signature, timestamp)


@pytest.mark.parametrize(
    ("word", "whats"),
    [
        ("bounce", ["processed", "bounce"]),
        ("blocked", ["processed", "bounce"]),
        ("dropped", ["dropped"]),
        ("deferred", ["processed", "deferred", "delivered"]),
        ("late-bounce", ["processed", "delivered", "bounce"]),
        ("open", ["processed", "delivered", "open"]),
        ("spamreport", ["processed", "delivered", "spamreport"]),
        ("unsubscribe", ["processed", "delivered", "unsubscribe"]),
    ],
)
def test_an_address_asks_for_a_fate(
    sandbox_server: SandboxServer, receiver: Receiver, hook: Hook, word: str, whats: list[str]
) -> None:
    hook()
    send(sandbox_server, f"{word}+17@sandbox.test", "ann@example.com")

    eventually(lambda: len(receiver.events()) == len(whats) + 2)

    told = [event["event"] for event in receiver.events() if event["email"].startswith(word)]
    assert told == whats


def test_what_is_refused_has_no_events(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    hook()
    with pytest.raises(AssertionError):
        send(sandbox_server, "503@sandbox.test")
    send(sandbox_server, "ann@example.com")

    eventually(lambda: len(receiver.events()) == 2)
    assert {event["email"] for event in receiver.events()} == {"ann@example.com"}


def test_events_come_many_in_a_post(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    hook(gather=0.5, most=150)
    for _ in range(100):
        send(sandbox_server, "ann@example.com")

    eventually(lambda: len(receiver.events()) == 200)
    assert len(receiver.posts) < 50
    assert max(len(json.loads(body)) for body, _ in receiver.posts) <= 150


def test_events_come_repeatedly_and_out_of_order(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    hook(times=3, reorder=0.5)
    for _ in range(20):
        send(sandbox_server, "ann@example.com")

    eventually(lambda: len(receiver.events()) == 120)
    assert set(Counter(event["sg_event_id"] for event in receiver.events()).values()) == {3}
    first = {event["sg_message_id"]: event["event"] for event in reversed(receiver.events())}
    assert set(first.values()) == {"processed", "delivered"}


def test_events_are_lost(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    hook(loss=0.5)
    for _ in range(50):
        send(sandbox_server, "ann@example.com")

    def through() -> Any:
        now = ask(sandbox_server, "GET")
        return now["waiting"] == 0 and now["events"] + now["lost"] == 100 and now

    told = eventually(through)
    eventually(lambda: len(receiver.events()) == told["events"])
    assert told["lost"] > 10


def test_only_some_events(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    hook(only=["delivered"])
    for _ in range(3):
        send(sandbox_server, "ann@example.com")

    eventually(lambda: len(receiver.events()) == 3)
    assert set(receiver.whats()) == {"delivered"}


def test_a_post_that_failed_comes_again(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    receiver.status = 503
    hook()
    send(sandbox_server, "ann@example.com")
    eventually(lambda: ask(sandbox_server, "GET")["failed"] >= 2)
    assert receiver.posts == []

    receiver.status = 200

    eventually(lambda: len(receiver.events()) == 2)


def test_another_address_takes_the_place_of_the_first(
    sandbox_server: SandboxServer, receiver: Receiver, hook: Hook
) -> None:
    hook(url="http://127.0.0.1:1/")
    hook()
    send(sandbox_server, "ann@example.com")

    eventually(lambda: len(receiver.events()) == 2)
    assert ask(sandbox_server, "GET")["failed"] == 0


def test_an_end_ends_it(sandbox_server: SandboxServer, receiver: Receiver, hook: Hook) -> None:
    hook(delay=60)
    send(sandbox_server, "ann@example.com")
    assert ask(sandbox_server, "GET")["waiting"] == 2

    ask(sandbox_server, "DELETE")
    assert ask(sandbox_server, "GET")["waiting"] == 0
    send(sandbox_server, "ann@example.com")
    hook()
    send(sandbox_server, "bob@example.com")

    eventually(lambda: len(receiver.events()) == 2)
    assert {event["email"] for event in receiver.events()} == {"bob@example.com"}


URL = {"url": "http://127.0.0.1:1/"}


@pytest.mark.parametrize(
    "wrong",
    [
        *({}, [], "text", {"url": "nonsense"}, {"url": "file:///etc/passwd"}),
        *(URL | {"loss": 2}, URL | {"times": 0}, URL | {"colour": "red"}, URL | {"delay": -1}),
    ],
)
def test_a_hook_that_makes_no_sense_is_refused(sandbox_server: SandboxServer, wrong: Any) -> None:
    answer = httpx.put(f"{sandbox_server.url}/api/webhook", json=wrong, trust_env=False, verify=False)

    assert answer.status_code == 400
    assert answer.json()["error"]
