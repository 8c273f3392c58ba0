"""What docs/fastapi.md and docs/flask.md print is run here, as it is printed, on the servers that they name."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.web.refusal import ANSWERED
from producers.web.telling import HEARTBEAT, LASTS, Event
from tests.servers import ROOT, clean_environment, eventually, running
from tests.stack import Stack, running_stack
from tests.web import WebApp

PAGES = {name: (ROOT / f"docs/{name}.md").read_text() for name in ("fastapi", "flask")}
#: The server, the app on it, the words that the page starts it with, and how an address is handed over.
APPS = {
    "fastapi": ("uvicorn", "shop:app", [], "params"),
    "flask": ("gunicorn", "shop:create_app()", ["--threads", "32"], "data"),
}
#: Programs that use the other printed ones.
LIFESPAN = """
from fastapi.testclient import TestClient
from lifespan import app
with TestClient(app) as client:
    assert client.get("/").status_code == 404
"""
POLLING = """
import polling
from shop import create_app, mail, postroom
app = create_app()
with app.app_context():
    id = postroom.enqueue_batch([mail("ann@example.com", "News", "There are some.")]).id
assert app.test_client().get(f"/batches/{id}").get_json()["total"] == 1
"""
SETTINGS = """
from flask import Flask
from producers import InvalidMail
from producers.flask import Postroom
from shop import mail
app = Flask("shop")
app.config.from_pyfile("settings.py")
postroom = Postroom(app)
with app.app_context():
    try:
        postroom.enqueue(mail("ann@example.org", "News", "There are some."))
    except InvalidMail as error:
        assert "POSTROOM_ALLOW_DOMAINS" in str(error)
    else:
        raise AssertionError("its domain is not allowed")
"""
USES = [("fastapi", LIFESPAN), ("flask", POLLING), ("flask", SETTINGS)]

#: Postroom's plugin alone.
PLUGINS = ["-p", "producers.testing.plugin", "-p", "no:cacheprovider"]

doors = pytest.mark.parametrize("door", PAGES)


def printed(door: str) -> dict[str, str]:
    """The programs of a page, by the names of their files."""
    return dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGES[door], re.DOTALL))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def host(door: str, tmp_path: Path) -> Path:
    """A directory with the programs of a page."""
    for name, program in printed(door).items():
        (tmp_path / name).write_text(program)
    return tmp_path


@doors
def test_the_printed_app_does_what_its_page_says(door: str, host: Path, stack: Stack) -> None:
    server, app_name, words, asks = APPS[door]
    number = len(door)
    environment = {"POSTROOM_REDIS_URL": stack.redis.url, "PYTHONPATH": f"{ROOT}:{host}"}
    with running(WebApp(server, app_name, host, *words, **environment)) as app:
        orders = [app.post(f"/orders/{number}/paid", **{asks: {"address": f"{door}@example.com"}}) for _ in range(2)]
        assert [order.status_code for order in orders] == [202, 202]
        assert len({order.json()["id"] for order in orders}) == 1
        id = orders[0].json()["id"]
        eventually(lambda: app.get(f"/mails/{id}").json()["state"] == "accepted")

        batch = app.post("/news", json=[f"{door}{number}@example.com" for number in range(20)])
        assert batch.status_code == 202
        assert app.listen(f"/batches/{batch.json()['id']}/progress")[-1].data["accepted"] == 20
        assert app.post("/orders/2/paid", **{asks: {"address": "nobody"}}).status_code == 422
        assert app.get("/batches/unknown/progress").status_code == 404
    sent = [line["recipients"][0] for line in stack.sandbox.accepted()]
    assert sent.count(f"{door}@example.com") == 1


@doors
@pytest.mark.usefixtures("door")
def test_the_printed_tests_pass(host: Path) -> None:
    (host / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", *PLUGINS, "test_shop.py"]
    environment = clean_environment() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ROOT}:{host}"}
    done = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("door", "program"), USES, ids=["a lifespan", "polling", "settings"])
def test_the_other_printed_programs_run(program: str, host: Path, stack: Stack) -> None:
    environment = clean_environment() | {"POSTROOM_REDIS_URL": stack.redis.url, "PYTHONPATH": f"{ROOT}:{host}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=host, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@doors
def test_each_error_with_an_answer_is_in_the_table(door: str) -> None:
    for error in ANSWERED:
        assert re.search(rf"^\| .*`{error.__name__}`.* \|", PAGES[door], re.MULTILINE), error


def test_each_event_is_in_the_table_and_the_times_are_those_of_the_code() -> None:
    page = PAGES["fastapi"]
    assert set(re.findall(r"^\| `(\w+)` \| .*(?:\.|when|stream|changed).*\| .* \|$", page, re.MULTILINE)) >= set(Event)
    assert f"Every {HEARTBEAT:g} seconds" in page
    assert f"ends after {LASTS:g} seconds" in page
    assert f"up to {LASTS:g} seconds" in PAGES["flask"]


@doors
def test_the_links_lead_somewhere(door: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[)#]", PAGES[door]):
        assert (ROOT / "docs" / target).exists(), target
