"""Arguments: nonsense for the client's calls. It is a `ValueError`, `TypeError` or `PostroomError` in clear words."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

from celery import Celery, chain, group

from postroom.errors import PostroomError
from postroom.ids import new_id
from producers import Postroom
from tests.chaos.fuzz.clarity import unclear
from tests.chaos.fuzz.findings import Findings
from tests.chaos.fuzz.nonsense import NUMBERS, TEXTS, garbled, value
from tests.mails import mail

_celery = Celery(set_as_current=False)
_signature = _celery.signature("a.task")

STRANGERS: list[Any] = [
    *(None, True, b"bytes", object(), [], {}, (), {1}, 1j, Decimal("NaN"), Decimal(1), date(2026, 1, 1), print, ...),
    *(datetime(2026, 1, 1), datetime.min.replace(tzinfo=UTC)),  # noqa: DTZ001  # no time zone
    *(datetime.max.replace(tzinfo=timezone(timedelta(hours=-23))), timedelta(days=1), "x" * 1_000_000),
    *(_signature, _celery.signature("a.task", args=[object()]), chain(_signature, _signature), group([_signature])),
]

#: The arguments of each call.
CALLS: dict[str, tuple[str, ...]] = {
    "enqueue": ("mail", "key", "lane", "expires_in", "send_at", "on_doubt", "id"),
    "enqueue_batch": ("mails", "key", "lane", "expires_in", "send_at", "on_doubt", "then"),
    "enqueue_merge": (
        *("template", "recipients", "per_request", "key", "lane", "expires_in", "send_at", "on_doubt", "then"),
    ),
    "status": ("id",),
    "progress": ("batch_id",),
    "report": ("batch_id",),
    "cancel": ("id",),
}


#: What is right for each, where something must be given.
GOOD: dict[str, dict[str, Any]] = {
    "enqueue": {"mail": mail()},
    "enqueue_batch": {"mails": [mail()]},
    "enqueue_merge": {
        "template": {name: value for name, value in mail().items() if name != "personalizations"},
        "recipients": ["ann@example.com", {"to": [{"email": "bob@example.com"}]}],
    },
}


class Arguments:
    def __init__(self, postroom: Postroom, findings: Findings) -> None:
        self._postroom = postroom
        self._findings = findings
        self._known = [postroom.enqueue(mail()), postroom.enqueue_batch([mail()]).id]

    def try_one(self, random: Random) -> str:
        name = random.choice(("enqueue", "enqueue", "enqueue_batch", "enqueue_batch", "enqueue_merge", *CALLS))
        good: dict[str, Any] = GOOD.get(name, {})
        wrong = {argument: self._value(random) for argument in random.sample(CALLS[name], 1)}
        call: Callable[..., Any] = getattr(self._postroom, name)
        try:
            call(**good | wrong)
        except (ValueError, TypeError, PostroomError) as error:
            if what := unclear(str(error)):
                ((argument, given),) = wrong.items()
                self._findings.add(f"{name}({argument}=…): {type(error).__name__}: {what}", _shown(given))
            return "refused"
        except Exception as error:  # noqa: BLE001  # that is what is looked for
            ((argument, given),) = wrong.items()
            self._findings.add(f"{name}({argument}=…): {type(error).__name__}: {str(error)[:80]}", _shown(given))
            return "failed"
        return "taken"

    def _value(self, random: Random) -> Any:
        how = random.randrange(6)
        if how == 0:
            return random.choice(TEXTS)
        if how == 1:
            return random.choice(NUMBERS)
        if how == 2:
            return value(random)
        if how == 3:
            id = random.choice([*self._known, new_id(), f"{new_id()}.0", f"{self._known[1]}.0.0"])
            return garbled(random, id.encode()).decode(errors="replace") if random.random() < 0.7 else id
        return random.choice(STRANGERS)


def _shown(given: Any) -> str:
    return repr(given)
