"""Option: what a Django site says about its mail, in `settings.POSTROOM` or as a mailer's `OPTIONS`."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, Self

import msgspec
from django.conf import settings as site

from postroom.errors import ConfigurationError
from postroom.names import Lane, OnDoubt
from postroom.settings import Settings


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How the backend enqueues. In `settings.POSTROOM` the names are in capitals."""

    #: Enqueue when the transaction commits, and not at all if it rolls back.
    on_commit: bool = True
    #: The alias of the database whose transactions count.
    database: str = "default"
    #: None is `transactional` for one message, and `bulk` for several in one call.
    lane: Lane | None = None
    #: Seconds. None is the lane's default.
    expires_in: float | None = None
    on_doubt: OnDoubt = OnDoubt.RESEND
    #: How a merge field stands in a legacy template: `-{}-`, say.
    merge_field_format: str = "{}"
    #: Anymail's attributes, for messages that do not set them.
    send_defaults: dict[str, Any] = {}


class Configuration(NamedTuple):
    """The backend's own options, and the settings that all of Postroom's doors have."""

    options: Options
    settings: Settings

    @classmethod
    def read(cls, arguments: Mapping[str, Any] | None = None) -> Self:
        """From `arguments`; what they lack, from `settings.POSTROOM`, then from the environment.

        Raises `ConfigurationError`, which names the setting.
        """
        given = _in_django_settings() | dict(arguments or {})
        own = {name: value for name, value in given.items() if name in OPTIONS}
        common = {name: value for name, value in given.items() if name not in OPTIONS}
        try:
            options = msgspec.convert(own, Options)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"POSTROOM in Django's settings: {_in_capitals(str(error))}") from None
        settings = _in_environment()
        return cls(options, Settings.of(**msgspec.structs.asdict(settings) | common) if common else settings)


OPTIONS = frozenset(Options.__struct_fields__)
NAMES = OPTIONS | frozenset(Settings.__struct_fields__)


@cache
def _in_environment() -> Settings:
    return Settings.from_environment()


def _in_django_settings() -> dict[str, Any]:
    given = getattr(site, "POSTROOM", {})
    if not isinstance(given, Mapping):
        raise ConfigurationError("POSTROOM in Django's settings must be a dict")
    for name in given:
        if not isinstance(name, str) or not name.isupper() or name.lower() not in NAMES:
            known = ", ".join(sorted(NAMES)).upper()
            raise ConfigurationError(f"POSTROOM in Django's settings has no {name!r}; it may have {known}")
    return {name.lower(): value for name, value in given.items()}


def _in_capitals(text: str) -> str:
    for name in OPTIONS:
        text = text.replace(f"`$.{name}`", f"{name.upper()!r}")
    return text
