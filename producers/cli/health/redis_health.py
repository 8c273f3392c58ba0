"""Redis' health: whether it is one that keeps what it has acknowledged, and has room for more."""

from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import ResponseError

from producers.cli.fleet import Fleet
from producers.cli.health.finding import Finding, fine, ill

#: The scripts use flags, which Redis has since then (https://redis.io/docs/latest/develop/programmability/eval-intro/).
OLDEST = 7

#: Above the first part of `maxmemory` it is time to look; above the second, no more mail is taken.
TIGHT, FULL = 0.7, 0.85

#: What has to be set how, and what happens else.
SETTINGS = {
    "appendonly": ("yes", "a restart of Redis loses mail"),
    "appendfsync": ("always", "a crash of Redis loses mail that was already acknowledged"),
    "maxmemory-policy": ("noeviction", "short of memory, Redis throws mail away"),
}


def look(fleet: Fleet) -> Iterator[Finding]:
    """What INFO and CONFIG tell. Raises `Unreachable`."""
    info = fleet.command("INFO", decode=_info)
    yield _version(info)
    yield _role(info)
    config = _config(fleet, "append*") | _config(fleet, "maxmemory*")
    for name, (wanted, otherwise) in SETTINGS.items():
        yield _setting(name, config.get(name) or _told_by_info(name, info), wanted, otherwise)
    yield _memory(info)


def _version(info: Mapping[str, str]) -> Finding:
    version = info.get("redis_version", "unknown")
    shown = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    new_enough = version.split(".")[0].isdigit() and int(version.split(".")[0]) >= OLDEST
    return Finding("Redis version", new_enough, shown, f"Postroom needs Redis {OLDEST} or newer, or Valkey.")


def _role(info: Mapping[str, str]) -> Finding:
    role = info.get("role", "unknown")
    if info.get("cluster_enabled") == "1":
        return ill("Redis role", "a cluster", "Redis Cluster is not supported; use a single Redis.")
    return Finding("Redis role", role != "slave", role, "It is a replica; let POSTROOM_REDIS_URL lead to its primary.")


def _setting(name: str, value: str | None, wanted: str, otherwise: str) -> Finding:
    if value is None:
        advice = f"Redis does not tell. See that it is {wanted}, else {otherwise}."
        return ill(name, "unknown", advice, essential=False)
    advice = f"CONFIG SET {name} {wanted}, and `{name} {wanted}` in its configuration; else {otherwise}."
    return Finding(name, value == wanted, value, advice)


def _told_by_info(name: str, info: Mapping[str, str]) -> str | None:
    """Where CONFIG is not allowed, as with many hosted ones."""
    if name == "appendonly" and "aof_enabled" in info:
        return "yes" if info["aof_enabled"] == "1" else "no"
    return info.get("maxmemory_policy") if name == "maxmemory-policy" else None


def _memory(info: Mapping[str, str]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return fine("memory", f"{_mebibytes(used)} used, no limit (maxmemory 0)")
    share = used / limit
    detail = f"{_mebibytes(used)} of {_mebibytes(limit)} used ({share:.0%})"
    advice = f"Above {FULL:.0%} no more mail is taken: start more workers, or raise maxmemory."
    return Finding("memory", share < TIGHT, detail, advice, essential=share > FULL)


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:,.1f} MiB"


def _config(fleet: Fleet, pattern: str) -> dict[str, str]:
    try:
        return fleet.command("CONFIG", "GET", pattern, decode=_pairs)
    except ResponseError:
        return {}


def _info(reply: Any) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode().splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in lines}


def _pairs(reply: Any) -> dict[str, str]:
    items = list(reply.items()) if isinstance(reply, dict) else list(zip(reply[::2], reply[1::2], strict=True))
    return {name.decode(): value.decode() for name, value in items}
