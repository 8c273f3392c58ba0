"""Bodies: nonsense handed over as a mail. It is `InvalidMail`, with fields and reasons, or it is a mail."""

import json
from collections import UserDict
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec

from postroom import payload
from postroom.errors import InvalidMail
from producers import Postroom
from tests.chaos.fuzz.clarity import unclear
from tests.chaos.fuzz.findings import Findings
from tests.chaos.fuzz.nonsense import corpus, garbled, mutated, nested, reworded, value

#: What is no JSON, put somewhere into a good body or handed over in place of one.
STRANGERS: list[Any] = [
    *(datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.5"), {1, 2}, b"bytes", object(), print, 1j, ..., type),
    *({1: 2}, {None: 1}, {("a",): 1}, ("a", "b"), range(3), UserDict(a=1), SimpleNamespace(get=lambda: 1)),
    SimpleNamespace(get=None),
]


class Bodies:
    def __init__(self, postroom: Postroom, client: Any, findings: Findings) -> None:
        self._postroom = postroom
        self._client = client
        self._findings = findings
        self._corpus = corpus()

    def try_one(self, random: Random) -> str:
        body = self._body(random)
        try:
            id = self._postroom.enqueue(body)
        except InvalidMail as error:
            self._judge(error, body)
            return "refused"
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            self._findings.add(f"enqueue(mail): {type(error).__name__}: {str(error)[:60]}", body)
            return "failed"
        self._judge_taken(id, body)
        return "taken"

    def _body(self, random: Random) -> Any:
        good = random.choice(self._corpus)
        how = random.randrange(10)
        if how == 0:
            return value(random)
        if how == 1:
            return nested(random)
        if how == 2:
            return garbled(random, json.dumps(good).encode())
        if how == 3:
            return garbled(random, json.dumps(good).encode()).decode(errors="replace")
        if how == 4:
            return random.choice(STRANGERS)
        if how == 5:
            return good | {random.choice(list(good)): random.choice(STRANGERS)}
        if how == 6 and random.random() < 0.1:
            return with_itself(good)
        if how in {6, 7, 8}:
            return reworded(random, good)
        return mutated(random, good)

    def _judge(self, error: InvalidMail, body: Any) -> None:
        if not error.faults:
            self._findings.add("enqueue(mail): InvalidMail without faults", body)
        for fault in error.faults:
            if what := unclear(fault.message):
                self._findings.add(f"enqueue(mail): {what}: {fault.message[:80]!r}", body)
        if what := unclear(str(error)):
            self._findings.add(f"enqueue(mail): str(error) is {what}", body)

    def _judge_taken(self, id: str, body: Any) -> None:
        """What was taken can be sent: it is one JSON object, of which the events of SendGrid will tell the id."""
        (stored,) = payload.unpack(self._client.get(f"postroom:payload:{id}")).parts
        assert stored is not None
        if msgspec.json.decode(stored)["custom_args"]["postroom_id"] != id:
            self._findings.add("enqueue(mail): taken without its id", body)


def with_itself(good: dict[str, Any]) -> dict[str, Any]:
    """A body that contains itself."""
    body = dict(good)
    body["sections"] = body
    return body
