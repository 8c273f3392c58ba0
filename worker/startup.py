"""Startup: what a worker checks before it takes mail, and what it starts."""

import sys
from typing import NoReturn

from celery.utils.log import get_logger

from postroom import wakeup
from postroom.connection import Connection, Unreachable
from postroom.errors import ConfigurationError
from postroom.ledger import Ledger
from postroom.names import Lane
from postroom.settings import Settings
from worker.caretaker import Caretaker
from worker.endpoint import Endpoint
from worker.owner import current_owner

logger = get_logger("postroom.worker")

#: The caretaker's calls take no longer (seconds).
CARETAKER_TIMEOUT = 1.0


def start_caretaker() -> Caretaker:
    """Check, start, and return the caretaker. Raises `SystemExit` when a worker must not run like this."""
    settings = Settings.from_environment()
    connection = Connection(settings.redis_url, timeout=CARETAKER_TIMEOUT, max_connections=4)
    ledger = Ledger(settings)
    try:
        for lane in Lane:
            Endpoint.of(settings, lane)
        _check_eviction(ledger, connection)
    except ConfigurationError as error:
        _refuse(str(error))
    drains = {lane.value: wakeup.drain_template(lane) for lane in Lane}
    caretaker = Caretaker(ledger, connection, current_owner(), drains)
    caretaker.start()
    return caretaker


def _check_eviction(ledger: Ledger, connection: Connection) -> None:
    """A Redis that evicts keys loses mail. One that does not answer yet, or does not tell, is not refused."""
    try:
        policy = connection.run(ledger.eviction_policy())
    except Unreachable:
        logger.warning("Redis does not answer yet; the worker waits for it")
        return
    if policy is None:
        logger.warning("Redis does not tell its maxmemory-policy; it must be noeviction")
    elif policy != "noeviction":
        raise ConfigurationError(
            f"Redis has maxmemory-policy {policy}: short of memory, it would throw mail away. "
            f"Set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in its configuration)"
        )


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"postroom: {message}\n")
    raise SystemExit(2)
