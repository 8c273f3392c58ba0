"""The webhook door, over HTTP: what SendGrid has signed is taken, and whatever else comes is refused."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import pytest

from postroom.errors import ConfigurationError
from postroom.names import State
from producers import AsyncPostroom, Postroom, Settings
from producers.webhook import SIGNATURE, TIMESTAMP, routes
from tests.mails import mail
from tests.servers import RedisServer, running
from tests.test_webhook_signature import BODY, GOOD, KEY, TIME
from tests.webhook import Signer, WebhookDoor, body_of, event

SIGNER = Signer()


@pytest.fixture(scope="module")
def door(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebhookDoor]:
    keys = f"{SIGNER.public_key},{KEY}"
    with running(WebhookDoor(tmp_path_factory.mktemp("door"), redis_server.url, keys)) as door:
        yield door


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        yield postroom


def test_signed_events_are_taken(door: WebhookDoor, postroom: Postroom) -> None:
    id = postroom.enqueue(mail())
    body = body_of(event(id, "processed"), event(id, "delivered"), event("a" * 20), {"event": "open"})

    answer = door.post(body, SIGNER.sign(body))

    assert (answer.status_code, answer.content) == (204, b"")
    status = postroom.status(id)
    assert (status.state, [delivery.state for delivery in status.deliveries]) == (State.ACCEPTED, ["delivered"])


def test_sendgrids_own_vector_is_taken(door: WebhookDoor) -> None:
    assert door.post(BODY, {SIGNATURE: GOOD, TIMESTAMP: TIME}).status_code == 204


@pytest.mark.parametrize("header", [SIGNATURE, TIMESTAMP])
def test_a_request_without_a_signature_is_refused(door: WebhookDoor, postroom: Postroom, header: str) -> None:
    id = postroom.enqueue(mail())
    body = body_of(event(id))
    headers = SIGNER.sign(body)
    del headers[header]

    answer = door.post(body, headers)

    assert answer.status_code == 403
    assert "POSTROOM_WEBHOOK_KEY" in answer.json()["help"]
    assert postroom.status(id).state is State.QUEUED


def test_no_mutation_is_taken(door: WebhookDoor, postroom: Postroom) -> None:
    """Over HTTP; the signature's own tests have ten thousand of them."""
    id = postroom.enqueue(mail())
    body, random = body_of(event(id)), Random(7)
    good = SIGNER.sign(body)
    with httpx.Client(trust_env=False, verify=False) as client:
        for _ in range(300):
            headers, changed = {name: value.encode() for name, value in good.items()}, body
            if (name := random.choice([SIGNATURE, TIMESTAMP, "body"])) == "body":
                changed = _mutated(body, random)
            else:
                headers[name] = _mutated(headers[name], random, printable=True)
            assert client.post(door.url, content=changed, headers=headers).status_code == 403

    assert postroom.status(id).state is State.QUEUED
    assert door.post(body, good).status_code == 204


def _mutated(data: bytes, random: Random, *, printable: bool = False) -> bytes:
    place = random.randrange(len(data))
    others = [byte for byte in (range(0x21, 0x100) if printable else range(256)) if byte not in (data[place], 0x7F)]
    return data[:place] + bytes([random.choice(others)]) + data[place + random.randrange(2) :]


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"7", b'"text"', b"\xff\xfe", b"null", b"[" * 100_000])
def test_signed_nonsense_is_refused(door: WebhookDoor, body: bytes) -> None:
    answer = door.post(body, SIGNER.sign(body))

    assert answer.status_code == 400
    assert answer.json()["reason"] == "no_events"


def test_events_of_all_kinds_of_nonsense_are_passed_over(door: WebhookDoor, postroom: Postroom) -> None:
    id = postroom.enqueue(mail())
    nonsense = [None, 7, [], {}, {"postroom_id": 7}, {"postroom_id": id, "event": {}, "email": [], "timestamp": "x"}]
    body = json.dumps([*nonsense, event(id)]).encode()

    assert door.post(body, SIGNER.sign(body)).status_code == 204
    assert postroom.status(id).state is State.ACCEPTED


def test_thousands_of_events_in_one_post(door: WebhookDoor, postroom: Postroom) -> None:
    ids = [postroom.enqueue(mail()) for _ in range(20)]
    events = [event(id, what, at) for id in ids for what in ("processed", "delivered") for at in range(1, 126)]
    body = body_of(*events)
    assert len(events) == 5_000

    assert door.post(body, SIGNER.sign(body)).status_code == 204

    assert {postroom.status(id).deliveries[0].at for id in ids} == {125}


def test_a_body_that_is_too_large_is_refused(door: WebhookDoor) -> None:
    body = b"[" + b" " * 5 * 1024 * 1024 + b"]"

    assert door.post(body, SIGNER.sign(body)).status_code == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_there_is_no_other_method(door: WebhookDoor, method: str) -> None:
    assert httpx.request(method, door.url, trust_env=False, verify=False).status_code == 405


def test_posts_at_the_same_time(door: WebhookDoor, postroom: Postroom) -> None:
    ids = [postroom.enqueue(mail()) for _ in range(40)]
    statuses: list[int] = []

    def post(part: list[str]) -> None:
        body = body_of(*(event(id, "delivered") for id in part))
        statuses.append(door.post(body, SIGNER.sign(body)).status_code)

    threads = [threading.Thread(target=post, args=(ids[start : start + 15],)) for start in range(0, 40, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [204] * len(threads)
    assert {postroom.status(id).deliveries[0].state for id in ids} == {"delivered"}


def test_without_a_key_nothing_is_taken(redis_url: str, tmp_path: Path, postroom: Postroom) -> None:
    """And SendGrid is asked to come again: it does so for 24 hours, in which a key can be set."""
    id = postroom.enqueue(mail())
    body = body_of(event(id))
    with running(WebhookDoor(tmp_path, redis_url)) as door:
        answer = door.post(body, SIGNER.sign(body))

        assert answer.status_code == 503
        assert "POSTROOM_WEBHOOK_KEY" in answer.json()["help"]
        assert "POSTROOM_WEBHOOK_KEY" in door.log()
    assert postroom.status(id).state is State.QUEUED


def test_another_thing_than_a_key_is_told_at_the_start(redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, webhook_key="nonsense")

    with pytest.raises(ConfigurationError, match="POSTROOM_WEBHOOK_KEY"):
        routes(AsyncPostroom(settings), settings)


def test_while_redis_is_down_sendgrid_is_to_come_again(own_redis_server: RedisServer, tmp_path: Path) -> None:
    with Postroom(Settings(redis_url=own_redis_server.url)) as postroom:
        id = postroom.enqueue(mail())
        body = body_of(event(id))
        with running(WebhookDoor(tmp_path, own_redis_server.url, SIGNER.public_key)) as door:
            own_redis_server.kill()
            answer = door.post(body, SIGNER.sign(body))
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0

            own_redis_server.start()
            assert door.post(body, SIGNER.sign(body)).status_code == 204
        assert postroom.status(id).state is State.ACCEPTED


def test_the_log_has_no_address(door: WebhookDoor, postroom: Postroom) -> None:
    id = postroom.enqueue(mail())
    good = body_of(event(id, "bounce", reason="550 <ann@example.com>: no such user"))
    bad = b'{"email": "ann@example.com"}'

    door.post(good, SIGNER.sign(good))
    door.post(good, {})
    door.post(bad, SIGNER.sign(bad))

    assert '"reason":"signature"' in door.log()
    assert "ann" not in door.log()
