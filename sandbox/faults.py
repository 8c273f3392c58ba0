"""Faults: what goes wrong on request, for whom, and how often.

Ask by address: see `sandbox.addresses`. A mail to several addresses that ask for something has the latencies of all of
them and the first other fault that is not used up.

Ask at run time, for any mail: `PUT /api/faults` with a list of `sandbox.rules.Rule`. They come before the addresses, in
their order. `GET /api/faults` tells how often each struck; `DELETE /api/faults` ends them.

`times` is counted for each mail: by its `postroom_id` where it has one, else by recipient.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from random import Random
from typing import Any, NamedTuple

import msgspec

from sandbox.addresses import DOMAIN, rule_of
from sandbox.rules import Kind, Rule

#: An address, and the `postroom_id` of the mail to it, if it has one.
Recipient = tuple[str, str | None]


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

    def plan(self, recipients: list[Recipient]) -> Plan | None:
        """What is to go wrong with a request for these recipients; None when nothing is."""
        latency = 0.0
        for source, rule, (address, id) in self._candidates(recipients):
            if not self._strikes(source, rule, id or address):
                continue
            latency += rule.latency
            if rule.fault is not Kind.LATENCY:
                return Plan(latency, rule, address)
        return Plan(latency, None, "") if latency else None

    def _candidates(self, recipients: list[Recipient]) -> Iterator[tuple[Hashable, Rule, Recipient]]:
        for place, rule in enumerate(self._rules):
            words = (rule.match or "").lower()
            struck = next((each for each in recipients if words in each[0].lower()), None)
            if struck is not None and rule.fault is not Kind.RESET_EARLY:
                yield place, rule, struck
        for recipient in recipients:
            name = recipient[0].lower()
            if name.endswith(DOMAIN) and (asked := rule_of(name)):
                yield name, asked, recipient

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
