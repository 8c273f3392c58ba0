"""Opening: the settings and the client that a command works with."""

from typing import TYPE_CHECKING

from postroom.errors import ConfigurationError
from postroom.settings import Settings

if TYPE_CHECKING:
    from producers.client import Postroom


def open_postroom(settings: Settings | None = None) -> "Postroom":
    """A client; `settings` defaults to what the environment says. Raises `ConfigurationError`."""
    from producers.client import Postroom  # noqa: PLC0415  # it loads Celery and Redis' client

    settings = settings or Settings.from_environment()
    try:
        return Postroom(settings)
    except ValueError as error:
        raise ConfigurationError(f"POSTROOM_REDIS_URL can't be used: {error}") from None
