"""Flask's door: a client for each app, clear answers, and live progress. On Flask's server and on Gunicorn."""

import gc
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask import Flask

import producers
from producers import ConfigurationError, UnknownId
from producers.flask import Postroom
from tests.mails import mail
from tests.servers import RedisServer, eventually, running
from tests.stack import Stack, running_stack
from tests.web import Listener, WebApp, connections, looks, nobody_looks

#: An answer without Redis comes within a second; this allows for a busy machine.
SOON = 1.5


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


def serving(server: str, directory: Path, stack: Stack, *words: str) -> WebApp:
    return WebApp(server, "tests.flask_site", directory, *words, POSTROOM_REDIS_URL=stack.redis.url)


@pytest.fixture(scope="module")
def site(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebApp]:
    with running(serving("flask", tmp_path_factory.mktemp("site"), stack)) as app:
        yield app


def app_with(postroom: Postroom, **config: object) -> Flask:
    app = Flask("shop")
    app.config.update(config)
    postroom.init_app(app)
    return app


def test_each_app_has_the_client_of_its_own_config(redis_url: str) -> None:
    postroom = Postroom()
    shop = app_with(postroom, POSTROOM_REDIS_URL=redis_url)
    forum = app_with(postroom, POSTROOM_REDIS_URL=redis_url.replace("/0", "/1"))
    with shop.app_context():
        id = postroom.enqueue(mail())
        assert postroom.status(id).id == id
    with forum.app_context(), pytest.raises(UnknownId):
        postroom.status(id)


def test_an_apps_config_goes_before_the_environment(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROOM_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("POSTROOM_ALLOW_DOMAINS", "example.com")
    postroom = Postroom()
    app = app_with(postroom, POSTROOM_REDIS_URL=redis_url, POSTROOM_ALLOW_DOMAINS="", POSTROOM_EXPIRES_BULK=60)
    with app.app_context():
        assert postroom.enqueue(mail())
        with pytest.raises(producers.InvalidMail, match="POSTROOM_ALLOW_DOMAINS"):
            postroom.enqueue(mail("ann@example.org"))


@pytest.mark.parametrize(
    ("name", "value"), [("POSTROOM_REDIS", "x"), ("POSTROOM_THREADS", "many"), ("POSTROOM_REDIS_URL", "http://x")]
)
def test_a_wrong_setting_is_named_when_the_app_is_made(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        app_with(Postroom(), **{name: value})


def test_an_app_without_the_extension_and_a_call_without_an_app_are_told_what_is_missing() -> None:
    with Flask("shop").app_context(), pytest.raises(RuntimeError, match="the app shop has no Postroom"):
        Postroom().enqueue(mail())
    with pytest.raises(RuntimeError, match="application context"):
        Postroom().enqueue(mail())


def test_a_client_is_closed_when_its_app_is_gone(own_redis_server: RedisServer) -> None:
    before = connections(own_redis_server)
    postroom = Postroom()
    app: Flask | None = app_with(postroom, POSTROOM_REDIS_URL=own_redis_server.url)
    assert app is not None
    with app.app_context():
        client = postroom.client
        assert client.enqueue(mail())
    assert connections(own_redis_server) == before + 1
    app = None
    gc.collect()
    assert connections(own_redis_server) == before


def test_an_app_made_before_a_fork_serves_in_every_process(stack: Stack, tmp_path: Path) -> None:
    with running(serving("gunicorn", tmp_path, stack, "--preload", "--workers", "2", "--threads", "4")) as app:
        with ThreadPoolExecutor(8) as visitors:
            answers = [answer.json() for answer in visitors.map(lambda _: app.post("/mails", json=mail()), range(40))]
        assert len({answer["process"] for answer in answers}) == 2
        ids = {answer["id"] for answer in answers}
        assert len(ids) == 40
        for id in ids:
            eventually(lambda id=id: stack.postroom.status(id).state == "accepted")  # type: ignore[misc]
        assert app.stop() == 0
        assert "Traceback" not in app.log()


def test_an_invalid_mail_is_a_422_with_all_faults_and_their_fields(site: WebApp) -> None:
    answer = site.post("/mails", json=mail("nobody") | {"subject": ""})
    assert answer.status_code == 422
    assert answer.json()["error"] == "invalid_mail"
    assert {fault["field"] for fault in answer.json()["faults"]} == {"personalizations.0.to.0.email", "subject"}
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
    away = site.post("/mails", json=mail())
    stack.redis.start()
    assert away.json() == {
        "error": "queue_unavailable",
        "detail": "The mail queue does not answer right now. Please try again.",
        "may_be_enqueued": False,
    }


def test_a_watcher_hears_of_each_change_up_to_the_end_and_then_stays_away(site: WebApp, stack: Stack) -> None:
    stack.worker.pause()
    batch = site.post("/batches?count=400").json()["id"]
    listener = Listener(site, f"/batches/{batch}/progress")
    assert listener.hears("progress").data["queued"] == 400
    stack.worker.resume()
    last = listener.hears("complete")
    assert (last.data["accepted"], last.data["finished"], last.data["failed"]) == (400, 400, 0)
    listener.join(5)
    assert listener.events[-1] is last
    again = site.get(f"/batches/{batch}/progress", **{"Last-Event-ID": str(last.id)})
    assert (again.status_code, again.content) == (204, b"")


def test_an_unknown_batch_is_a_404_before_any_stream(site: WebApp) -> None:
    answer = site.get("/batches/unknown/progress")
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_id")


@pytest.mark.parametrize(("server", "words"), [("flask", []), ("gunicorn", ["--threads", "60"])])
def test_fifty_watchers_cost_redis_no_more_than_one(
    server: str, words: list[str], stack: Stack, tmp_path: Path
) -> None:
    with running(serving(server, tmp_path, stack, *words)) as app:
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


@pytest.mark.parametrize(("server", "words"), [("flask", []), ("gunicorn", ["--threads", "2"])])
def test_when_the_last_watcher_has_left_nobody_asks_redis(
    server: str, words: list[str], stack: Stack, tmp_path: Path
) -> None:
    with running(serving(server, tmp_path, stack, *words)) as app:
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


def test_a_stream_ends_by_itself_before_gunicorn_takes_its_worker_for_dead(stack: Stack, tmp_path: Path) -> None:
    with running(serving("gunicorn", tmp_path, stack, "--timeout", "3")) as app:
        stack.worker.pause()
        try:
            batch = app.post("/batches").json()["id"]
            for _ in range(2):
                assert [event.name for event in app.listen(f"/batches/{batch}/progress?lasts=2")] == ["progress"]
            listener = Listener(app, f"/batches/{batch}/progress?lasts=2")
            listener.hears("progress")
            assert app.stop() == 0
            listener.join(5)
        finally:
            stack.worker.resume()
        assert "WORKER TIMEOUT" not in app.log()
