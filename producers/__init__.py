"""Postroom's door in: hand over a mail, go on, and ask later what became of it.

from producers import Postroom

with Postroom() as postroom:
    mail_id = postroom.enqueue(mail, key="order-1234-receipt")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postroom.answers import DeadLetter, Doubt, Failure, MailStatus
    from postroom.errors import (
        CannotRetry,
        ConfigurationError,
        Fault,
        InvalidEvents,
        InvalidMail,
        KeyConflict,
        NotDead,
        PostroomError,
        QueueFull,
        QueueUnavailable,
        UnknownId,
    )
    from postroom.names import Lane, OnDoubt, State
    from postroom.settings import Settings
    from producers.async_client import AsyncBatch, AsyncPostroom
    from producers.client import Batch, Postroom
    from producers.evidence import Evidence
    from producers.operator import Operator
    from producers.results import AsyncReport, Cancellation, Progress, Report

__all__ = [
    "AsyncBatch",
    "AsyncPostroom",
    "AsyncReport",
    "Batch",
    "Cancellation",
    "CannotRetry",
    "ConfigurationError",
    "DeadLetter",
    "Doubt",
    "Evidence",
    "Failure",
    "Fault",
    "InvalidEvents",
    "InvalidMail",
    "KeyConflict",
    "Lane",
    "MailStatus",
    "NotDead",
    "OnDoubt",
    "Operator",
    "Postroom",
    "PostroomError",
    "Progress",
    "QueueFull",
    "QueueUnavailable",
    "Report",
    "Settings",
    "State",
    "UnknownId",
]

#: Where each of them is. It is loaded when it is first asked for: pytest loads this package for its plugin alone.
_HOMES = {
    "AsyncBatch": "producers.async_client",
    "AsyncPostroom": "producers.async_client",
    "AsyncReport": "producers.results",
    "Batch": "producers.client",
    "Cancellation": "producers.results",
    "CannotRetry": "postroom.errors",
    "ConfigurationError": "postroom.errors",
    "DeadLetter": "postroom.answers",
    "Doubt": "postroom.answers",
    "Evidence": "producers.evidence",
    "Failure": "postroom.answers",
    "Fault": "postroom.errors",
    "InvalidEvents": "postroom.errors",
    "InvalidMail": "postroom.errors",
    "KeyConflict": "postroom.errors",
    "Lane": "postroom.names",
    "MailStatus": "postroom.answers",
    "NotDead": "postroom.errors",
    "OnDoubt": "postroom.names",
    "Operator": "producers.operator",
    "Postroom": "producers.client",
    "PostroomError": "postroom.errors",
    "Progress": "producers.results",
    "QueueFull": "postroom.errors",
    "QueueUnavailable": "postroom.errors",
    "Report": "producers.results",
    "Settings": "postroom.settings",
    "State": "postroom.names",
    "UnknownId": "postroom.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
