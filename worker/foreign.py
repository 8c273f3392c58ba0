"""Foreign: what waits in a lane and is no wake-up that this worker understands. Pure: no I/O, no clock.

A lane is a Redis list, and anybody may push anything. Celery trusts what it finds: it ends, or writes the content into
its log. So each message is read here first, and Celery gets one made anew from the few things that a wake-up says.
"""

import base64
from collections.abc import Container
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from postroom.ids import is_id
from postroom.names import DELIVER, DRAIN, REPORT, Lane
from postroom.wakeup import VERSION


class Reason(StrEnum):
    """Why a message is foreign."""

    NO_JSON = "no_json"
    NO_MESSAGE = "no_message"
    NEWER_VERSION = "newer_version"
    UNKNOWN_TASK = "unknown_task"
    WRONG_OPTIONS = "wrong_options"
    WRONG_ARGUMENTS = "wrong_arguments"

    @property
    def explanation(self) -> str:
        """What it means and what to do, for an operator."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Reason.NO_JSON: "it is no JSON; find out who else writes to this queue",
    Reason.NO_MESSAGE: "it is no message of Celery's; find out who else writes to this queue",
    Reason.NEWER_VERSION: "a newer Postroom made it, and its mails stay queued until the workers are as new; "
    "update the workers before the producers",
    Reason.UNKNOWN_TASK: "it is for another app; give that app a queue, or a Redis database, of its own",
    Reason.WRONG_OPTIONS: "it asks Celery for what a wake-up never asks for; let the producers alone make wake-ups",
    Reason.WRONG_ARGUMENTS: "the task takes other arguments; let the producers alone make wake-ups",
}


class Foreign(Exception):
    """The message is to be set aside."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


Version = Annotated[str, msgspec.Meta(pattern=r"^\d{1,4}\.\d{1,4}\Z")]
Milliseconds = Annotated[str, msgspec.Meta(pattern=r"^\d{1,16}\Z")]
#: Names a message in logs and in Flower. It can't be an address.
Id = Annotated[str, msgspec.Meta(pattern=r"^[\w./-]{1,300}\Z")]


class _Nothing(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An empty object."""


class _Title(msgspec.Struct):
    task: str
    postroom_version: Version | None = None


class _Titled(msgspec.Struct):
    """What messages of all versions have in common."""

    headers: _Title


class _Headers(msgspec.Struct):
    id: Id
    root_id: Id | None = None
    parent_id: Id | None = None
    group: Id | None = None
    group_index: Annotated[int, msgspec.Meta(ge=0, lt=10**12)] | None = None
    ignore_result: bool | None = None
    postroom_at: Milliseconds | None = None
    postroom_version: Version | None = None
    eta: None = None
    expires: None = None
    timelimit: tuple[None, None] | None = None
    compression: None = None


class _Properties(msgspec.Struct):
    body_encoding: Literal["base64", "utf-8"] | None = None


class _Message(msgspec.Struct):
    body: str
    headers: _Headers
    properties: _Properties
    content_type: Literal["application/json"] = msgspec.field(name="content-type")
    content_encoding: Literal["utf-8"] = msgspec.field(name="content-encoding")


class _ReportOptions(msgspec.Struct):
    task_id: str
    queue: Lane


class _Report(msgspec.Struct):
    """The signature of a chord's body."""

    task: str
    args: tuple[str]
    options: _ReportOptions
    kwargs: _Nothing = _Nothing()
    immutable: Literal[True] = True
    subtask_type: None = None


class _Embedded(msgspec.Struct):
    callbacks: tuple[()] | None = None
    errbacks: tuple[()] | None = None
    chain: tuple[()] | None = None
    chord: _Report | None = None


LANES = frozenset(Lane)

_read_title = msgspec.json.Decoder(_Titled).decode
_read_message = msgspec.json.Decoder(_Message).decode
_read_body = msgspec.json.Decoder(tuple[tuple[str], _Nothing, _Embedded]).decode
_write = msgspec.json.Encoder().encode


class _Call(NamedTuple):
    argument: str
    chord: _Report | None


def wake_up_in(raw: bytes, lane: str, others: Container[str]) -> bytes:
    """The wake-up that a message from a lane is, made anew. Raises `Foreign` if it is none.

    `others` are tasks besides Postroom's own that this worker knows; their messages are given back as they are.
    """
    task = _task_of(raw)
    if task in others:
        return raw
    if task not in (DRAIN, DELIVER, REPORT):
        raise Foreign(Reason.UNKNOWN_TASK)
    try:
        message = _read_message(raw)
    except (ValueError, RecursionError):
        raise Foreign(Reason.WRONG_OPTIONS) from None
    return _made_anew(task, message.headers, _call_of(task, message), lane)


def _task_of(raw: bytes) -> str:
    try:
        title = _read_title(raw).headers
    except msgspec.ValidationError:
        raise Foreign(Reason.NO_MESSAGE) from None
    except (ValueError, RecursionError):
        raise Foreign(Reason.NO_JSON) from None
    if _numbers(title.postroom_version or VERSION) > _numbers(VERSION):
        raise Foreign(Reason.NEWER_VERSION)
    return title.task


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _call_of(task: str, message: _Message) -> _Call:
    try:
        is_plain = message.properties.body_encoding != "base64"
        body = message.body if is_plain else base64.b64decode(message.body, validate=True)
        (argument,), _, embedded = _read_body(body)
    except (ValueError, RecursionError):
        raise Foreign(Reason.WRONG_ARGUMENTS) from None
    if not (argument in LANES if task == DRAIN else is_id(argument)):
        raise Foreign(Reason.WRONG_ARGUMENTS)
    if embedded.chord and not _is_chord_of(argument, embedded.chord, message.headers.group):
        raise Foreign(Reason.WRONG_OPTIONS)
    return _Call(argument, embedded.chord)


def _is_chord_of(chunk: str, chord: _Report, group: str | None) -> bool:
    """Whether a chunk counts for its own batch, which is then reported."""
    batch = chunk.partition(".")[0]
    return chord.task == REPORT and chord.args == (batch,) and chord.options.task_id == group == batch


def _made_anew(task: str, headers: _Headers, call: _Call, lane: str) -> bytes:
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": call.chord}
    anew: dict[str, Any] = {
        "body": _write([[call.argument], {}, embedded]).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "task": task,
            "id": headers.id,
            "root_id": headers.root_id,
            "parent_id": headers.parent_id,
            "group": headers.group,
            "group_index": headers.group_index,
            "ignore_result": headers.ignore_result,
            "argsrepr": f"('{call.argument}',)",
            "kwargsrepr": "{}",
            "postroom_at": headers.postroom_at,
            "postroom_version": headers.postroom_version,
        },
        "properties": {
            "correlation_id": headers.id,
            "delivery_tag": headers.id,
            "delivery_info": {"exchange": "", "routing_key": lane},
            "priority": 0,
        },
    }
    return _write(anew)
