"""What docs/django.md prints is run here, as it is printed, in a site of its own."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import django
import msgspec
import pytest

from producers.django.attributes import Attributes
from producers.django.options import Options
from tests.django_site.mailbox import stored
from tests.printed import programs
from tests.servers import ROOT, clean_environment, eventually
from tests.stack import Stack, running_stack

TEXT = (ROOT / "docs/django.md").read_text()
PROGRAMS = programs("docs/django.md")

SITE = """
SECRET_KEY = "secret"
USE_TZ = True
DEFAULT_FROM_EMAIL = "shop@example.com"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}}
INSTALLED_APPS = ["shop"]
"""
START = "import django\ndjango.setup()\n"
OUTBOX = """
import logging
from django.db import connection, transaction
from shop.models import Outbox, flush, send_later
with connection.schema_editor() as editor:
    editor.create_model(Outbox)
mail = {"subject": "Paid", "body": "Thank you.", "to": ["outbox@example.com"]}
with transaction.atomic():
    send_later(**mail)
assert not Outbox.objects.exists()
try:
    with transaction.atomic():
        send_later(**mail | {"to": ["rollback@example.com"]})
        raise ZeroDivisionError
except ZeroDivisionError:
    pass
# Two crashes: one before the mail is enqueued, one before its row is deleted.
left = Outbox.objects.create(mail=mail | {"to": ["left@example.com"]})
logging.disable()
invalid = Outbox.objects.create(mail=mail | {"to": ["nobody"]})
flush()
left.save(force_insert=True)
flush()
assert not Outbox.objects.exists()
"""


#: Django runs the hooks in turn, so this process dies between the commit and the enqueue.
DIE_AFTER_COMMIT = """
import os, signal
from django.core.mail import send_mail
from django.db import transaction
from shop.models import send_later
with transaction.atomic():
    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    send_later(subject="Paid", body="Thank you.", to=["killed@example.com"])
    send_mail("Paid", "Thank you.", None, ["gap@example.com"])
"""
#: And this one between the enqueue and the end of the outbox's row.
DIE_AFTER_ENQUEUE = """
import os, signal
from django.db.models.signals import pre_delete
from shop.models import Outbox, flush
pre_delete.connect(lambda **_: os.kill(os.getpid(), signal.SIGKILL), sender=Outbox, weak=False)
flush()
"""
FLUSH = """
from shop.models import Outbox, flush
flush()
assert not Outbox.objects.exists()
"""
CHANGED = """
from django.test.utils import override_settings
with override_settings(DEFAULT_FROM_EMAIL="other@example.com"):
    from shop.models import Outbox, flush
    flush()
assert not Outbox.objects.exists()
"""


def printed(word: str) -> str:
    """The program with this word in it."""
    (program,) = [program for program in PROGRAMS if word in program]
    return program


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory with a Django site whose settings and models are the printed ones."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/models.py").write_text(printed("class Outbox"))
    settings = SITE + printed("INSTALLED_APPS +=") + printed('"ON_COMMIT"')
    if django.VERSION >= (6, 1):
        settings = settings.replace("EMAIL_BACKEND", "# EMAIL_BACKEND") + printed("MAILERS")
    (tmp_path / "host_settings.py").write_text(settings)
    return tmp_path


def started(program: str, host: Path, stack: Stack) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {
        "PYTHONPATH": f"{host}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "host_settings",
        "POSTROOM_REDIS_URL": stack.redis.url,
    }
    command = [sys.executable, "-c", START + program]
    return subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True, check=False)


def run(program: str, host: Path, stack: Stack) -> None:
    done = started(program, host, stack)
    assert (done.returncode, done.stderr) == (0, "")


def dies(program: str, host: Path, stack: Stack) -> None:
    assert started(program, host, stack).returncode == -signal.SIGKILL


def recipients(stack: Stack) -> list[str]:
    return [line["recipients"][0] for line in stack.sandbox.accepted()]


def test_the_printed_calls_send_what_they_say(host: Path, stack: Stack) -> None:
    run(printed("send_mass_mail(["), host, stack)
    eventually(lambda: len(recipients(stack)) >= 4, timeout=30)
    assert sorted(recipients(stack)) == ["ann@example.com"] * 3 + ["bob@example.com"]
    run(printed("send_mass_mail(["), host, stack)
    eventually(lambda: len(recipients(stack)) >= 7, timeout=30)
    assert len(recipients(stack)) == 7, "the one with a key has been sent before"


def test_the_printed_outbox_sends_each_mail_once_whenever_the_site_dies(host: Path, stack: Stack) -> None:
    run(OUTBOX, host, stack)
    eventually(lambda: {"outbox@example.com", "left@example.com"} <= set(recipients(stack)), timeout=30)
    sent = recipients(stack)
    assert [sent.count(f"{name}@example.com") for name in ("outbox", "left", "rollback")] == [1, 1, 0]


CREATE = """
from django.db import connection
from shop.models import Outbox
with connection.schema_editor() as editor:
    editor.create_model(Outbox)
"""


def sent_until_now(stack: Stack) -> list[str]:
    """The recipients, once all that is enqueued is sent: then its body is kept no longer."""
    eventually(lambda: not stored(stack.redis.url), timeout=30)
    return recipients(stack)


@pytest.mark.parametrize("rest", [FLUSH, CHANGED], ids=["same settings", "changed settings"])
def test_a_kill_before_or_after_the_enqueue_leaves_each_mail_of_the_outbox_to_be_sent_once(
    rest: str, host: Path, stack: Stack
) -> None:
    before = sent_until_now(stack).count("killed@example.com")
    run(CREATE, host, stack)
    dies(DIE_AFTER_COMMIT, host, stack)
    sent = sent_until_now(stack)
    assert sent.count("killed@example.com") == before, "it is stored, and not enqueued"
    assert "gap@example.com" not in sent, "without an outbox it is lost"

    dies(DIE_AFTER_ENQUEUE, host, stack)
    assert sent_until_now(stack).count("killed@example.com") == before + 1
    run(rest, host, stack)
    run(FLUSH, host, stack)
    assert sent_until_now(stack).count("killed@example.com") == before + 1
    assert "gap@example.com" not in recipients(stack)


def test_each_option_and_attribute_is_in_its_table() -> None:
    for field in msgspec.structs.fields(Options):
        assert f"| `{field.name.upper()}` |" in TEXT
    for name in Attributes._fields:
        assert re.search(rf"^\| .*`{name}`.* \|", TEXT, re.MULTILINE), name


def test_each_finding_of_the_check_is_in_its_table() -> None:
    raised = set(re.findall(r"postroom\.[EW]\d+", (ROOT / "producers/django/checks.py").read_text()))
    assert raised == set(re.findall(r"postroom\.[EW]\d+", TEXT))


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
