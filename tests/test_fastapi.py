"""FastAPI's door: a client for the life of an app, clear answers, and live progress. On Uvicorn and Hypercorn."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.requests import HTTPConnection

from postroom.settings import Settings
from producers.fastapi import postroom_lifespan, postroom_of
from tests.mails import mail
from tests.servers import RedisServer, eventually, free_port, running
from tests.stack import Stack, running_stack
from tests.web import Listener, WebApp, connections, looks, nobody_looks

#: An answer without Redis comes within a second; this allows for a busy machine.
SOON = 1.5


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture(scope="module")
def site(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebApp]:
    directory = tmp_path_factory.mktemp("site")
    with running(WebApp("uvicorn", "tests.fastapi_site", directory, POSTROOM_REDIS_URL=stack.redis.url)) as app:
        yield app


def test_a_client_is_there_for_the_apps_life_beside_what_its_own_lifespan_yields(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    before = connections(own_redis_server)
    with running(WebApp("uvicorn", "tests.fastapi_site", tmp_path, POSTROOM_REDIS_URL=own_redis_server.url)) as app:
        assert app.get("/").json() == "hello"
        ids = {app.post("/mails", json=mail()).json()["id"], app.get("/mounted/").json()["id"]}
        assert {app.get(f"/mails/{id}").json()["state"] for id in ids} == {"queued"}
        assert connections(own_redis_server) == before + 1
        app.stop()
        assert "Application shutdown complete." in app.log()
        assert "Traceback" not in app.log()
    eventually(lambda: connections(own_redis_server) == before)


async def test_a_lifespan_that_ends_closes_its_connections(own_redis_server: RedisServer) -> None:
    before = connections(own_redis_server)
    async with postroom_lifespan(FastAPI(), Settings(redis_url=own_redis_server.url)) as state:
        await state["postroom"].enqueue(mail())
        assert connections(own_redis_server) == before + 1
    eventually(lambda: connections(own_redis_server) == before)


def test_an_app_without_the_lifespan_is_told_what_is_missing() -> None:
    connection = HTTPConnection({"type": "http", "app": FastAPI()})
    with pytest.raises(RuntimeError, match="lifespan=postroom_lifespan"):
        postroom_of(connection)


def test_an_app_starts_while_redis_is_away_and_says_so(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with running(WebApp("uvicorn", "tests.fastapi_site", tmp_path, POSTROOM_REDIS_URL=url)) as app:
        for answer in (app.post("/mails", json=mail()), app.get("/batches/unknown0000000000000/progress")):
            assert answer.elapsed.total_seconds() < SOON
        answer = app.post("/mails", json=mail())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json() == {
            "error": "queue_unavailable",
            "detail": "The mail queue does not answer right now. Please try again.",
            "may_be_enqueued": False,
        }
        assert "503, Redis does not answer: Error 111 connecting to 127.0.0.1" in app.log()


def test_an_invalid_mail_is_a_422_with_all_faults_and_their_fields(site: WebApp) -> None:
    answer = site.post("/mails", json=mail("nobody") | {"subject": ""})
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_mail"
    assert {fault["field"] for fault in answer.json()["faults"]} == {"personalizations.0.to.0.email", "subject"}
    assert all(fault["message"] in answer.json()["detail"] for fault in answer.json()["faults"])
    assert answer.json()["row"] is None
    assert site.post("/batches?count=9&bad=7").json()["row"] == 7


def test_an_unknown_id_is_a_404_and_a_key_for_something_else_a_409_with_the_id_it_stands_for(site: WebApp) -> None:
    answer = site.get("/mails/unknown")
    assert (answer.status_code, answer.json()["error"], answer.json()["id"]) == (404, "unknown_id", "unknown")
    id = site.post("/mails?key=letter", json=mail()).json()["id"]
    answer = site.post("/mails?key=letter", json=mail(subject="Another"))
    assert (answer.status_code, answer.json()["error"], answer.json()["id"]) == (409, "key_conflict", id)


def test_a_full_queue_is_a_503_and_a_bug_stays_a_500(site: WebApp) -> None:
    answer = site.get("/full")
    assert (answer.status_code, answer.json()["error"], answer.headers["retry-after"]) == (503, "queue_full", "60")
    assert "3 bytes" not in answer.text
    assert site.get("/bug").status_code == 500


def test_a_mail_that_may_be_enqueued_is_named(site: WebApp, stack: Stack) -> None:
    site.post("/mails", json=mail())
    stack.redis.pause()
    answer = site.post("/mails", json=mail())
    stack.redis.resume()
    assert answer.elapsed.total_seconds() < SOON
    assert (answer.status_code, answer.json()["may_be_enqueued"]) == (503, True)
    assert eventually(lambda: site.get(f"/mails/{answer.json()['id']}")).status_code == 200


def test_a_watcher_hears_of_each_change_up_to_the_end(site: WebApp, stack: Stack) -> None:
    stack.worker.pause()
    batch = site.post("/batches?count=400").json()["id"]
    listener = Listener(site, f"/batches/{batch}/progress")
    assert listener.hears("progress").data["queued"] == 400
    stack.worker.resume()
    last = listener.hears("complete")
    assert (last.data["accepted"], last.data["finished"], last.data["failed"]) == (400, 400, 0)
    assert last.data["batch_id"] == batch
    listener.join(5)
    assert listener.events[-1] is last
    done = [event.data["finished"] for event in listener.events if event.name]
    assert done == sorted(done)


def test_an_eventsource_that_comes_back_after_the_end_is_told_to_stay_away(site: WebApp, stack: Stack) -> None:
    batch = site.post("/batches").json()["id"]
    stack.postroom.wait(batch, 20)
    (event,) = site.listen(f"/batches/{batch}/progress")
    assert event.name == "complete"
    again = site.get(f"/batches/{batch}/progress", **{"Last-Event-ID": str(event.id)})
    assert (again.status_code, again.content) == (204, b"")


def test_an_unknown_batch_is_a_404_before_any_stream(site: WebApp) -> None:
    answer = site.get("/batches/unknown/progress")
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_id")


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_fifty_watchers_cost_redis_no_more_than_one(server: str, stack: Stack, tmp_path: Path) -> None:
    with running(WebApp(server, "tests.fastapi_site", tmp_path, POSTROOM_REDIS_URL=stack.redis.url)) as app:
        stack.worker.pause()
        batch = app.post("/batches?count=10").json()["id"]
        listeners = [Listener(app, f"/batches/{batch}/progress") for _ in range(50)]
        for listener in listeners:
            listener.hears("progress")
        begun, before = time.monotonic(), looks(stack.redis)
        eventually(lambda: time.monotonic() > begun + 2)
        assert 0 < looks(stack.redis) - before <= 2 * (time.monotonic() - begun) + 2
        stack.worker.resume()
        assert {listener.hears("complete").data["accepted"] for listener in listeners} == {10}


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_when_the_last_watcher_has_left_nobody_asks_redis(server: str, stack: Stack, tmp_path: Path) -> None:
    with running(WebApp(server, "tests.fastapi_site", tmp_path, POSTROOM_REDIS_URL=stack.redis.url)) as app:
        stack.worker.pause()
        try:
            batch = app.post("/batches").json()["id"]
            with app.listening(f"/batches/{batch}/progress") as events:
                assert next(events).name == "progress"
            eventually(lambda: nobody_looks(stack.redis), timeout=20)
        finally:
            stack.worker.resume()
        assert "Traceback" not in app.log()


def test_a_stream_outlives_a_redis_that_dies_and_comes_back(site: WebApp, stack: Stack) -> None:
    stack.worker.pause()
    batch = site.post("/batches?count=10").json()["id"]
    listener = Listener(site, f"/batches/{batch}/progress")
    listener.hears("progress")
    stack.redis.kill()
    assert listener.hears("away").data == {"detail": "The mail queue does not answer right now. Please try again."}
    stack.redis.start()
    stack.worker.resume()
    assert listener.hears("complete").data["accepted"] == 10
    assert listener.names in (["progress", "away", "progress", "complete"], ["progress", "away", "complete"])


def test_a_stream_ends_by_itself_so_that_a_server_that_is_to_end_can(site: WebApp, stack: Stack) -> None:
    stack.worker.pause()
    try:
        batch = site.post("/batches").json()["id"]
        assert [event.name for event in site.listen(f"/batches/{batch}/progress?lasts=0.6")] == ["progress"]
        listener = Listener(site, f"/batches/{batch}/progress?lasts=2")
        listener.hears("progress")
        begun = time.monotonic()
        site.stop()
        assert time.monotonic() - begun < 10
        assert "Application shutdown complete." in site.log_since_start()
        site.start()
        listener.join(5)
    finally:
        stack.worker.resume()
