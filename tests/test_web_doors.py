"""What both doors of web frameworks do alike: answers to errors, and live progress. On the servers that people use."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mails import mail
from tests.servers import eventually, running
from tests.stack import Stack, running_stack
from tests.web import AWAY, SOON, Listener, WebApp, looks, nobody_looks

#: The test apps, which have the same routes.
FASTAPI, FLASK = "tests.fastapi_site", "tests.flask_site"
#: An app, a server, and words for it, which give 50 watchers a thread each where they need one.
SERVED = [
    ("uvicorn", FASTAPI, []),
    ("hypercorn", FASTAPI, []),
    ("flask", FLASK, []),
    ("gunicorn", FLASK, ["--threads", "60"]),
]

on_each_server = pytest.mark.parametrize(
    ("server", "app", "words"), SERVED, ids=[f"{app} on {server}" for server, app, _ in SERVED]
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


def serving(server: str, app: str, directory: Path, stack: Stack, *words: str) -> WebApp:
    return WebApp(server, app, directory, *words, POSTROOM_REDIS_URL=stack.redis.url)


@pytest.fixture(scope="module", params=[("uvicorn", FASTAPI), ("flask", FLASK)], ids=["FastAPI", "Flask"])
def site(request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebApp]:
    with running(serving(*request.param, tmp_path_factory.mktemp("site"), stack)) as app:
        yield app


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


def test_redis_away_is_a_503_and_a_mail_that_may_be_enqueued_is_named(site: WebApp, stack: Stack) -> None:
    site.post("/mails", json=mail())
    stack.redis.pause()
    answer = site.post("/mails", json=mail())
    stack.redis.resume()
    assert answer.elapsed.total_seconds() < SOON
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["may_be_enqueued"] is True
    assert eventually(lambda: site.get(f"/mails/{answer.json()['id']}")).status_code == 200
    stack.redis.kill()
    first, away = (site.post("/mails", json=mail()) for _ in range(2))
    stack.redis.start()
    assert first.status_code == 503
    assert away.json() == AWAY


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


@on_each_server
def test_fifty_watchers_cost_redis_no_more_than_one(
    server: str, app: str, words: list[str], stack: Stack, tmp_path: Path
) -> None:
    with running(serving(server, app, tmp_path, stack, *words)) as site:
        stack.worker.pause()
        batch = site.post("/batches?count=10").json()["id"]
        listeners = [Listener(site, f"/batches/{batch}/progress") for _ in range(50)]
        for listener in listeners:
            listener.hears("progress")
        begun, before = time.monotonic(), looks(stack.redis)
        eventually(lambda: time.monotonic() > begun + 2)
        assert 0 < looks(stack.redis) - before <= 2 * (time.monotonic() - begun) + 2
        stack.worker.resume()
        assert {listener.hears("complete").data["accepted"] for listener in listeners} == {10}


@on_each_server
def test_when_the_last_watcher_has_left_nobody_asks_redis(
    server: str, app: str, words: list[str], stack: Stack, tmp_path: Path
) -> None:
    with running(serving(server, app, tmp_path, stack, *words)) as site:
        stack.worker.pause()
        try:
            batch = site.post("/batches").json()["id"]
            with site.listening(f"/batches/{batch}/progress") as events:
                assert next(events).name == "progress"
            eventually(lambda: nobody_looks(stack.redis), timeout=20)
        finally:
            stack.worker.resume()
        assert "Traceback" not in site.log()


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
