"""Privacy: addresses, subjects and bodies are in the ledger as long as they are needed there, and nowhere else."""

import base64
import binascii
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import zstandard

from postroom.names import FINISHED, State
from postroom.settings import Settings
from producers import Postroom
from tests.flower import TASK_TABLE, Flower
from tests.mails import mail
from tests.servers import ROOT, RedisServer, SandboxServer, Worker, clean_environment, eventually, running

#: Stand in every text of a mail: one that SendGrid will accept, and one that is not accepted for some reason or other.
ACCEPTED, REFUSED = "canary7gq2accepted", "canary7gq2refused"

#: Enqueues all of it, with all loggers at DEBUG, and prints the ids.
ENQUEUE = """
import json, logging, sys
logging.basicConfig(level=logging.DEBUG)
logging.getLogger("test").debug("the log is on")
from producers import InvalidMail, Postroom
singles, batch, invalid = json.load(sys.stdin)
with Postroom() as postroom:
    ids = [postroom.enqueue(mail, key=f"key of {mail}", on_doubt="hold") for mail in singles]
    ids.append(postroom.enqueue_batch(batch, on_doubt="hold").id)
    try:
        postroom.enqueue(invalid)
    except InvalidMail:
        pass
print(json.dumps(ids))
"""


def full_of(canary: str, to: str) -> dict[str, Any]:
    """A mail that has the canary in every text."""
    body = mail(f"{to}", subject=f"Subject {canary}", text=f"Text {canary}")
    body["personalizations"][0]["to"][0]["name"] = f"Name {canary}"
    body["personalizations"][0]["custom_args"] = {"order": canary}
    content = base64.b64encode(canary.encode()).decode()
    return body | {
        "from": {"email": "shop@example.com", "name": f"Shop {canary}"},
        "attachments": [{"content": content, "filename": f"{canary}.txt"}],
        "categories": [canary],
        "headers": {"X-Canary": canary},
    }


def readings(data: bytes) -> Iterator[bytes]:
    """What may be read out of some bytes: themselves, and what is compressed or coded in them."""
    yield data
    if data.startswith(zstandard.FRAME_HEADER):
        yield zstandard.ZstdDecompressor().decompress(data)
    for run in re.findall(rb"[A-Za-z0-9+/]{16,}={0,2}", data):
        with_whole_groups = run[: len(run) // 4 * 4]
        try:
            yield base64.b64decode(with_whole_groups)
        except binascii.Error:
            continue


def tells(data: bytes, canary: str) -> bool:
    return any(canary.encode() in reading.lower() for reading in readings(data))


def values(client: Any, key: bytes) -> Iterator[bytes]:
    """All that a key holds."""
    match client.type(key):
        case b"string":
            yield client.get(key) or b""
        case b"hash":
            for name, value in client.hgetall(key).items():
                yield from (name, value)
        case b"list":
            yield from client.lrange(key, 0, -1)
        case b"set":
            yield from client.smembers(key)
        case b"zset":
            yield from client.zrange(key, 0, -1)
        case b"none":
            return
        case other:
            raise AssertionError(f"what is in a {other.decode()}?")


def telling_keys(client: Any, canary: str) -> set[str]:
    """The keys in Redis whose name or value has the canary."""
    return {key.decode() for key in client.scan_iter() for data in (key, *values(client, key)) if tells(data, canary)}


class Story(NamedTuple):
    """What was to be seen of some mails on their way, and the servers as they are at its end."""

    producer_log: str
    wake_ups: list[bytes]
    told_before: set[str]
    ids: list[str]
    batch: str
    redis: RedisServer
    worker: Worker
    flower: Flower
    postroom: Postroom


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Enqueue, look at what waits, start Flower and a worker at DEBUG, and wait until all is done."""
    directory = tmp_path_factory.mktemp("privacy")
    with running(RedisServer(directory)) as server, running(SandboxServer(directory)) as sandbox:
        producer_log, ids, batch = enqueue_all(server.url)
        with server.client() as client:
            wake_ups = client.lrange("transactional", 0, -1) + client.lrange("bulk", 0, -1)
            told_before = telling_keys(client, ACCEPTED)
        environment = {
            "POSTROOM_REDIS_URL": server.url,
            "POSTROOM_SENDGRID_URL": sandbox.url,
            "POSTROOM_BACKOFF_BASE": "0.1",
        }
        with (
            running(Flower(directory, server.url)) as flower,
            running(Worker("worker", directory, ["--loglevel", "DEBUG"], environment)) as worker,
            Postroom(Settings(redis_url=server.url)) as postroom,
        ):
            postroom.wait(batch, 20)
            ends = [*FINISHED, State.IN_DOUBT]
            eventually(lambda: all(postroom.status(id).state in ends for id in ids), 20)
            eventually(lambda: f"Task postroom.report[{batch}] succeeded" in worker.log())
            yield Story(producer_log, wake_ups, told_before, ids, batch, server, worker, flower, postroom)


def enqueue_all(redis_url: str) -> tuple[str, list[str], str]:
    """The producer's log, and the ids of the singles and of the batch."""
    singles = [
        full_of(ACCEPTED, f"{ACCEPTED}@example.com"),
        full_of(ACCEPTED, f"500x1+{ACCEPTED}@sandbox.test"),
        full_of(REFUSED, f"reject+{REFUSED}@sandbox.test"),
        full_of(REFUSED, f"no-receipt+{REFUSED}@sandbox.test"),
    ]
    batch = [singles[0], singles[2], full_of(ACCEPTED, f"{ACCEPTED}2@example.com")]
    invalid = full_of(REFUSED, REFUSED)
    done = subprocess.run(
        [sys.executable, "-c", ENQUEUE],
        cwd=ROOT,
        env=clean_environment() | {"POSTROOM_REDIS_URL": redis_url},
        input=json.dumps([singles, batch, invalid]),
        capture_output=True,
        text=True,
        check=True,
    )
    *ids, batch_id = json.loads(done.stdout)
    return done.stderr, ids, batch_id


def test_the_search_finds_a_canary_in_whatever_it_is_wrapped() -> None:
    text = f'{{"subject": "{ACCEPTED}"}}'.encode()
    assert tells(text, ACCEPTED)
    assert tells(zstandard.compress(text * 10), ACCEPTED)
    assert tells(b'{"body": "' + base64.b64encode(text) + b'"}', ACCEPTED)
    assert not tells(text, REFUSED)


def test_the_search_finds_a_mail_that_waits(story: Story) -> None:
    assert {key.rpartition(":")[0] for key in story.told_before} == {"postroom:payload"}


def test_the_mails_of_this_story_ended_as_they_should(story: Story) -> None:
    states = [story.postroom.status(id).state for id in story.ids]
    assert states == [State.ACCEPTED, State.ACCEPTED, State.REJECTED, State.IN_DOUBT]
    assert story.postroom.report(story.batch).counts[State.ACCEPTED] == 2
    (failure,) = story.postroom.report(story.batch).failed
    assert REFUSED in failure.errors[0]["message"]


def test_a_wake_up_carries_ids_only(story: Story) -> None:
    assert any(story.batch.encode() in reading for wake_up in story.wake_ups for reading in readings(wake_up))
    assert len(story.wake_ups) >= 2
    assert not [wake_up for wake_up in story.wake_ups if tells(wake_up, ACCEPTED) or tells(wake_up, REFUSED)]


@pytest.mark.parametrize("canary", [ACCEPTED, REFUSED])
def test_a_producer_logs_nothing_of_a_mail_even_at_debug(story: Story, canary: str) -> None:
    assert "the log is on" in story.producer_log
    assert not tells(story.producer_log.encode(), canary)


@pytest.mark.parametrize("canary", [ACCEPTED, REFUSED])
def test_a_worker_logs_nothing_of_a_mail_even_at_debug(story: Story, canary: str) -> None:
    log = story.worker.log()
    assert "DEBUG" in log
    assert story.batch in log
    assert not tells(log.encode(), canary)


@pytest.mark.parametrize("canary", [ACCEPTED, REFUSED])
def test_celerys_results_tell_nothing_of_a_mail(story: Story, canary: str) -> None:
    with story.redis.client() as client:
        results = client.keys("celery-task-meta-*")
        assert results == [f"celery-task-meta-{story.batch}".encode()]
        assert not [
            key for key in client.scan_iter("celery*") if any(tells(data, canary) for data in values(client, key))
        ]


@pytest.fixture(scope="module")
def flower_pages(story: Story) -> dict[str, bytes]:
    """All that Flower has to show, by path."""
    eventually(lambda: story.flower.tasks().keys() >= {story.batch, f"{story.batch}.0"})
    (worker,) = eventually(story.flower.workers)
    pages = ["/", "/workers", "/tasks", TASK_TABLE, "/broker", "/metrics", f"/worker/{worker}"]
    api = ["/api/workers?refresh=1", "/api/tasks", "/api/task/types", "/api/queues/length"]
    each = [f"{path}/{id}" for id in story.flower.tasks() for path in ("/task", "/api/task/info", "/api/task/result")]
    return {path: story.flower.get(path).content for path in (*pages, *api, *each)}


@pytest.mark.parametrize("canary", [ACCEPTED, REFUSED])
def test_flower_shows_nothing_of_a_mail(story: Story, flower_pages: dict[str, bytes], canary: str) -> None:
    assert story.batch.encode() in flower_pages["/api/tasks"]
    assert [path for path, page in flower_pages.items() if tells(page, canary)] == []
    assert not tells(story.flower.log().encode(), canary)


def test_of_accepted_mail_nothing_stays_in_redis(story: Story) -> None:
    with story.redis.client() as client:
        assert client.keys("postroom:records:*")
        assert telling_keys(client, ACCEPTED) == set()


def test_of_other_mail_the_ledger_alone_keeps_the_content_and_sendgrids_words(story: Story) -> None:
    with story.redis.client() as client:
        told = {key.rpartition(":")[0] for key in telling_keys(client, REFUSED)}
    assert told == {"postroom:payload", "postroom:notes"}
