"""Failure: why a command did not do what it was asked to, in words for a person and for a program."""

from collections.abc import Sequence
from typing import Any

import click

from postroom.errors import (
    CannotRetry,
    ConfigurationError,
    Fault,
    InvalidEvents,
    InvalidMail,
    KeyConflict,
    NotDead,
    QueueFull,
    QueueUnavailable,
    UnknownId,
)
from postroom.names import State
from producers.cli.interruption import Interrupted


class CommandFailed(Exception):
    """The expected end of a command that failed.

    `word` is for programs, e.g. `bad_input`; `advice` says what to do next; `code` is the exit code; `details` go into
    the JSON document.
    """

    def __init__(self, word: str, message: str, *, code: int = 1, advice: str = "", **details: Any) -> None:
        super().__init__(word, message)
        self.word = word
        self.message = message
        self.code = code
        self.advice = advice
        self.details = details

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, Any]:
        return {"error": self.word, "message": self.message, "advice": self.advice or None, **self.details}


def bad_input(message: str, advice: str = "", **details: Any) -> CommandFailed:
    """A file or a value that can't be used."""
    return CommandFailed("bad_input", message, code=2, advice=advice, **details)


def invalid(what: str, faults: Sequence[Fault], advice: str, **details: Any) -> CommandFailed:
    """A mail that can't be sent; the faults are listed."""
    return CommandFailed("invalid_mail", f"{what} can't be sent:", code=2, advice=advice, **details, faults=faults)


def in_words(faults: Sequence[Fault]) -> str:
    """The faults of one mail, in one line."""
    return "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)


def explained(error: BaseException) -> CommandFailed | None:
    """An expected error as the failure of a command; None for one that is a bug."""
    match error:
        case CommandFailed():
            return error
        case click.UsageError():
            return _usage(error)
        case click.ClickException():
            return bad_input(error.format_message())
        case click.Abort():
            return CommandFailed("interrupted", "Stopped at once. What is enqueued is sent all the same.", code=130)
        case Interrupted():
            return CommandFailed("interrupted", "Stopped.", code=error.code)
        case ConfigurationError():
            return CommandFailed("configuration", str(error), code=2, advice="`postroom doctor` looks at all of it.")
        case _:
            return _refused(error)


def _usage(error: click.UsageError) -> CommandFailed:
    command = error.ctx.command_path if error.ctx else "postroom"
    return CommandFailed("usage", error.format_message(), code=2, advice=f"`{command} --help` shows what it takes.")


def _refused(error: BaseException) -> CommandFailed | None:
    match error:
        case InvalidMail():
            return invalid("The mail", error.faults, "")
        case KeyConflict():
            return CommandFailed("key_conflict", sentence(f"Nothing was enqueued: {error}"), code=2, id=error.id)
        case UnknownId():
            return CommandFailed("unknown_id", sentence(error), id=error.id)
        case CannotRetry():
            return _not_retried(error)
        case NotDead():
            return CommandFailed("not_dead", f"{error}.", id=error.id, state=error.state)
        case InvalidEvents():
            return bad_input(sentence(error))
        case QueueFull():
            return CommandFailed("queue_full", sentence(error))
        case QueueUnavailable():
            return _unavailable(error)
        case _:
            return _by_redis(error)


#: What to do about a mail that can't be retried, by the reason.
HOW_ELSE = {
    "unresolved": "When you have looked: postroom doubt resolve ID --accepted, or --not-accepted. To send it all the "
    "same: postroom dead retry ID --may-repeat",
    "content_gone": "Only the app that made it can make it again.",
    "busy": "Once the rest of it is through (postroom status ID tells), the same command does it.",
}


def _not_retried(error: CannotRetry) -> CommandFailed:
    advice = HOW_ELSE.get(error.reason, "")
    if error.state == State.IN_DOUBT:
        advice = "Its doubt ends by itself, or by: postroom doubt resolve ID --accepted, or --not-accepted"
    return CommandFailed(error.reason, f"{error}.", advice=advice, id=error.id, state=error.state)


def _unavailable(error: QueueUnavailable) -> CommandFailed:
    return CommandFailed(
        "queue_unavailable",
        sentence(f"Redis is not reachable: {error.detail}"),
        advice="Is it running, and is POSTROOM_REDIS_URL right? `postroom doctor` tells.",
        id=error.id,
        may_be_enqueued=error.may_be_enqueued,
    )


def _by_redis(error: BaseException) -> CommandFailed | None:
    from redis.exceptions import ResponseError  # noqa: PLC0415  # loaded by then, if it was Redis

    from postroom.connection import Unreachable  # noqa: PLC0415

    match error:
        case Unreachable():
            return CommandFailed("queue_unavailable", sentence(f"Redis is not reachable: {error.detail}"))
        case ResponseError():
            advice = "`postroom doctor` may tell why."
            return CommandFailed("redis", sentence(f"Redis refused a command: {error}"), advice=advice)
        case _:
            return None


def sentence(text: object) -> str:
    """A text as a sentence."""
    words = str(text)
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
