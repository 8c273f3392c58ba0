"""Flask's door: a client for each app, before and after a fork. What both doors do: `test_web_doors`."""

import gc
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
from tests.web import AWAY, Listener, WebApp, connections


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


def test_a_mail_that_comes_just_after_redis_has_died_is_not_enqueued(site: WebApp, stack: Stack) -> None:
    site.post("/mails", json=mail())
    stack.redis.kill()
    away = site.post("/mails", json=mail())
    stack.redis.start()
    assert away.json() == AWAY


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
