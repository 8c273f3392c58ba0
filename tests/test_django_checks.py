"""`manage.py check` names the settings of mail that are wrong or missing."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import django
import pytest

from tests.django_site import BACKEND, MAIL
from tests.servers import ROOT, clean_environment

#: A site whose settings are as they should be.
SETTINGS = {
    "SECRET_KEY": "secret",
    "INSTALLED_APPS": ["producers.django"],
    **MAIL,
    "DEFAULT_FROM_EMAIL": "shop@example.com",
    "USE_TZ": True,
}
SERVER = {"POSTROOM_REDIS_URL": "redis://mail.example:6379/0"}


def checked(directory: Path, settings: dict[str, object], environment: dict[str, str], *options: str) -> str:
    """What Django's command prints."""
    (directory / "host_settings.py").write_text("\n".join(f"{name} = {value!r}" for name, value in settings.items()))
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", *options],
        cwd=ROOT,
        env=clean_environment()
        | environment
        | {"PYTHONPATH": f"{directory}:{ROOT}", "DJANGO_SETTINGS_MODULE": "host_settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def found(printed: str) -> set[str]:
    """The ids of Postroom's findings."""
    return {word for word in printed.replace(")", " ").replace("(", " ").split() if word.startswith("postroom.")}


def without(names: Iterable[str]) -> dict[str, object]:
    return {name: value for name, value in SETTINGS.items() if name not in names}


def test_a_site_with_all_its_settings_has_nothing_to_mend(tmp_path: Path) -> None:
    printed = checked(tmp_path, SETTINGS, SERVER, "--deploy", "--tag", "postroom")
    assert "no issues" in printed
    assert found(printed) == set()


@pytest.mark.parametrize(
    ("settings", "environment", "id", "named"),
    [
        (without(MAIL), SERVER, "postroom.W001", "EMAIL_BACKEND is not set"),
        (SETTINGS | {"POSTROOM": {"LANES": "bulk"}}, SERVER, "postroom.E001", "'LANES'"),
        (SETTINGS | {"POSTROOM": {"ON_COMMIT": 3}}, SERVER, "postroom.E001", "'ON_COMMIT'"),
        (SETTINGS, {"POSTROOM_REDIS_URL": "localhost"}, "postroom.E001", "POSTROOM_REDIS_URL"),
        (SETTINGS, {"POSTROOM_REDDIS_URL": "localhost"}, "postroom.E001", "POSTROOM_REDDIS_URL"),
        (SETTINGS | {"POSTROOM": {"DATABASE": "orders"}}, SERVER, "postroom.E002", "'orders'"),
    ],
)
def test_a_wrong_setting_is_named(
    settings: dict[str, object], environment: dict[str, str], id: str, named: str, tmp_path: Path
) -> None:
    printed = checked(tmp_path, settings, environment)
    assert found(printed) == {id}
    assert named in printed


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 6.1 has begun to have mailers")
def test_the_options_of_each_mailer_are_checked(tmp_path: Path) -> None:
    def mailing(**options: object) -> dict[str, object]:
        return SETTINGS | {"MAILERS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}}

    assert found(checked(tmp_path, mailing(fail_silently=True, lane="bulk"), SERVER)) == set()
    assert found(checked(tmp_path, mailing(lanes="bulk"), SERVER)) == {"postroom.E001"}


def test_what_production_needs_is_named_by_the_deployment_check_alone(tmp_path: Path) -> None:
    settings = without(["DEFAULT_FROM_EMAIL"])
    assert found(checked(tmp_path, settings, {})) == set()
    printed = checked(tmp_path, settings, {}, "--deploy", "--tag", "postroom")
    assert found(printed) == {"postroom.W002", "postroom.W003"}
    assert "DEFAULT_FROM_EMAIL" in printed
    assert "POSTROOM_REDIS_URL" in printed
