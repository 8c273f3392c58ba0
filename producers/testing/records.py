"""Records: the ledger's steps that only tests take: to read all of it, to empty it, and to hold its workers."""

import hashlib
from typing import Any

import msgspec

from postroom.call import Call
from postroom.script import Script

#: Says that this database is a test session's, and may be emptied.
MARK = "postroom:testing"

#: All chunks (a single is one), in one step. Of a batch that is not sealed yet, nothing is enqueued.
_READ = """
local found = {}
for _, key in ipairs(redis.call('KEYS', 'postroom:chunk:*')) do
  local id = key:sub(#'postroom:chunk:' + 1)
  local batch = id:match('^([^.]+)%.')
  local key_of = batch and ('postroom:batch:' .. batch) or key
  if not batch or redis.call('HEXISTS', key_of, 'sealed') == 1 then
    local chunk = redis.call('HMGET', key, 'states', 'lane', 'policy', 'created', 'expires', 'send_at')
    found[#found + 1] = { id, redis.call('HGET', key_of, 'key'), redis.call('GET', 'postroom:payload:' .. id),
      unpack(chunk) }
  end
end
return found
"""

#: Workers that run must find what they remember: how far they have seen the ledger, that they are alive, and Celery's
#: queues. While they are held, each claim is refused, as after a restore of Redis.
_EMPTY = """
local kept = { ['postroom:step'] = true, ['postroom:owners'] = true, [ARGV[1]] = true }
for _, key in ipairs(redis.call('KEYS', '*')) do
  if not kept[key] and key:sub(1, 7) ~= '_kombu.' then redis.call('DEL', key) end
end
redis.call('SET', ARGV[1], 1)
if ARGV[2] == 'held' then redis.call('HSET', 'postroom:stopped', 'why', 'held by a test') end
"""


class ChunkRecord(msgspec.Struct, frozen=True, array_like=True):
    """A chunk as it is stored; `key` is hashed, times are milliseconds of the Unix clock."""

    id: str
    key: str | None
    payload: bytes | None
    states: str
    lane: str
    policy: str
    created: int
    expires: int
    send_at: int | None


def read() -> Call[list[ChunkRecord]]:
    """All that is enqueued, in no order."""
    return Call(_script("read", _READ), (), lambda reply: [_record(values) for values in reply])


def empty(*, held: bool) -> Call[Any]:
    """Forget all mail. `held`: from now on, no worker takes any, until `release`."""
    return Call(_script("empty", _EMPTY), (MARK, "held" if held else ""), lambda reply: reply)


def hold() -> Call[Any]:
    return Call(None, ("HSET", "postroom:stopped", "why", "held by a test"), int)


def release() -> Call[Any]:
    """Workers take mail from now on."""
    return Call(None, ("DEL", "postroom:stopped"), int)


def erase() -> Call[Any]:
    """Leave an empty database behind."""
    return Call(None, ("FLUSHDB",), bool)


def is_ours() -> Call[bool]:
    """Whether this database is empty, or a test session's."""
    script = "return (redis.call('DBSIZE') == 0 or redis.call('EXISTS', ARGV[1]) == 1) and 1 or 0"
    return Call(_script("is_ours", script), (MARK,), bool)


def nap(seconds: float) -> Call[Any]:
    """Wait. Redis does, so neither a thread nor an event loop is held up for it."""
    return Call(None, ("BLPOP", "postroom:testing:nothing", seconds), lambda reply: reply)


def _script(name: str, text: str) -> Script:
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _record(values: list[Any]) -> ChunkRecord:
    id, key, payload, states, lane, policy, created, expires, send_at = values
    return ChunkRecord(
        id=id.decode(),
        key=key and key.decode(),
        payload=payload,
        states=states.decode(),
        lane=lane.decode(),
        policy=policy.decode(),
        created=int(created),
        expires=int(expires),
        send_at=send_at and int(send_at),
    )
