"""Faults: what goes wrong on request, for whom, and how often.

Ask by address, in any of a mail's recipients:

    WORD[-SECONDS][xTIMES][pPERCENT][+ANYTHING]@sandbox.test

    503@sandbox.test               always answers 503
    503x2+order-17@sandbox.test    answers 503 twice for each mail, then accepts it
    accept-hangp10@sandbox.test    accepts and never answers, for one mail in ten
    latency-1.5@sandbox.test       answers 1.5 seconds late

`WORDS` has all the words. SECONDS is how long `latency` waits, how long `limited` asks to wait, and how long `drip`
waits from byte to byte; for the others, a latency before the fault. A mail with several such recipients has the
latencies of all of them and the first other fault that is not used up.

Ask at run time, for any mail: `PUT /api/faults` with a list of `Rule`s. They come before the addresses, in their
order. `GET /api/faults` tells how often each struck; `DELETE /api/faults` ends them.

TIMES is counted for each mail: by its `postroom_id` where it has one, else by recipient.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator
from enum import StrEnum
from functools import lru_cache
from random import Random
from typing import Annotated, Any, NamedTuple

import msgspec

DOMAIN = "@sandbox.test"


class Kind(StrEnum):
    """What goes wrong. Those with `then`, and those whose reply is spoilt, have accepted the mail before."""

    LATENCY = "latency"
    LIMITED = "limited"
    STATUS = "status"
    REJECTED = "rejected"
    SENDER = "sender"
    HANG = "hang"
    RESET = "reset"
    RESET_EARLY = "reset_early"
    ACCEPT_THEN_STATUS = "accept_then_status"
    ACCEPT_THEN_HANG = "accept_then_hang"
    ACCEPT_THEN_RESET = "accept_then_reset"
    ACCEPT_THEN_CLOSE = "accept_then_close"
    NO_RECEIPT = "no_receipt"
    DRIP = "drip"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    HUGE = "huge"


MEANINGS = {
    Kind.LATENCY: "Answers late, by `latency` seconds. Any other fault can have a latency too.",
    Kind.LIMITED: "429 with X-RateLimit headers; the limit ends after `reset_after` seconds.",
    Kind.STATUS: "Answers `status`, one of 302 (to another host, `location`), 401, 403, 413, 500, 502, 503, 504.",
    Kind.REJECTED: "400 with an error text that quotes the address.",
    Kind.SENDER: "403 because the From address is no verified sender.",
    Kind.HANG: "Reads the request and never answers.",
    Kind.RESET: "Reads the request, then breaks the connection off (RST).",
    Kind.RESET_EARLY: "Breaks the connection off (RST) before it reads the body. Run time only, without `match`: "
    "the addresses are in the body.",
    Kind.ACCEPT_THEN_STATUS: "Accepts, then answers `status` all the same.",
    Kind.ACCEPT_THEN_HANG: "Accepts and never answers.",
    Kind.ACCEPT_THEN_RESET: "Accepts, then breaks the connection off (RST).",
    Kind.ACCEPT_THEN_CLOSE: "Accepts, then closes the connection without a reply.",
    Kind.NO_RECEIPT: "Accepts and answers 202, but without X-Message-Id.",
    Kind.DRIP: "Accepts and replies one byte each `interval` seconds, for ever.",
    Kind.GARBAGE: "Accepts and replies with something that is not HTTP.",
    Kind.TRUNCATED: "Accepts and replies 202, but closes before the announced end of the body.",
    Kind.HUGE: "Accepts and replies 202 with a body that has no end.",
}

ACCEPTING = frozenset(kind for kind in Kind if MEANINGS[kind].startswith("Accepts"))
STATUSES = (302, 401, 403, 413, 500, 502, 503, 504)

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault, and which mails it strikes.

    Raises `ValueError` when a field is missing that the fault needs, or one is there that makes no sense with it.
    """

    fault: Kind
    #: Strikes mails with a recipient that contains this (any letter case); None: all.
    match: str | None = None
    #: How many requests of one mail it strikes before it goes well; None: always.
    times: Count | None = None
    #: How many requests it strikes in all; None: no limit.
    at_most: Count | None = None
    #: The chance that it strikes a request.
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    #: Seconds to wait before anything happens.
    latency: Seconds = 0.0
    #: For `status` and `accept_then_status`.
    status: int | None = None
    #: The error's text, in place of SendGrid's usual one for this status.
    message: str | None = None
    #: For 302: where to.
    location: str = "http://elsewhere.sandbox.test/v3/mail/send"
    #: For `limited`: seconds until X-RateLimit-Reset.
    reset_after: Seconds = 1.0
    #: For `drip`: seconds between bytes.
    interval: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    def __post_init__(self) -> None:
        if self.fault in (Kind.STATUS, Kind.ACCEPT_THEN_STATUS):
            if self.status not in STATUSES:
                raise ValueError(f"the fault `{self.fault}` needs a `status`, one of {', '.join(map(str, STATUSES))}")
        elif self.status is not None:
            raise ValueError(f"the fault `{self.fault}` has no `status`")
        if self.fault is Kind.RESET_EARLY and self.match is not None:
            raise ValueError("`reset_early` strikes before the recipients are known, so it cannot have a `match`")
        if self.fault is Kind.LATENCY and self.latency == 0:
            raise ValueError("the fault `latency` needs a `latency` in seconds")


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


class Plan(NamedTuple):
    """What is to go wrong with one request: a latency in seconds, then a fault. `address` is whom it strikes."""

    latency: float
    rule: Rule | None
    address: str


class Faults:
    """The rules of the run time, and how often everything struck."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rules: list[Rule] = []
        self._struck: Counter[Hashable] = Counter()

    def replace(self, rules: list[Rule]) -> None:
        """Have these rules from now on, and count anew."""
        self._rules = rules
        self._struck.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """The rules, each with how many requests it `struck`."""
        return [msgspec.to_builtins(rule) | {"struck": self._struck[place]} for place, rule in enumerate(self._rules)]

    def early(self) -> Rule | None:
        """The fault for a request whose body is not read yet."""
        for place, rule in enumerate(self._rules):
            if rule.fault is Kind.RESET_EARLY and self._strikes(place, rule, None):
                return rule
        return None

    def plan(self, recipients: list[str], postroom_ids: list[str]) -> Plan | None:
        """What is to go wrong with a mail to these recipients; None when nothing is."""
        latency = 0.0
        for source, rule, address in self._candidates(recipients):
            if not self._strikes(source, rule, tuple(postroom_ids) or address):
                continue
            latency += rule.latency
            if rule.fault is not Kind.LATENCY:
                return Plan(latency, rule, address)
        return Plan(latency, None, "") if latency else None

    def _candidates(self, recipients: list[str]) -> Iterator[tuple[Hashable, Rule, str]]:
        for place, rule in enumerate(self._rules):
            words = (rule.match or "").lower()
            address = next((to for to in recipients if words in to.lower()), None)
            if address is not None and rule.fault is not Kind.RESET_EARLY:
                yield place, rule, address
        for address in recipients:
            name = address.lower()
            if name.endswith(DOMAIN) and (asked := rule_of(name)):
                yield name, asked, address

    def _strikes(self, source: Hashable, rule: Rule, mail: Hashable) -> bool:
        """Whether a rule strikes this request; if so, it is counted."""
        used_up = rule.times is not None and self._struck[source, mail] >= rule.times
        if used_up or (rule.at_most is not None and self._struck[source] >= rule.at_most):
            return False
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        self._struck[source] += 1
        if rule.times is not None:
            self._struck[source, mail] += 1
        return True
