"""The gateway's guests: clients made for SendGrid send through it unchanged, but for the base URL."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import House, house
from tests.servers import ROOT, clean_environment

CLIENTS = ROOT / "tests" / "data" / "gateway"

HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."
NO_SUBJECT = "The subject is required. You can get around this requirement if you use a template with a subject defined"


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house")) as home:
        yield home


def run(home: House, command: list[str], directory: Path = ROOT, *, base: str | None = None) -> dict[str, Any]:
    """What a client printed. `base` is the base URL; by default the gateway's."""
    ran = subprocess.run(
        command,
        cwd=directory,
        env=clean_environment() | {"SENDGRID_API_KEY": home.token, "GATEWAY": base or home.gateway.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    results: dict[str, Any] = json.loads(ran.stdout)
    return results


def check_mails(home: House, results: dict[str, Any]) -> None:
    """The mails that both of SendGrid's clients send, as SendGrid gets them; and its errors."""
    assert {results[name]["status"] for name in ("single", "multiple", "attached", "template")} == {202}
    single = home.accepted(results["single"]["id"])
    assert (single["subject"], single["content"][1]["value"]) == ("Héllo", "<p>Hello ☃</p>")
    multiple = home.accepted(results["multiple"]["id"])
    assert [len(each["to"]) for each in multiple["personalizations"]] == [1, 1]
    files = home.accepted(results["attached"]["id"])["attachments"]
    assert {file["content"] for file in files} == {"SGVsbG8="}
    assert {file["disposition"] for file in files} == {"attachment", "inline"}
    assert all("content_id" in file for file in files if file["disposition"] == "inline")
    assert home.accepted(results["template"]["id"])["template_id"].startswith("d-")

    (error,) = results["faulty"]["errors"]
    assert (results["faulty"]["status"], error["field"], error["help"]) == (400, "subject", f"{HELP}subject")
    (error,) = results["foreign"]["errors"]
    assert (results["foreign"]["status"], error["field"]) == (403, "from")


def test_sendgrids_python_client_sends_and_hears_sendgrids_errors(at_home: House) -> None:
    check_mails(at_home, run(at_home, [sys.executable, str(CLIENTS / "python_client.py")]))


def test_a_base_url_may_end_in_a_slash(at_home: House) -> None:
    base = f"{at_home.gateway.url}/"
    check_mails(at_home, run(at_home, [sys.executable, str(CLIENTS / "python_client.py")], base=base))


@pytest.fixture(scope="module")
def node_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`@sendgrid/mail` as npm installs it, by its lock."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed (on Debian: apt-get install nodejs npm)")
    directory = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "client.js"):
        shutil.copy(CLIENTS / "node" / name, directory)
    words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run([npm, *words], cwd=directory, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return directory


def test_sendgrids_node_client_sends_and_hears_sendgrids_errors(at_home: House, node_directory: Path) -> None:
    results = run(at_home, ["node", "client.js"], node_directory)
    check_mails(at_home, results)
    files = at_home.accepted(results["attached"]["id"])["attachments"]
    assert [file["contentId"] for file in files if "contentId" in file] == ["a"]


@pytest.mark.parametrize(
    "backend", ["anymail.backends.sendgrid.EmailBackend", "sendgrid_backend.SendgridBackend"], ids=["anymail", "v5"]
)
def test_djangos_mail_is_sent_by_backends_that_were_made_for_sendgrid(at_home: House, backend: str) -> None:
    results = run(at_home, [sys.executable, str(CLIENTS / "django_client.py"), backend])
    assert {results[name]["status"] for name in ("single", "attached")} == {202}, results
    assert results["foreign"]["status"] == 403
    single = at_home.accepted(results["single"]["id"])
    replies = single.get("reply_to_list") or [single["reply_to"]]
    assert (single["subject"], replies[0]["email"]) == ("Héllo", "help@example.com")
    assert [file["filename"] for file in at_home.accepted(results["attached"]["id"])["attachments"]] == ["a.bin"]
    assert results["invitation"]["status"] == 202
    (invitation,) = at_home.accepted(results["invitation"]["id"])["attachments"]
    assert "method=REQUEST" in invitation["type"].replace('"', "")
