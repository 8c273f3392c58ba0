"""Operating: the operator that a command works with, and the ledger's own record of a batch."""

from typing import TYPE_CHECKING

from postroom import ids
from postroom.errors import ConfigurationError, UnknownId
from postroom.settings import Settings
from producers.cli.fleet import Fleet

if TYPE_CHECKING:
    from postroom.answers import BatchRecord
    from producers.operator import Operator


def open_operator(settings: Settings | None = None) -> "Operator":
    """An operator; `settings` defaults to what the environment says. Raises `ConfigurationError`."""
    from producers.operator import Operator  # noqa: PLC0415  # it loads Celery and Redis' client

    settings = settings or Settings.from_environment()
    try:
        return Operator(settings)
    except ValueError as error:
        raise ConfigurationError(f"POSTROOM_REDIS_URL can't be used: {error}") from None


def batch_record(id: str, settings: Settings | None = None) -> "BatchRecord":
    """What the ledger has of a batch. Raises `UnknownId`, and `Unreachable`."""
    with Fleet(settings or Settings.from_environment()) as fleet:
        record = fleet.ask(fleet.ledger.batch(id)) if ids.is_id(id) else None
    if record is None:
        raise UnknownId(id)
    return record
