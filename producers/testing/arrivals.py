"""Arrivals: in which order mail came into the ledger, whoever has enqueued it.

The ledger knows it to a millisecond, and an enqueue takes less. So Redis tells each payload that is stored to a
connection that listens.
"""

from urllib.parse import urlsplit
from uuid import uuid4

import redis

PAYLOAD = "postroom:payload:"
#: Keyspace events of strings (https://valkey.io/topics/notifications/).
EVENTS = "K$"


class Arrivals:
    """Listens from now on."""

    def __init__(self, url: str) -> None:
        database = urlsplit(url).path.strip("/") or "0"
        self._prefix = f"__keyspace@{database}__:{PAYLOAD}"
        self._client = redis.Redis.from_url(url, decode_responses=True)
        flags = str(self._client.config_get("notify-keyspace-events")["notify-keyspace-events"])
        if not set(EVENTS) <= set(flags.replace("A", "$")):
            self._client.config_set("notify-keyspace-events", flags + EVENTS)
        self._listener = self._client.pubsub()  # type: ignore[no-untyped-call]
        self._listener.psubscribe(f"{self._prefix}*")
        # Of this process alone: channels are not of one database.
        self._end = f"postroom:testing:{uuid4()}"
        self._listener.subscribe(self._end)
        self._places: dict[str, int] = {}

    def places(self) -> dict[str, int]:
        """The place of each chunk that has come, by its id."""
        self._hear()
        return self._places

    def forget(self) -> None:
        self._hear()
        self._places = {}

    def close(self) -> None:
        self._listener.close()
        self._client.close()

    def _hear(self) -> None:
        """All that was told up to now: what comes before the end that is told here."""
        self._client.publish(self._end, "")
        for told in self._listener.listen():
            if told["type"] == "message":
                return
            if told["type"] == "pmessage":
                self._places.setdefault(told["channel"].removeprefix(self._prefix), len(self._places))
