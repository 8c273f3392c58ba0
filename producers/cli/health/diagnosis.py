"""Diagnosis: what Postroom needs, looked at one by one."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from redis.exceptions import ResponseError

from postroom.connection import Unreachable
from postroom.errors import ConfigurationError
from postroom.names import Lane
from postroom.settings import Settings
from producers.cli.fleet import START_A_WORKER, Fleet, is_of_this_host
from producers.cli.health import ledger_health, redis_health
from producers.cli.health.finding import Finding, fine, ill

#: How long (seconds) Redis and SendGrid's host may take to answer.
REDIS_TIMEOUT, SENDGRID_TIMEOUT = 2.0, 3.0
#: The same of Redis, where a second is all there is.
QUICK = 0.4


def diagnose() -> Iterator[Finding]:
    """Everything, in the order in which it is to be mended."""
    try:
        settings = Settings.from_environment()
        fleet = Fleet(settings, timeout=REDIS_TIMEOUT)
    except ConfigurationError as error:
        yield ill("settings", str(error), "Correct it and run this again; nothing else was looked at.")
        return
    yield fine("settings", "readable")
    with fleet:
        yield from _asked(fleet, settings)
    yield _key(settings)
    yield _sendgrid(settings.sendgrid_url)


def worker_of_this_host() -> Finding:
    """Whether a worker on this host is alive."""
    host = socket.gethostname()
    try:
        with Fleet(Settings.from_environment(), timeout=QUICK) as fleet:
            alive = list(filter(is_of_this_host, fleet.alive()))
    except Unreachable as error:
        return ill("worker", f"Redis is not reachable: {error.detail}", "Is it running?")
    advice = f"Look at its log, or start it: {START_A_WORKER}"
    return Finding("worker", bool(alive), ", ".join(alive) or f"none on {host} was heard of for 5 s", advice)


def _asked(fleet: Fleet, settings: Settings) -> Iterator[Finding]:
    """What Redis can tell."""
    try:
        yield _redis(fleet, settings.redis_url)
        yield from redis_health.look(fleet)
        yield _workers(fleet)
        yield from ledger_health.look(fleet)
        yield from _lanes(fleet)
        yield _garbage(fleet)
        yield _account(fleet)
    except Unreachable as error:
        advice = "Start Redis, or correct POSTROOM_REDIS_URL."
        yield ill("Redis", f"not reachable at {_without_password(settings.redis_url)}: {error.detail}", advice)
    except ConfigurationError as error:
        yield ill("Redis", str(error), "Correct user and password in POSTROOM_REDIS_URL.")
    except ResponseError as error:
        yield ill("Redis", f"it refused a command: {error}", "Give its user the right to all commands.")


def _redis(fleet: Fleet, url: str) -> Finding:
    fleet.command("PING", decode=bool)
    started = time.perf_counter()
    fleet.command("PING", decode=bool)
    return fine("Redis", f"{_without_password(url)} answers in {1000 * (time.perf_counter() - started):.1f} ms")


def _workers(fleet: Fleet) -> Finding:
    alive = fleet.alive()
    detail = f"{len(alive)} alive: {', '.join(alive)}" if alive else "none was heard of for 5 s"
    return Finding("workers", bool(alive), detail, f"Nothing is sent without one. Start it: {START_A_WORKER}")


def _lanes(fleet: Fleet) -> Iterator[Finding]:
    for lane in Lane:
        singles = fleet.ask(fleet.ledger.lane_length(lane))
        # Celery's own list, called like its queue.
        wake_ups = fleet.command("LLEN", lane, decode=int)
        yield fine(f"lane {lane}", f"{singles} single mails and {wake_ups} wake-ups wait")


def _garbage(fleet: Fleet) -> Finding:
    """Messages in the queues that no worker understood."""
    count = fleet.ask(fleet.ledger.garbage_length())
    detail = f"foreign messages set aside: {count}"
    advice = "The workers' logs say why. Look: LRANGE postroom:garbage 0 9. When it is mended: DEL postroom:garbage."
    return Finding("garbage", not count, detail, advice, essential=False)


def _account(fleet: Fleet) -> Finding:
    pauses = fleet.pauses()
    detail = "; ".join(f"{name} is paused: {why}" for name, why in pauses.items()) or "not paused"
    is_refused = any(pause.is_for_the_operator for pause in pauses.values())
    advice = "See the key, its permission Mail Send, and the plan's quota at SendGrid. Workers go on trying."
    if not is_refused:
        advice = "Workers go on by themselves when it is over."
    return Finding("account", not pauses, detail, advice, essential=is_refused)


def _key(settings: Settings) -> Finding:
    try:
        for lane in Lane:
            settings.api_key(lane)
    except ConfigurationError as error:
        return ill("SendGrid's key", str(error), "Only workers need it.", essential=False)
    return fine("SendGrid's key", "set")


def _sendgrid(url: str) -> Finding:
    """Whether a connection can be opened; nothing is sent over it."""
    advice = "Correct POSTROOM_SENDGRID_URL, or let this host's firewall allow it."
    try:
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
        socket.create_connection(address, SENDGRID_TIMEOUT).close()
    except (OSError, ValueError) as error:
        return ill("SendGrid", f"{url} can't be reached: {error}", advice)
    return fine("SendGrid", f"{url} can be reached")


def _without_password(url: str) -> str:
    """An address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
