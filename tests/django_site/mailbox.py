"""Mailbox: the mails that a site has enqueued, read from Redis."""

from collections.abc import Callable
from typing import Any

import msgspec
import redis

from postroom import payload
from tests.stack import ask, ledger

Mailbox = Callable[[], list[dict[str, Any]]]


def stored(redis_url: str) -> list[dict[str, Any]]:
    """The bodies of all mails in Redis, singles and those of batches, in no order."""
    with redis.Redis.from_url(redis_url) as client:
        chunks = [key.decode().rpartition(":")[2] for key in client.scan_iter("postroom:payload:*")]
    packed = [ask(redis_url, ledger().payload(chunk)) for chunk in chunks]
    return [msgspec.json.decode(body) for each in packed if each for body in payload.unpack(each).parts if body]


def recipients(bodies: list[dict[str, Any]]) -> list[str]:
    """The first of each mail."""
    return sorted(body["personalizations"][0]["to"][0]["email"] for body in bodies)
