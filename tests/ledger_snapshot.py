"""Snapshot: all that the ledger has stored, read in one step, key by key, without the ledger's own code."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import msgspec
import redis

READ_ALL = """#!lua flags=no-writes
local reads = {
  string = { 'GET' }, hash = { 'HGETALL' }, set = { 'SMEMBERS' },
  list = { 'LRANGE', 0, -1 }, zset = { 'ZRANGE', 0, -1, 'WITHSCORES' },
}
local found = {}
for _, key in ipairs(redis.call('KEYS', 'postroom:*')) do
  local read = reads[redis.call('TYPE', key).ok]
  found[#found + 1] = { key, redis.call('PEXPIRETIME', key), redis.call(read[1], key, unpack(read, 2)) }
end
return found
"""
#: Attempts, last change (seconds), receipt.
RECORD = struct.Struct(">BI22s")
#: Counters of wake-ups, which nothing but wake-ups depends on.
OF_WAKE_UPS = ("announced_again",)


class StoredMail(NamedTuple):
    attempts: int
    changed_at: int | None
    receipt: str
    note: dict[str, Any]


class StoredChunk(NamedTuple):
    states: str
    live: int


class Snapshot:
    """`ends` tells of each key whether Redis will drop it."""

    def __init__(self, found: Sequence[tuple[bytes, int, Any]]) -> None:
        keys = [key.decode().removeprefix("postroom:") for key, _, _ in found]
        self._values = {key: value for key, (_, _, value) in zip(keys, found, strict=True)}
        self._ends = {key: ends for key, (_, ends, _) in zip(keys, found, strict=True)}
        self.chunks = {
            id: StoredChunk(fields["states"], int(fields.get("live", 0))) for id, fields in self._hashes("chunk")
        }
        self.batches = dict(self._hashes("batch"))
        self.accounts = dict(self._hashes("account"))
        self.windows = dict(self._windows())
        self.stats = {
            name: int(count) for name, count in self._pairs("stats") if name not in OF_WAKE_UPS and int(count)
        }

    @classmethod
    def of(cls, client: "redis.Redis") -> Self:
        """`client` answers in bytes."""
        return cls(client.eval(READ_ALL, 0))

    def mail(self, chunk: str, row: int) -> StoredMail:
        records, notes = self._values.get(f"records:{chunk}", b""), self._values.get(f"notes:{chunk}", [])
        packed = dict(zip(notes[::2], notes[1::2], strict=True)).get(str(row).encode())
        note = msgspec.msgpack.decode(packed) if packed else {}
        record = records[row * RECORD.size : (row + 1) * RECORD.size]
        if not any(record):
            return StoredMail(0, None, "", note)
        attempts, changed_at, receipt = RECORD.unpack(record)
        return StoredMail(attempts, changed_at, receipt.rstrip(b"\0").decode(), note)

    def scores(self, index: str) -> dict[str, int]:
        return {member: int(score) for member, score in self._pairs(index)}

    def items(self, key: str) -> list[str]:
        return [value.decode() for value in self._values.get(key, ())]

    def names(self, kind: str) -> set[str]:
        """The ids of all keys of a kind."""
        return {key.removeprefix(f"{kind}:") for key in self._values if key.startswith(f"{kind}:")}

    def ends(self, key: str) -> int | str | None:
        """When a key ends (milliseconds): None for never, "gone" if it is not there."""
        ends = self._ends.get(key, "gone")
        return None if ends == -1 else ends

    def _pairs(self, key: str) -> Iterator[tuple[str, str]]:
        values = [value.decode() for value in self._values.get(key, ())]
        return zip(values[::2], values[1::2], strict=True)

    def _hashes(self, kind: str) -> Iterator[tuple[str, dict[str, str]]]:
        for id in self.names(kind):
            if not id.endswith(":chunks"):
                values = self._values[f"{kind}:{id}"]
                yield (
                    id,
                    {
                        name.decode(): value.decode(errors="replace")
                        for name, value in zip(values[::2], values[1::2], strict=True)
                    },
                )

    def _windows(self) -> Iterator[tuple[str, tuple[dict[str, list[int]], bool, int]]]:
        """By nonce: the rows of each chunk, whether it is a probe, and until when it lives."""
        values = self._values.get("windows", ())
        for nonce, packed in zip(values[::2], values[1::2], strict=True):
            window = msgspec.msgpack.decode(packed)
            yield nonce.decode(), (dict(window["groups"]), bool(window["probe"]), window["until_ms"])
