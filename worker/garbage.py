"""Garbage: foreign messages are set aside in Redis, counted, and told in the log without a word of what is in them."""

import base64
import hashlib
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
from celery.utils.log import get_logger

from postroom.connection import Connection
from postroom.ledger import Ledger
from postroom.settings import Settings
from worker.foreign import Reason

logger = get_logger("postroom.worker")

#: The event loop waits no longer (seconds): it has mail to look after.
REDIS_TIMEOUT = 1.0
#: Of a longer message the rest is cut off (bytes).
KEPT_BYTES = 64 * 1024


class Garbage:
    """Sets foreign messages aside, in the worker's event loop. `clock` tells Unix seconds."""

    def __init__(self, ledger: Ledger, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._connection = connection
        self._clock = clock

    def set_aside(self, raw: bytes, lane: str, reason: Reason) -> None:
        """Keep a message for the operator. Never raises: what Redis refuses is told all the same."""
        entry = entry_of(raw, lane, reason, at=self._clock())
        logger.error(
            "A message of %d bytes in the queue %s is set aside in postroom:garbage as %s (%s): %s",
            len(raw),
            lane,
            entry["id"],
            reason.value,
            reason.explanation,
        )
        try:
            self._connection.run(self._ledger.keep_garbage(msgspec.json.encode(entry)))
        except Exception as error:  # noqa: BLE001  # the messages behind it must not wait
            logger.error("Redis did not take %s, and it is lost: %s", entry["id"], type(error).__name__)  # noqa: TRY400


def entry_of(raw: bytes, lane: str, reason: Reason, *, at: float) -> dict[str, Any]:
    """What is kept. `id` is the beginning of the whole message's SHA-256; what is no UTF-8 is kept as Base64."""
    entry = {
        "id": hashlib.sha256(raw).hexdigest()[:16],
        "at": round(at, 3),
        "lane": lane,
        "reason": reason.value,
        "size_bytes": len(raw),
    }
    kept = raw[:KEPT_BYTES]
    try:
        return entry | {"message": kept.decode()}
    except UnicodeDecodeError:
        return entry | {"message_base64": base64.b64encode(kept).decode()}


@cache
def garbage() -> Garbage:
    """The one of this process, made when it is first needed."""
    settings = Settings.from_environment()
    return Garbage(Ledger(settings), Connection(settings.redis_url, timeout=REDIS_TIMEOUT, max_connections=1))
