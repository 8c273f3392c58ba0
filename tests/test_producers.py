"""Producers: what they take, what they refuse and why, and what is left in Redis after it."""

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from sendgrid.helpers.mail import Attachment, Content, From, Mail, Personalization, To

import producers
from postroom import payload
from postroom.ids import chunk_id, mail_id
from postroom.names import State
from postroom.settings import Settings
from producers import Cancellation, InvalidMail, KeyConflict, Postroom, QueueUnavailable, UnknownId
from tests.mails import addresses, mail, mails
from tests.servers import ROOT, RedisServer, SandboxServer, Worker, clean_environment, eventually
from tests.stack import ask, batch_ids, ledger

#: A program that enqueues a batch under a key and is to be killed before its end.
KILLED = """
import sys
from producers import Postroom
from tests.mails import mails

def rows():
    for number, mail in enumerate(mails(100)):
        if number == {after}:
            print("waiting", flush=True)
            sys.stdin.read()
        yield mail

with Postroom() as postroom:
    postroom.enqueue_batch(rows(), key="letter")
"""
#: A program that enqueues a batch of a generator and prints how large it became, in bytes.
MEMORY = """
import resource, sys
from producers import Postroom
from tests.mails import mails
with Postroom() as postroom:
    postroom.enqueue_batch(mails({count}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def test_every_public_name_is_there_and_in_its_home() -> None:
    """They are loaded when they are first asked for."""
    assert set(producers._HOMES) == set(producers.__all__)
    for name in producers.__all__:
        assert getattr(producers, name) is getattr(import_module(producers._HOMES[name]), name)
    assert set(producers.__all__) <= set(dir(producers))
    with pytest.raises(AttributeError, match="has no attribute 'Postrom'"):
        _ = producers.Postrom


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url, chunk_mails=10)) as client:
        yield client


def bodies(redis_url: str, *chunks: str) -> list[Any]:
    """What goes on the wire of the mails of a single, or of chunks, without the id that Postroom has added."""
    found = []
    for chunk in chunks:
        packed = ask(redis_url, ledger().payload(chunk))
        assert packed is not None
        for place, wire in enumerate(payload.unpack(packed).parts):
            assert wire is not None
            body = json.loads(wire)
            assert body["custom_args"].pop("postroom_id") == mail_id(chunk, place)
            found.append({name: value for name, value in body.items() if name != "custom_args" or value})
    return found


def batch_bodies(redis_url: str, batch: str) -> list[Any]:
    return bodies(redis_url, *[chunk_id(batch, row) for row in ask(redis_url, ledger().first_rows(batch, 0, 10_000))])


def recipients(redis_url: str, batch: str) -> list[str]:
    return [body["personalizations"][0]["to"][0]["email"] for body in batch_bodies(redis_url, batch)]


def mail_keys(redis_server: RedisServer) -> list[bytes]:
    """All that is in Redis, but for what the ledger notes of Redis itself."""
    return [key for key in redis_server.client().scan_iter() if key != b"postroom:memory"]


def program(code: str, redis_url: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=clean_environment() | {"POSTROOM_REDIS_URL": redis_url, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def sendgrid_mail() -> Mail:
    made = Mail(From("shop@example.com", "Shop"), To("ann@example.com", "Änn"), "Hëllo", Content("text/plain", "Hi"))
    made.add_attachment(Attachment("aGVsbG8=", "hello.txt", "text/plain"))
    other = Personalization()
    other.add_to(To("bob@example.com"))
    made.add_personalization(other)
    return made


SENDGRID_BODY = sendgrid_mail().get()


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(sendgrid_mail(), id="sendgrid Mail"),
        pytest.param(SENDGRID_BODY, id="dict"),
        pytest.param(MappingProxyType(SENDGRID_BODY), id="mapping"),
        pytest.param(json.dumps(SENDGRID_BODY), id="str"),
        pytest.param(json.dumps(SENDGRID_BODY, indent=2).encode(), id="bytes"),
        pytest.param(bytearray(json.dumps(SENDGRID_BODY).encode()), id="bytearray"),
        pytest.param(memoryview(json.dumps(SENDGRID_BODY).encode()), id="memoryview"),
    ],
)
def test_a_mail_is_taken_in_any_form_and_kept_as_it_is(form: Any, postroom: Postroom, redis_url: str) -> None:
    keyed = postroom.enqueue(form, key="same")
    batch = postroom.enqueue_batch([form])
    assert bodies(redis_url, postroom.enqueue(form)) == [SENDGRID_BODY]
    assert batch_bodies(redis_url, batch.id) == [SENDGRID_BODY]
    assert postroom.enqueue(SENDGRID_BODY, key="same") == keyed


def test_what_is_handed_over_is_left_as_it_was(postroom: Postroom) -> None:
    body = mail()
    before = json.dumps(body)
    postroom.enqueue(body)
    postroom.enqueue_batch([body, body])
    assert json.dumps(body) == before


def test_fields_that_postroom_does_not_know_pass_through(postroom: Postroom, redis_url: str) -> None:
    body = {**mail(), "new_field": {"of": ["SendGrid", 1.5, None]}, "custom_args": {"order": "17"}}
    assert bodies(redis_url, postroom.enqueue(body)) == [body]


def test_an_invalid_mail_names_its_fields_and_leaves_nothing_in_redis(
    postroom: Postroom, redis_server: RedisServer
) -> None:
    body = mail("nobody")
    del body["subject"]
    with pytest.raises(InvalidMail) as raised:
        postroom.enqueue(body, key="order-1")
    assert {fault.field for fault in raised.value.faults} == {"personalizations.0.to.0.email", "subject"}
    assert raised.value.row is None
    assert mail_keys(redis_server) == []


def test_one_invalid_row_of_a_batch_is_named_and_nothing_is_left_in_redis(
    postroom: Postroom, redis_server: RedisServer
) -> None:
    rows = [mail(to) for to in addresses(95)]
    rows[87] = mail("nobody")
    with pytest.raises(InvalidMail, match=r"^row 87: personalizations\.0\.to\.0\.email: ") as raised:
        postroom.enqueue_batch(rows)
    assert raised.value.row == 87
    assert mail_keys(redis_server) == []


def test_a_failing_generator_leaves_nothing_in_redis(postroom: Postroom, redis_server: RedisServer) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from mails(55)
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        postroom.enqueue_batch(rows())
    assert mail_keys(redis_server) == []


@pytest.mark.parametrize("call", ["enqueue", "enqueue_batch"])
@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"lane": "urgent"}, "lane must be 'transactional' or 'bulk', not 'urgent'"),
        ({"on_doubt": "retry"}, "on_doubt must be 'resend' or 'hold', not 'retry'"),
        ({"expires_in": 0}, "expires_in is in seconds, more than 0"),
        ({"expires_in": -3}, "expires_in is in seconds, more than 0"),
        ({"expires_in": 1e12}, "less than ten years"),
        ({"expires_in": float("nan")}, "expires_in is in seconds"),
        ({"send_at": datetime(2030, 1, 1)}, r"send_at has no time zone; use datetime\.now\(UTC\)"),  # noqa: DTZ001
        ({"send_at": 1_900_000_000_000}, "send_at is in Unix seconds, or a datetime"),
        ({"send_at": -1}, "send_at is in Unix seconds, or a datetime"),
        ({"send_at": float("nan")}, "send_at is in Unix seconds, or a datetime"),
        ({"key": ""}, "key must be a string that is not empty"),
        ({"key": 17}, "key must be a string that is not empty"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_it_may_be(
    postroom: Postroom, redis_server: RedisServer, call: str, arguments: dict[str, Any], advice: str
) -> None:
    given = mail() if call == "enqueue" else [mail()]
    with pytest.raises(ValueError, match=advice):
        getattr(postroom, call)(given, **arguments)
    assert mail_keys(redis_server) == []


@pytest.mark.parametrize("id", ["", "17", "a" * 20 + ".0", "a" * 20 + ".0.0", "A" * 20, "a" * 21, "a" * 19 + "\n"])
def test_an_id_that_enqueue_did_not_give_is_refused(postroom: Postroom, id: str) -> None:
    with pytest.raises(ValueError, match=r"id must be one that enqueue gave, as in QueueUnavailable\.id"):
        postroom.enqueue(mail(), id=id)


@pytest.mark.parametrize("id", ["", "17", "a" * 20, "a" * 20 + ".0.0", "a" * 20 + ".0", "postroom", "*"])
def test_an_unknown_id_is_said_to_be_unknown(postroom: Postroom, id: str) -> None:
    for ask_for in (postroom.status, postroom.progress, postroom.report, postroom.cancel, postroom.wait):
        with pytest.raises(UnknownId) as raised:
            ask_for(id)
        assert raised.value.id == id


def test_a_time_may_be_a_datetime_of_any_zone_or_unix_seconds(postroom: Postroom) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    elsewhere = moment.astimezone(timezone(timedelta(hours=-7)))
    first = postroom.enqueue(mail(), key="same", send_at=moment)
    assert postroom.enqueue(mail(), key="same", send_at=elsewhere) == first
    assert postroom.enqueue(mail(), key="same", send_at=moment.timestamp()) == first
    assert postroom.status(first).state is State.QUEUED


def test_send_at_in_the_mail_and_as_an_argument_is_invalid(postroom: Postroom) -> None:
    later = int(time.time()) + 3600
    with pytest.raises(InvalidMail, match="send_at in the mail or as an argument of enqueue, not both"):
        postroom.enqueue({**mail(), "send_at": later}, send_at=later)


@pytest.mark.parametrize(
    "other",
    [
        {"mail": mail("bob@example.com")},
        {"lane": "bulk"},
        {"on_doubt": "hold"},
        {"expires_in": 60},
        {"send_at": 4_000_000_000},
    ],
)
def test_a_key_with_another_mail_or_other_terms_is_a_conflict(postroom: Postroom, other: dict[str, Any]) -> None:
    first = postroom.enqueue(mail(), key="order-1")
    with pytest.raises(KeyConflict) as raised:
        postroom.enqueue(**{"mail": mail(), "key": "order-1"} | other)
    assert raised.value.id == first


def test_a_key_does_not_mind_the_order_of_names_in_a_mail(postroom: Postroom) -> None:
    first = postroom.enqueue(mail(), key="order-1")
    assert postroom.enqueue(dict(reversed(mail().items())), key="order-1") == first


def test_keys_are_not_readable_in_redis(postroom: Postroom, redis_server: RedisServer) -> None:
    postroom.enqueue(mail(), key="reset-ann@example.com")
    postroom.enqueue_batch(mails(3), key="letter-ann@example.com")
    names = redis_server.client().keys()
    assert not [name for name in names if b"ann@" in name]
    assert any(hashlib.sha256(b"reset-ann@example.com").hexdigest().encode() in name for name in names)


@pytest.mark.parametrize("rows", [list(mails(99)), list(mails(101)), [*mails(99), mail("other@example.com")], []])
def test_a_batch_key_with_other_rows_is_a_conflict(postroom: Postroom, rows: list[dict[str, Any]]) -> None:
    first = postroom.enqueue_batch(mails(100), key="letter")
    with pytest.raises(KeyConflict) as raised:
        postroom.enqueue_batch(rows, key="letter")
    assert raised.value.id == first.id
    assert postroom.progress(first.id).total == 100


@pytest.mark.parametrize("chunk_mails", [1, 7, 10, 500])
def test_a_batch_under_a_key_goes_on_after_its_generator_failed(
    postroom: Postroom, redis_url: str, chunk_mails: int
) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from mails(57)
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError):
        postroom.enqueue_batch(rows(), key="letter")
    with Postroom(Settings(redis_url=redis_url, chunk_mails=chunk_mails)) as again:
        batch = again.enqueue_batch(mails(100), key="letter")
    assert recipients(redis_url, batch.id) == addresses(100)
    assert batch.progress().queued == batch.progress().total == 100


def test_a_batch_under_a_key_goes_on_after_its_invalid_row_is_mended(postroom: Postroom, redis_url: str) -> None:
    rows = list(mails(100))
    rows[57] = mail("nobody")
    with pytest.raises(InvalidMail, match="row 57"):
        postroom.enqueue_batch(rows, key="letter")
    batch = postroom.enqueue_batch(mails(100), key="letter")
    assert recipients(redis_url, batch.id) == addresses(100)


@pytest.mark.parametrize("chunk_mails", [8, 10])
def test_a_batch_under_a_key_has_each_row_once_after_its_producer_was_killed(redis_url: str, chunk_mails: int) -> None:
    with program(KILLED.format(after=57), redis_url, POSTROOM_CHUNK_MAILS="10") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "waiting\n"
        killed.kill()
    with Postroom(Settings(redis_url=redis_url, chunk_mails=chunk_mails)) as postroom:
        batch = postroom.enqueue_batch(mails(100), key="letter")
    assert recipients(redis_url, batch.id) == addresses(100)
    assert batch_bodies(redis_url, batch.id) == list(mails(100))
    assert batch.progress().queued == batch.progress().total == 100


def test_a_batch_that_is_not_sealed_is_not_sent(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    with Postroom(Settings(redis_url=redis_url, chunk_mails=10)) as postroom:

        def rows() -> Iterator[dict[str, Any]]:
            yield from mails(50)
            single = postroom.enqueue(mail("single@example.com"))
            eventually(lambda: postroom.status(single).state is State.ACCEPTED)
            assert [line["recipients"] for line in sandbox_server.accepted()] == [["single@example.com"]]

        assert postroom.enqueue_batch(rows()).wait(10).counts[State.ACCEPTED] == 50


@pytest.mark.parametrize("chunks", [(50, 50), (50, 30)])
def test_two_producers_under_the_same_key_make_one_batch(redis_url: str, chunks: tuple[int, int]) -> None:
    begin = threading.Barrier(2)
    ends: list[str] = []

    def produce(chunk_mails: int) -> None:
        with Postroom(Settings(redis_url=redis_url, chunk_mails=chunk_mails)) as postroom:
            begin.wait()
            id = None
            while id is None:
                with suppress(QueueUnavailable):  # its chunks end elsewhere than those of the other
                    id = postroom.enqueue_batch(mails(3000), key="letter").id
            ends.append(id)

    threads = [threading.Thread(target=produce, args=(chunk_mails,)) for chunk_mails in chunks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 2
    (done,) = set(ends)
    assert recipients(redis_url, done) == addresses(3000)


def test_of_two_batches_under_one_key_at_once_one_is_a_conflict(redis_url: str) -> None:
    begin = threading.Barrier(2)
    ends: dict[int, str] = {}

    def produce(count: int) -> None:
        with Postroom(Settings(redis_url=redis_url, chunk_mails=10)) as postroom:
            begin.wait()
            try:
                ends[count] = postroom.enqueue_batch(mails(count), key="letter").id
            except KeyConflict:
                ends[count] = "conflict"

    threads = [threading.Thread(target=produce, args=(count,)) for count in (0, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (done,) = [count for count, end in ends.items() if end != "conflict"]
    assert recipients(redis_url, ends[done]) == addresses(done)


def test_redirected_mail_goes_to_one_address_and_nobody_else(redis_url: str) -> None:
    settings = Settings.from_environment({"POSTROOM_REDIS_URL": redis_url, "POSTROOM_REDIRECT_TO": "dev@example.org"})
    body = mail("ann@example.com")
    body["personalizations"][0] |= {"cc": [{"email": "carl@example.com"}], "bcc": [{"email": "dora@example.com"}]}
    body["personalizations"].append({"to": [{"email": "eve@example.com", "name": "Eve"}]})
    with Postroom(settings) as postroom:
        single = postroom.enqueue(body)
        batch = postroom.enqueue_batch([body])
    for sent in (*bodies(redis_url, single), *batch_bodies(redis_url, batch.id)):
        assert sent["personalizations"] == [{"to": [{"email": "dev@example.org"}]}] * 2


def test_only_allowed_domains_get_mail(redis_url: str) -> None:
    environment = {"POSTROOM_REDIS_URL": redis_url, "POSTROOM_ALLOW_DOMAINS": "example.com, Example.ORG"}
    with Postroom(Settings.from_environment(environment)) as postroom:
        postroom.enqueue(mail("ann@EXAMPLE.com"))
        postroom.enqueue_batch([mail("ann@example.com"), mail("bob@example.org")])
        for stranger in ("ann@example.net", "ann@sub.example.com", "ann@notexample.com"):
            with pytest.raises(InvalidMail, match="is not among the domains of POSTROOM_ALLOW_DOMAINS"):
                postroom.enqueue(mail(stranger))
            with pytest.raises(InvalidMail, match=r"^row 1: "):
                postroom.enqueue_batch([mail("ann@example.com"), mail(stranger)])


def test_cancelling_twice_answers_the_same(postroom: Postroom) -> None:
    id = postroom.enqueue(mail())
    batch = postroom.enqueue_batch(mails(25))
    for _ in range(2):
        assert postroom.cancel(id) == Cancellation(1, 0)
        assert postroom.cancel(batch.id) == Cancellation(25, 0)


def test_one_mail_of_a_batch_can_be_cancelled(postroom: Postroom, redis_url: str) -> None:
    batch = postroom.enqueue_batch(mails(25))
    chosen = batch_ids(redis_url, batch.id)[13]
    assert postroom.cancel(chosen) == Cancellation(1, 0)
    assert postroom.status(chosen).state is State.CANCELLED
    assert (batch.progress().cancelled, batch.progress().queued) == (1, 24)


def test_a_wait_ends_with_a_timeout_error_and_can_be_repeated(postroom: Postroom) -> None:
    batch = postroom.enqueue_batch(mails(3))
    with pytest.raises(TimeoutError, match=rf"batch {batch.id} is not finished after 0\.05 s"):
        batch.wait(0.05)
    batch.cancel()
    assert batch.wait(0.05).counts[State.CANCELLED] == 3


def test_a_generator_of_any_length_takes_no_more_memory(redis_url: str) -> None:
    sizes = []
    for count in (1_000, 50_000):
        with program(MEMORY.format(count=count), redis_url) as running:
            output, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        sizes.append(int(output))
    print(f"resident after 1,000 and 50,000 mails: {sizes[0] / 1e6:.0f} and {sizes[1] / 1e6:.0f} MB")
    assert sizes[1] - sizes[0] < 60e6


def test_progress_and_status_are_plain_data(postroom: Postroom) -> None:
    status = postroom.status(postroom.enqueue(mail()))
    assert json.loads(msgspec.json.encode(status))["state"] == "queued"
    progress = postroom.enqueue_batch(mails(3)).progress()
    assert json.loads(msgspec.json.encode(progress))["queued"] == 3
