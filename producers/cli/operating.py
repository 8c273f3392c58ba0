"""Operating: the operator that a command works with."""

from typing import TYPE_CHECKING

from postroom.errors import ConfigurationError
from postroom.settings import Settings

if TYPE_CHECKING:
    from producers.operator import Operator


def open_operator(settings: Settings | None = None) -> "Operator":
    """An operator; `settings` defaults to what the environment says. Raises `ConfigurationError`."""
    from producers.operator import Operator  # noqa: PLC0415  # it loads Celery and Redis' client

    settings = settings or Settings.from_environment()
    try:
        return Operator(settings)
    except ValueError as error:
        raise ConfigurationError(f"POSTROOM_REDIS_URL can't be used: {error}") from None
