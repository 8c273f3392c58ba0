"""Address: a recipient that asks for a fault.

    WORD[-SECONDS][xTIMES][pPERCENT][+ANYTHING]@sandbox.test

    503@sandbox.test               always answers 503
    503x2+order-17@sandbox.test    answers 503 twice for each mail, then accepts it
    accept-hangp10@sandbox.test    accepts and never answers, for one mail in ten
    latency-1.5@sandbox.test       answers 1.5 seconds late

`WORDS` has all the words. SECONDS is how long `latency` waits, how long `limited` asks to wait, and how long `drip`
waits from byte to byte; for the others, a latency before the fault.
"""

import re
from functools import lru_cache
from typing import Any

import msgspec

from sandbox.rules import STATUSES, Kind, Rule

DOMAIN = "@sandbox.test"

#: The words that an address can begin with.
WORDS: dict[str, Rule] = {
    "latency": Rule(fault=Kind.LATENCY, latency=1.0),
    "limited": Rule(fault=Kind.LIMITED),
    "429": Rule(fault=Kind.LIMITED),
    **{str(status): Rule(fault=Kind.STATUS, status=status) for status in STATUSES},
    "reject": Rule(fault=Kind.REJECTED),
    "sender": Rule(fault=Kind.SENDER),
    "hang": Rule(fault=Kind.HANG),
    "reset": Rule(fault=Kind.RESET),
    **{f"accept-{status}": Rule(fault=Kind.ACCEPT_THEN_STATUS, status=status) for status in STATUSES},
    "accept-hang": Rule(fault=Kind.ACCEPT_THEN_HANG),
    "accept-reset": Rule(fault=Kind.ACCEPT_THEN_RESET),
    "accept-close": Rule(fault=Kind.ACCEPT_THEN_CLOSE),
    "no-receipt": Rule(fault=Kind.NO_RECEIPT),
    "drip": Rule(fault=Kind.DRIP),
    "garbage": Rule(fault=Kind.GARBAGE),
    "truncated": Rule(fault=Kind.TRUNCATED),
    "huge": Rule(fault=Kind.HUGE),
}

#: What SECONDS of an address means; for other faults it is the latency.
_SECONDS = {Kind.LIMITED: "reset_after", Kind.DRIP: "interval"}

_ADDRESS = re.compile(
    rf"(?P<word>{'|'.join(WORDS)})(-(?P<seconds>\d+(\.\d+)?))?(x(?P<times>\d+))?(p(?P<percent>\d+))?(\+.*)?"
    + re.escape(DOMAIN)
)


@lru_cache(maxsize=10_000)
def rule_of(address: str) -> Rule | None:
    """What an address (in lower case) asks for; None for an ordinary one, or one that asks for nothing, as `503x0`."""
    asked = _ADDRESS.fullmatch(address)
    if asked is None:
        return None
    rule = WORDS[asked["word"]]
    changes: dict[str, Any] = {}
    if asked["seconds"]:
        changes[_SECONDS.get(rule.fault, "latency")] = float(asked["seconds"])
    if asked["times"]:
        changes["times"] = int(asked["times"])
    if asked["percent"]:
        changes["probability"] = min(int(asked["percent"]), 100) / 100
    try:
        return msgspec.convert(msgspec.structs.asdict(rule) | changes, Rule)
    except msgspec.ValidationError:
        return None
