"""Importing Postroom's Celery app changes nothing for its host, and the host's Celery nothing for Postroom."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT, clean_environment


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A directory with a host's modules and Postroom beside them, laid out as an installed package."""
    shutil.copytree(ROOT / "postroom", tmp_path / "postroom", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "celeryconfig.py", tmp_path / "postroom")
    return tmp_path


def run(host: Path, program: str, **environment: str) -> list[str]:
    """What a host's program prints, in words."""
    environment = clean_environment() | environment | {"PYTHONPATH": os.fspath(host)}
    # Where Postroom is installed for development, its repository is on the path, with a `celeryconfig` at the top.
    elsewhere = f"import sys; sys.path = [path for path in sys.path if path != {os.fspath(ROOT)!r}]\n"
    command = [sys.executable, "-W", "error", "-c", elsewhere + program]
    ended = subprocess.run(command, cwd=host, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


USE = """
from postroom.app import app as postroom
postroom.tasks
assert postroom.conf.task_default_queue == "bulk"
"""


@pytest.fixture(params=["first", "last"])
def order(request: pytest.FixtureRequest) -> str:
    """When the host uses Postroom: before its own Celery or after it."""
    return str(request.param)


def test_a_host_with_an_app_of_its_own_keeps_it(host: Path, order: str) -> None:
    own = """
from celery import Celery, current_app, shared_task
app = Celery("host", broker="memory://host", backend="cache+memory://")
app.set_default()
@shared_task
def task(): ...
"""
    show = """
assert task.app is app and current_app._get_current_object() is app
print(app.conf.broker_url, app.conf.result_backend, app.conf.task_default_queue, app.conf.worker_pool)
"""
    program = USE + own + show if order == "first" else own + USE + show
    assert run(host, program) == ["memory://host", "cache+memory://", "celery", "prefork"]


def test_a_host_with_shared_tasks_alone_keeps_its_celeryconfig(host: Path, order: str) -> None:
    (host / "celeryconfig.py").write_text('broker_url = "memory://host"')
    own = """
from celery import current_app, shared_task
@shared_task
def task(): ...
"""
    show = "print(task.app.main, current_app.conf.broker_url, current_app.conf.task_default_queue)"
    program = USE + own + show if order == "first" else own + USE + show
    assert run(host, program) == ["default", "memory://host", "celery"]


def test_a_host_without_any_configuration_still_has_none(host: Path) -> None:
    show = "from celery import current_app; print(current_app.conf.broker_url, current_app.conf.task_default_queue)"
    assert run(host, USE + show) == ["None", "celery"]


def test_celery_settings_in_the_environment_are_the_hosts_alone(host: Path) -> None:
    (host / "celeryconfig.py").write_text('task_default_queue = "host"')
    (host / "host_config.py").write_text('task_default_queue = "host"')
    environment = {
        "POSTROOM_REDIS_URL": "redis://mail.example:6379/3",
        "CELERY_BROKER_URL": "memory://host",
        "CELERY_BROKER_READ_URL": "memory://host",
        "CELERY_BROKER_WRITE_URL": "memory://host",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "CELERY_LOADER": "host_loader",
        "CELERY_CONFIG_MODULE": "host_config",
    }
    show = """
print(postroom.connection_for_read().hostname, postroom.connection_for_write().hostname, postroom.backend.as_uri())
"""
    assert run(host, USE + show, **environment) == ["mail.example", "mail.example", "redis://mail.example:6379/3"]


def test_a_django_hosts_settings_are_left_alone(host: Path) -> None:
    (host / "host_settings.py").write_text('TIME_ZONE = "Asia/Tokyo"')
    show = """
import sys
print(postroom.conf.timezone, postroom.Task.__module__, "host_settings" in sys.modules)
"""
    assert run(host, USE + show, DJANGO_SETTINGS_MODULE="host_settings") == ["UTC", "celery.app.task", "False"]


def test_importing_the_app_loads_nothing_that_a_producer_has_no_use_for(host: Path) -> None:
    (host / "worker").symlink_to(ROOT / "worker")
    heavy = {"worker", "pycurl", "sendgrid", "starlette", "uvicorn", "rich", "jinja2", "httpx", "celeryconfig"}
    show = f"import sys; print(*sorted({heavy} & set(sys.modules)))"
    assert run(host, USE + show) == []


def test_a_wrong_setting_is_told_when_it_is_needed_and_not_when_the_app_is_imported(host: Path) -> None:
    program = """
from postroom.app import app
from postroom.errors import ConfigurationError
try:
    app.conf.broker_url
except ConfigurationError as error:
    print(error)
"""
    assert "POSTROOM_THREADS" in " ".join(run(host, program, POSTROOM_THREADS="many"))
