"""Mishaps: how each fault looks from outside."""

import math
from collections.abc import Iterator
from itertools import chain, repeat

from postroom import mail as v3
from sandbox import answers
from sandbox.answers import Answer, Headers
from sandbox.mails import Mail
from sandbox.rules import Kind, Rule
from sandbox.wire import Wire

_MESSAGES = {
    401: "The provided authorization grant is invalid, expired, or revoked",
    403: "access forbidden",
    413: "content too large",
    500: "internal server error",
}

#: The beginning of SendGrid's text (twilio.com/docs/api/errors/60222).
_SENDER = "The from address does not match a verified Sender Identity."

_CHUNK = b"x" * 65_536


def answer_of(rule: Rule, address: str, mail: Mail, now: float) -> Answer | None:
    """The answer of a fault that is one; None for a fault below HTTP, which `misbehave` plays."""
    match rule.fault:
        case Kind.STATUS | Kind.ACCEPT_THEN_STATUS:
            return _status(rule)
        case Kind.LIMITED:
            return _limited(rule, now)
        case Kind.REJECTED:
            return _rejected(rule, address, mail.place_of(address))
        case Kind.SENDER:
            return answers.errors(403, [answers.error(rule.message or _SENDER, "from", v3.HELP + "from")])
        case Kind.NO_RECEIPT:
            return Answer(202)
    return None


def _status(rule: Rule) -> Answer:
    status = rule.status or 500
    if status == 302:
        return Answer(302, headers=((b"location", rule.location.encode()),))
    message = rule.message or _MESSAGES.get(status)
    return answers.refusal(status, message) if message else answers.page(status)


def _limited(rule: Rule, now: float) -> Answer:
    """SendGrid's 429: X-RateLimit-Reset is in whole seconds since 1970, so it is rounded up."""
    reset = math.ceil(now + rule.reset_after)
    headers: Headers = (
        (b"x-ratelimit-limit", b"600"),
        (b"x-ratelimit-remaining", b"0"),
        (b"x-ratelimit-reset", b"%d" % reset),
    )
    return answers.errors(429, [{"field": None, "message": rule.message or "too many requests"}], headers)


def _rejected(rule: Rule, address: str, place: tuple[int, str]) -> Answer:
    number, name = place
    field = f"personalizations.{number}"
    message = rule.message or (
        "Each email address in the personalization block should be unique between to, cc, and bcc. "
        f"We found the first duplicate instance of [{address}] in the {field}.{name} field."
    )
    return answers.errors(400, [answers.error(message, field, v3.help_of(field, message))])


async def misbehave(rule: Rule, wire: Wire, receipt: str) -> None:
    """Play a fault below HTTP; ends when the connection is gone."""
    head = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: " + receipt.encode() + b"\r\n"
    match rule.fault:
        case Kind.RESET | Kind.RESET_EARLY | Kind.ACCEPT_THEN_RESET:
            wire.reset()
        case Kind.ACCEPT_THEN_CLOSE:
            wire.close()
        case Kind.GARBAGE:
            wire.write(b"SSH-2.0-OpenSSH_9.2\r\n\x00\xff\xfe not HTTP at all\r\n\r\n")
            wire.close()
        case Kind.TRUNCATED:
            wire.write(head + b'Content-Length: 1000\r\n\r\n{"mess')
            wire.close()
        case Kind.DRIP:
            await _drip(wire, chain(head, b"X-Drip: ", repeat(ord("."))), rule.interval)
        case Kind.HUGE:
            wire.write(head + b"Connection: close\r\n\r\n")
            await _flood(wire)
    await wire.lost.wait()


async def _drip(wire: Wire, data: Iterator[int], interval: float) -> None:
    for byte in data:
        wire.write(bytes([byte]))
        if await wire.lost_within(interval):
            return


async def _flood(wire: Wire) -> None:
    """Write as fast as it is read, up to 6 MB/s."""
    while not await wire.lost_within(0.01):
        if wire.unsent_bytes < len(_CHUNK):
            wire.write(_CHUNK)
