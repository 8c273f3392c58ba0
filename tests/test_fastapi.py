"""FastAPI's door: a client for the life of an app. What both doors do: `test_web_doors`."""

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
from tests.web import AWAY, SOON, Listener, WebApp, connections


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
        assert answer.json() == AWAY
        assert "503, Redis does not answer: Error 111 connecting to 127.0.0.1" in app.log()


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
