"""Examples: the programs of the README do what it says of them, as servers, through a worker."""

import ast
import io
import re
import subprocess
import sys
import time
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from postroom.names import State
from tests.mails import addresses
from tests.servers import ROOT, clean_environment, eventually, running
from tests.stack import Stack, running_stack
from tests.web import EXAMPLES, WebApp

#: An answer without Redis comes within a second; this allows for a busy machine.
SOON = 1.5


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


#: Each web app's server, the module, and how an address is handed over.
APPS = {
    "fastapi": ("uvicorn", "fastapi_app", "json"),
    "flask": ("flask", "flask_app", "data"),
    "django": ("gunicorn", "django_app:application", "data"),
}


@pytest.mark.parametrize("name", APPS)
def test_a_web_app_answers_at_once_and_its_mail_is_sent(name: str, stack: Stack, tmp_path: Path) -> None:
    server, module, asks = APPS[name]
    with running(WebApp(server, module, tmp_path, POSTROOM_REDIS_URL=stack.redis.url)) as app:

        def welcome(address: str) -> httpx.Response:
            return app.post("/welcome", **{asks: {"address": address}})

        answer = welcome(f"{name}@example.com")
        assert answer.status_code == 202
        id = answer.json()["id"]
        eventually(lambda: app.get(f"/mails/{id}").json() == {"id": id, "state": "accepted"})
        assert welcome(f"{name}@example.com").json() == {"id": id}
        assert welcome(f"{name}2@example.com").json() != {"id": id}

        invalid = welcome("nobody")
        assert (invalid.status_code, "personalizations.0.to.0.email" in invalid.json()["detail"]) == (422, True)
        assert app.get("/mails/unknown").status_code == 404

        stack.redis.pause()
        asked = time.monotonic()
        away = welcome(f"{name}3@example.com")
        took = time.monotonic() - asked
        stack.redis.resume()
        assert (away.status_code, took < SOON) == (503, True)
        if name == "django":
            assert away.json() == {"detail": "No mail can be sent right now. Please try again."}
        else:
            assert (away.json()["may_be_enqueued"], away.headers["retry-after"]) == (True, "5")

        id = welcome(f"{name}3@example.com").json()["id"]
        eventually(lambda: app.get(f"/mails/{id}").json()["state"] == "accepted")
    sent = [line["recipients"][0] for line in stack.sandbox.accepted()]
    assert [sent.count(f"{name}{number}@example.com") for number in ("", "2", "3")] == [1, 1, 1]


@pytest.mark.parametrize("name", ["fastapi", "flask"])
def test_a_page_shows_the_live_progress_of_a_batch(name: str, stack: Stack, tmp_path: Path) -> None:
    server = APPS[name][0]
    with running(WebApp(server, f"{name}_progress", tmp_path, POSTROOM_REDIS_URL=stack.redis.url)) as app:
        page = app.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "EventSource" in page.text
        assert not re.search(r"https?://|src=|href=", page.text), "it needs nothing from elsewhere"
        assert page.text.count("/newsletter") == 2

        stack.redis.pause()
        away = app.post("/newsletter?readers=300")
        stack.redis.resume()
        assert (away.status_code, away.elapsed.total_seconds() < SOON) == (503, True)
        assert away.json()["detail"]

        answer = app.post("/newsletter?readers=300")
        assert answer.status_code == 202
        events = app.listen(f"/newsletter/{answer.json()['id']}/progress")
        assert (events[-1].name, events[-1].data["accepted"]) == ("complete", 300)


def run(source: str, stack: Stack) -> str:
    """What an example prints."""
    environment = {"POSTROOM_REDIS_URL": stack.redis.url, "SENDGRID_API_KEY": "SG.test"}
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def sent_by(program: Callable[[], str], stack: Stack) -> tuple[str, list[list[str]]]:
    """What a program prints, and to whom SendGrid got ten mails of it."""
    before = len(stack.sandbox.accepted())
    printed = program()
    eventually(lambda: len(stack.sandbox.accepted()) >= before + 10)
    return printed, sorted(line["recipients"] for line in stack.sandbox.accepted()[before:])


def test_the_usual_asyncio_recipe_works(stack: Stack) -> None:
    source = (EXAMPLES / "asyncio_recipe_before.py").read_text()
    here = source.replace("SendGridAPIClient()", f"SendGridAPIClient(host={stack.sandbox.url!r})")
    assert here != source
    printed, sent = sent_by(lambda: run(here, stack), stack)
    assert sent == [[address] for address in addresses(10)]
    assert printed.endswith("10 of 10 emails are sent\n")


def test_the_asyncio_recipe_with_postroom_sends_the_same(stack: Stack) -> None:
    source = (EXAMPLES / "asyncio_recipe.py").read_text()
    printed, sent = sent_by(lambda: run(source, stack), stack)
    assert sent == [[address] for address in addresses(10)]
    batch = printed.split()[-1]
    assert stack.postroom.wait(batch, 10).counts[State.ACCEPTED] == 10


def test_the_asyncio_recipe_with_postroom_is_shorter() -> None:
    ours, usual = (code_lines(EXAMPLES / f"asyncio_recipe{name}.py") for name in ("", "_before"))
    assert len(ours) < len(usual)
    assert [line for line in ours if "Mail(" in line] == [line for line in usual if "Mail(" in line]


def code_lines(path: Path) -> list[str]:
    """The lines that hold code: no comments, no docstring, no empty ones."""
    text = path.read_text()
    docstring_end = ast.parse(text).body[0].end_lineno or 0
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    held = {token.start[0] for token in tokens if token.type not in skipped}
    return [line for number, line in enumerate(text.splitlines(), 1) if number in held and number > docstring_end]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_fits_on_a_page(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40
