"""Postroom's door in: hand over a mail, go on, and ask later what became of it.

from producers import Postroom

with Postroom() as postroom:
    mail_id = postroom.enqueue(mail, key="order-1234-receipt")
"""

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
