"""Batches by HTTP: lines of JSON, as many as you like, queued all together or not at all."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from postroom.names import State
from tests.gateway import Gateway, House, house, memory_bytes
from tests.mails import mail, mails
from tests.servers import RedisServer, eventually, running
from tests.stack import ask, ledger

BATCHES = "/v1/batches"


@pytest.fixture(scope="module")
def standing(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(Gateway(tmp_path_factory.mktemp("gateway"), redis_server.url, POSTROOM_CHUNK_MAILS="100")) as gateway:
        yield gateway


@pytest.fixture
def gateway(standing: Gateway, redis_url: str) -> Gateway:  # which empties Redis
    return standing


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def lines(count: int, name: str = "reader") -> bytes:
    return b"".join(json.dumps(body).encode() + b"\n" for body in mails(count, name))


def batch_ids(redis_server: RedisServer) -> set[str]:
    with redis_server.client() as client:
        return {key.decode().split(":")[2] for key in client.scan_iter("postroom:batch:*")}


def only_error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    (error,) = answer.json()["errors"]
    return dict(error)


def test_lines_are_queued_as_one_batch(client: httpx.Client) -> None:
    answer = client.post(BATCHES, content=lines(250))
    assert answer.status_code == 202
    assert answer.json()["total"] == 250
    batch = answer.json()["batch_id"]
    progress = client.get(f"{BATCHES}/{batch}").json()
    assert (progress["total"], progress["queued"], progress["sealed"], progress["final_at"]) == (250, 250, True, None)
    report = client.get(f"{BATCHES}/{batch}/report").json()
    assert (report["total"], report["final_at"], report["failed"]) == (250, None, [])
    assert client.post(f"{BATCHES}/{batch}/cancel").json() == {"cancelled": 250, "too_late": 0}
    report = client.get(f"{BATCHES}/{batch}/report").json()
    assert report["counts"]["cancelled"] == len(report["failed"]) == 250


@pytest.mark.parametrize(
    "body",
    [
        b"\n\n" + lines(2).rstrip() + b"\n \n\n",
        lines(2).rstrip(),
        lines(2).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + lines(2),
    ],
    ids=["empty lines", "no last newline", "carriage returns", "byte order mark"],
)
def test_lines_may_be_written_in_many_ways(client: httpx.Client, body: bytes) -> None:
    assert client.post(BATCHES, content=body).json()["total"] == 2


def test_a_batch_may_be_zipped(client: httpx.Client) -> None:
    answer = client.post(BATCHES, content=gzip.compress(lines(1000)), headers={"content-encoding": "gzip"})
    assert answer.json()["total"] == 1000


def test_lines_may_be_cut_anywhere_on_their_way(client: httpx.Client) -> None:
    body = b"\xef\xbb\xbf" + lines(20)
    for size in (1, 7, 1000):
        pieces = (body[start : start + size] for start in range(0, len(body), size))
        assert client.post(BATCHES, content=pieces).json()["total"] == 20


def test_a_line_may_have_many_megabytes(client: httpx.Client) -> None:
    large = json.dumps(mail(text="x" * 20_000_000)).encode() + b"\n"
    assert client.post(BATCHES, content=lines(1) + large + lines(1)).json()["total"] == 3


def test_a_batch_of_nothing_is_complete_at_once(client: httpx.Client) -> None:
    answer = client.post(BATCHES, content=b"")
    assert answer.json()["total"] == 0


def test_one_wrong_row_and_nothing_is_queued(client: httpx.Client, redis_server: RedisServer) -> None:
    body = lines(150) + b"\n" + json.dumps(mail("nobody")).encode() + b"\n" + lines(10)
    error = only_error(client.post(BATCHES, content=body), 400)
    assert (error["row"], error["field"]) == (150, "personalizations.0.to.0.email")
    assert batch_ids(redis_server) == set()


def test_one_row_from_another_domain_and_nothing_is_queued(client: httpx.Client, redis_server: RedisServer) -> None:
    foreign = json.dumps(mail() | {"from": {"email": "shop@example.net"}}).encode()
    error = only_error(client.post(BATCHES, content=lines(150) + foreign), 403)
    assert (error["row"], error["field"]) == (150, "from")
    assert batch_ids(redis_server) == set()


def test_a_repeat_under_the_same_key_is_the_same_batch(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "campaign"}
    answers = [client.post(BATCHES, content=lines(250), headers=headers).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert client.get(f"{BATCHES}/{answers[0]['batch_id']}").json()["total"] == 250
    for other in (lines(249), lines(251), lines(250, "others")):
        only_error(client.post(BATCHES, content=other, headers=headers), 409)


class Cut(Exception):
    """The client ends in the middle."""


def cut_off(client: httpx.Client, redis_server: RedisServer, key: str | None = None) -> str:
    """Send 250 rows, and break off when 200 are stored. Returns the batch's id."""
    begun: list[str] = []

    def stored() -> bool:
        for batch in batch_ids(redis_server):
            record = ask(redis_server.url, ledger().batch(batch))
            begun[:] = [batch]
            return record is not None and record.total == 200
        return False

    def pieces() -> Iterator[bytes]:
        yield lines(250)
        eventually(stored)
        raise Cut

    with pytest.raises(Cut):
        client.post(BATCHES, content=pieces(), headers={"Idempotency-Key": key} if key else {})
    return begun[0]


def test_a_batch_that_was_cut_off_goes_on_under_its_key(
    gateway: Gateway, client: httpx.Client, redis_server: RedisServer
) -> None:
    batch = cut_off(client, redis_server, "campaign")
    eventually(lambda: gateway.journal()[-1].get("reason") == "cut")
    assert client.get(f"{BATCHES}/{batch}").json()["sealed"] is False
    answer = client.post(BATCHES, content=lines(300), headers={"Idempotency-Key": "campaign"}).json()
    assert answer == {"batch_id": batch, "total": 300}
    progress = client.get(f"{BATCHES}/{batch}").json()
    assert (progress["total"], progress["queued"], progress["sealed"]) == (300, 300, True)


def test_a_batch_without_a_key_that_was_cut_off_is_gone(
    gateway: Gateway, client: httpx.Client, redis_server: RedisServer
) -> None:
    cut_off(client, redis_server)
    eventually(lambda: gateway.journal()[-1].get("reason") == "cut")
    eventually(lambda: batch_ids(redis_server) == set())


def test_a_batch_has_options(client: httpx.Client, redis_server: RedisServer) -> None:
    query = "?on_doubt=hold&expires_in=60&send_at=4102444800"
    batch = client.post(BATCHES + query, content=lines(1)).json()["batch_id"]
    with redis_server.client() as redis:
        policy, send_at, expires = redis.hmget(f"postroom:chunk:{batch}.0", "policy", "send_at", "expires")
    assert (policy, int(send_at), int(expires)) == (b"hold", 4_102_444_800_000, 4_102_444_860_000)


@pytest.mark.parametrize(
    "query", ["on_doubt=maybe", "expires_in=0", "expires_in=soon", "expires_in=nan", "send_at=-1", "lane=bulk", "x"]
)
def test_an_option_that_is_none_is_refused(client: httpx.Client, query: str) -> None:
    only_error(client.post(f"{BATCHES}?{query}", content=lines(1)), 400)


def test_a_batch_stays_within_the_memory_of_a_few_pieces(gateway: Gateway, client: httpx.Client) -> None:
    """30,000 rows of 4.5 kB, 135 MB in all. The long form is in the benchmarks."""
    row = json.dumps(mail(text="text " * 850)).encode() + b"\n"
    assert client.post(BATCHES, content=row * 200).status_code == 202  # all code is loaded by now
    before = memory_bytes(gateway.pid)
    assert client.post(BATCHES, content=(row * 100 for _ in range(300)), timeout=100).json()["total"] == 30_000
    assert memory_bytes(gateway.pid, "VmHWM") - before < 60_000_000


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house")) as home:
        yield home


def test_a_batch_is_sent_and_reported(at_home: House) -> None:
    with at_home.gateway.client(at_home.token) as client:
        refused = json.dumps(mail("reject@sandbox.test")).encode() + b"\n"
        batch = client.post(BATCHES, content=lines(250) + refused).json()["batch_id"]
        eventually(lambda: client.get(f"{BATCHES}/{batch}").json()["final_at"], timeout=20)
        report = client.get(f"{BATCHES}/{batch}/report").json()
    assert (report["counts"]["accepted"], report["counts"]["rejected"]) == (250, 1)
    (failure,) = report["failed"]
    assert (failure["row"], failure["state"]) == (250, State.REJECTED)
    assert len(at_home.sandbox.accepted()) == 250
