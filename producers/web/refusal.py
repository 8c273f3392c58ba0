"""Refusal: what a web app answers when a call of Postroom's has raised an error."""

import logging
from typing import Any, NamedTuple

import msgspec

from postroom.errors import (
    CannotRetry,
    InvalidEvents,
    InvalidMail,
    KeyConflict,
    NotDead,
    PostroomError,
    QueueFull,
    QueueUnavailable,
    UnknownId,
)

#: The errors that have an answer. Any other is a bug of the app's, for its own error page.
ANSWERED = (InvalidMail, UnknownId, KeyConflict, QueueUnavailable, QueueFull, InvalidEvents, CannotRetry, NotDead)

#: A client shall wait so long (seconds): a Redis that restarts is back soon; a full one first has to send mail.
AWAY_SECONDS, FULL_SECONDS = 5, 60

AWAY = "The mail queue does not answer right now. Please try again."
MAYBE = "The mail queue did not answer in time, and may have taken this all the same."
FULL = "The mail queue is full. Please try again later."

_log = logging.getLogger("postroom.web")


class Refusal(NamedTuple):
    """A status, a JSON object, and headers. In the object, `error` is a word for programs and `detail` a text."""

    status: int
    document: dict[str, Any]
    headers: dict[str, str]


def refusal_of(error: PostroomError) -> Refusal:
    """The answer to one of the `ANSWERED`. What only operators should know (where Redis is) goes to the log instead."""
    match error:
        case InvalidMail():
            faults = msgspec.to_builtins(error.faults)
            return _refusal(422, "invalid_mail", str(error), row=error.row, faults=faults)
        case UnknownId():
            return _refusal(404, "unknown_id", str(error), id=error.id)
        case KeyConflict():
            return _refusal(409, "key_conflict", str(error), id=error.id)
        case QueueUnavailable():
            _log.warning("503, Redis does not answer: %s", error.detail)
            known = {"id": error.id} if error.may_be_enqueued else {}
            text = MAYBE if error.may_be_enqueued else AWAY
            answer = _refusal(503, "queue_unavailable", text, may_be_enqueued=error.may_be_enqueued, **known)
            return answer._replace(headers={"Retry-After": str(AWAY_SECONDS)})
        case QueueFull():
            _log.warning("503, %s", error)
            return _refusal(503, "queue_full", FULL)._replace(headers={"Retry-After": str(FULL_SECONDS)})
        case InvalidEvents():
            return _refusal(400, "invalid_events", str(error))
        case CannotRetry():
            return _refusal(409, "cannot_retry", str(error), id=error.id, reason=error.reason)
        case NotDead():
            return _refusal(409, "not_dead", str(error), id=error.id)
    raise error


def _refusal(status: int, word: str, text: str, **more: Any) -> Refusal:
    return Refusal(status, {"error": word, "detail": text, **more}, {})
