"""System check: `manage.py check` names the settings that are wrong, and with `--deploy` those that are missing."""

from typing import Any

from django.conf import global_settings
from django.conf import settings as site
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004  # Django's names
from django.db import connections

from postroom.errors import ConfigurationError
from postroom.settings import Settings
from producers.django.options import Configuration

BACKEND = "producers.django.EmailBackend"


def check_settings(**_: Any) -> list[CheckMessage]:
    """That mail goes to Postroom, and that Postroom's settings make sense."""
    found: list[CheckMessage] = []
    if not _names_a_backend():
        hint = f'Set EMAIL_BACKEND = "{BACKEND}"; since Django 6.1, it may be a BACKEND in MAILERS.'
        found.append(Warning("EMAIL_BACKEND is not set, so mail does not go to Postroom.", hint, id="postroom.W001"))
    try:
        configurations = [Configuration.read(arguments) for arguments in _mailers()]
    except ConfigurationError as error:
        return [*found, Error(str(error), id="postroom.E001")]
    for options, _settings in configurations:
        if options.database not in connections:
            message = f"POSTROOM['DATABASE'] is {options.database!r}, which is not among DATABASES."
            found.append(Error(message, id="postroom.E002"))
    return found


def check_deployment(**_: Any) -> list[CheckMessage]:
    """That what has a default which serves development alone is set."""
    found: list[CheckMessage] = []
    if site.DEFAULT_FROM_EMAIL == global_settings.DEFAULT_FROM_EMAIL:
        hint = "SendGrid refuses mail from a sender that is not verified there."
        message = f"DEFAULT_FROM_EMAIL is not set, so mail comes from {site.DEFAULT_FROM_EMAIL}."
        found.append(Warning(message, hint, id="postroom.W002"))
    try:
        urls = {configuration.settings.redis_url for configuration in map(Configuration.read, _mailers())}
    except ConfigurationError:
        return found  # check_settings tells
    if Settings().redis_url in urls:
        hint = "Set POSTROOM_REDIS_URL in the environment, or POSTROOM['REDIS_URL'] in Django's settings."
        found.append(Warning("Mail is enqueued in the Redis of this machine.", hint, id="postroom.W003"))
    return found


def _names_a_backend() -> bool:
    return bool(site.is_overridden("EMAIL_BACKEND") or site.is_overridden("MAILERS"))


def _mailers() -> list[dict[str, Any]]:
    """The options of each mailer that is Postroom's (Django 6.1); those of the one without any, else."""
    mailers = getattr(site, "MAILERS", {}).values()
    ours = [mailer.get("OPTIONS", {}) for mailer in mailers if mailer.get("BACKEND") == BACKEND]
    return [{name: value for name, value in options.items() if name != "fail_silently"} for options in ours] or [{}]
