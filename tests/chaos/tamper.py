"""Tamper: does to the wake-ups that wait in the lanes what a message broker may do to messages, and worse."""

import json
import random
from collections import Counter
from contextlib import suppress

import redis

from postroom.names import DELIVER, DRAIN, Lane
from postroom.wakeup import drain_template

#: What may be done to a message. Each is one step of Redis, so that no worker comes between.
SCRIPTS = {
    "deleted": "return redis.call('LSET', KEYS[1], place, '-') and redis.call('LREM', KEYS[1], 1, '-')",
    "doubled": "redis.call('LPUSH', KEYS[1], message) return 1",
    "reordered": "redis.call('LSET', KEYS[1], place, '-') redis.call('LREM', KEYS[1], 1, '-') "
    "redis.call(ARGV[2], KEYS[1], message) return 1",
    "replaced": "redis.call('LSET', KEYS[1], place, ARGV[2]) return 1",
}
CHOOSE = """
local length = redis.call('LLEN', KEYS[1])
if length == 0 then return 0 end
local place = tonumber(ARGV[1]) % length
local message = redis.call('LINDEX', KEYS[1], place)
"""
NOBODY = "a" * 20


def garbage(chance: random.Random) -> str:
    """Something that is a message, but not one of ours, or not any more."""
    message = json.loads(drain_template(Lane.BULK).replace("@AT@", "0"))
    headers = message["headers"]
    match chance.randrange(5):
        case 0:
            headers["task"] = "postroom.unheard_of"
        case 1:  # of a batch that is long gone
            headers |= {"task": DELIVER, "id": f"{NOBODY}.0"}
            message["body"] = json.dumps([[f"{NOBODY}.0"], {}, {}])
        case 2:
            message["body"] = json.dumps([["no lane"], {}, {}])
        case 3:
            message["body"] = json.dumps([[], {"too": "many", "words": 1}, {}])
        case 4:
            headers |= {"task": DRAIN, "id": "again"}
    return json.dumps(message)


#: Lines that are no message at all.
RUBBISH = ("", "not json", '{"half": ', "[]", "{}", "null", '{"body": 1, "headers": {}, "properties": {}}', "\x80")


class Tamperer:
    """Counts each message that it has changed, by what it did to it."""

    def __init__(self, client: "redis.Redis", chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.counts.total()

    def tamper(self, most: int) -> None:
        """With up to `most` messages."""
        for _ in range(self._chance.randint(1, most)):
            kind = self._chance.choice([*SCRIPTS, "put in"])
            lane = self._chance.choice(list(Lane))
            with suppress(redis.RedisError):
                self.counts[kind] += self._put_in(lane) if kind == "put in" else self._do(kind, lane)

    def _do(self, kind: str, lane: Lane) -> int:
        detail = self._chance.choice(("LPUSH", "RPUSH")) if kind == "reordered" else self._junk()
        script = CHOOSE + SCRIPTS[kind]
        return int(self._client.eval(script, 1, lane, self._chance.randrange(10_000), detail))

    def _put_in(self, lane: Lane) -> int:
        self._client.lpush(lane, self._junk())
        return 1

    def _junk(self) -> bytes:
        if self._chance.random() < 0.5:
            return self._chance.choice(RUBBISH).encode("latin-1")
        return garbage(self._chance).encode()
