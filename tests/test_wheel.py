"""The wheel: what a web app gets into its site-packages, and what it loads of it."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import Distribution, distribution, distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.servers import ROOT, clean_environment

PACKAGES = ("postroom", "producers", "sandbox", "worker")

#: Enqueues one mail, as a web app does.
ENQUEUE = """
import producers
with producers.Postroom() as postroom:
    postroom.enqueue({
        "personalizations": [{"to": [{"email": "ann@example.com"}]}],
        "from": {"email": "shop@example.com"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hello Ann"}],
    })
"""

#: Imports every module of a package.
IMPORT_ALL = """
import importlib, pkgutil
package = importlib.import_module("PACKAGE")
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""

#: Makes the modules that it is called with look as if they were not installed.
HIDE = """
import sys
class Hider:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hider())
"""

#: Prints which modules are loaded, and from where `postroom` came.
SHOW = """
import json, sys
print(json.dumps({"modules": sorted(sys.modules), "postroom": sys.modules["postroom"].__file__}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built."""
    directory = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)], cwd=ROOT)
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The paths of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the wheel was installed into, far from the repository."""
    directory = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    run([*pip, "--target", str(directory), str(wheel)], cwd=directory)
    return directory


def run(command: list[str], cwd: Path, **environment: str) -> str:
    """Run a program to its end and return what it printed; fails with its errors if it failed."""
    result = subprocess.run(
        command, cwd=cwd, env={**clean_environment(), **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_installed(site: Path, arguments: list[str], **environment: str) -> str:
    """Run Python on the installed wheel and this environment's other packages, outside the repository.

    `-S` leaves out the `.pth` file of a development environment, which would bring the repository back.
    """
    path = os.pathsep.join((str(site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    return run([sys.executable, "-S", *arguments], cwd=site.parent, PYTHONPATH=path, **environment)


def installed_by(site: Path, extra: str) -> set[str]:
    """The distributions that installing the wheel with an extra brings, without those for other platforms."""
    (wheel,) = distributions(name="postroom", path=[str(site)])
    found: set[str] = set()
    waiting = required(wheel, extra)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting |= required(distribution(name))
    return found


def required(package: Distribution, extra: str = "") -> set[str]:
    """The names of the distributions that a distribution requires itself."""
    requirements = [Requirement(text) for text in package.requires or []]
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }


def test_the_wheel_puts_no_module_of_another_name_into_site_packages(names: set[str]) -> None:
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(PACKAGES)


def test_the_wheel_keeps_the_celery_configuration_inside_the_package(names: set[str]) -> None:
    assert "postroom/celeryconfig.py" in names


def test_the_wheel_has_every_file_of_the_packages(names: set[str]) -> None:
    files = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.*")}
    assert {name for name in files if "__pycache__" not in name} <= names
    assert any(name.endswith(".lua") for name in names)
    assert any(name.startswith("sandbox/templates/") for name in names)


def test_the_wheel_installs_the_command(site: Path) -> None:
    assert "doctor" in run_installed(site, [str(site / "bin" / "postroom"), "--help"])


def test_a_web_app_loads_neither_the_worker_nor_a_web_framework(site: Path, redis_url: str) -> None:
    shown = json.loads(run_installed(site, ["-c", ENQUEUE + SHOW], POSTROOM_REDIS_URL=redis_url))
    assert Path(shown["postroom"]).is_relative_to(site)
    loaded = {name.split(".")[0] for name in shown["modules"]}
    strangers = {
        "worker",
        "sandbox",
        "celeryconfig",
        "pycurl",
        "sendgrid",
        "httpx",
        "starlette",
        "fastapi",
        "flask",
        "uvicorn",
        "rich",
        "jinja2",
    }
    assert loaded & strangers == set()


@pytest.mark.parametrize(
    ("extra", "program"),
    [
        ("", ENQUEUE),
        ("cli", IMPORT_ALL.replace("PACKAGE", "producers.cli")),
        ("worker", IMPORT_ALL.replace("PACKAGE", "worker")),
        ("sandbox", IMPORT_ALL.replace("PACKAGE", "sandbox")),
        ("gateway", IMPORT_ALL.replace("PACKAGE", "producers.gateway")),
        ("fastapi", "import producers.fastapi"),
        ("flask", "import producers.flask"),
        ("django", "import producers.django"),
    ],
    ids=["a web app", "the command line", "the worker", "the sandbox", "the gateway", "FastAPI", "Flask", "Django"],
)
def test_each_part_needs_only_what_its_extra_installs(site: Path, redis_url: str, extra: str, program: str) -> None:
    installed = installed_by(site, extra)
    absent = [
        module
        for module, homes in packages_distributions().items()
        if module not in PACKAGES and not installed & {canonicalize_name(home) for home in homes}
    ]
    assert "pytest" in absent
    run_installed(site, ["-c", HIDE + program, *absent], POSTROOM_REDIS_URL=redis_url, SENDGRID_API_KEY="SG.test")


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_host_with_shared_tasks_and_no_app_keeps_its_broker(site: Path, redis_url: str, order: str) -> None:
    host = """
from celery import current_app, shared_task
@shared_task
def host_task(): ...
"""
    show = "print(host_task.app.connection_for_write().hostname, current_app.conf.result_backend)"
    program = ENQUEUE + host + show if order == "before" else host + ENQUEUE + show
    environment = {"POSTROOM_REDIS_URL": redis_url, "CELERY_BROKER_URL": "memory://host"}
    assert run_installed(site, ["-c", program], **environment).split() == ["host", "None"]


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_host_with_an_app_of_its_own_keeps_its_broker(site: Path, redis_url: str, order: str) -> None:
    host = """
from celery import Celery, current_app, shared_task
app = Celery("host", broker="memory://host", backend="cache+memory://")
app.set_default()
@shared_task
def host_task(): ...
"""
    show = """
assert current_app._get_current_object() is app and host_task.app is app
print(current_app.connection_for_write().hostname, app.conf.result_backend)
"""
    program = ENQUEUE + host + show if order == "before" else host + ENQUEUE + show
    shown = run_installed(site, ["-c", program], POSTROOM_REDIS_URL=redis_url)
    assert shown.split() == ["host", "cache+memory://"]
