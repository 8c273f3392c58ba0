"""Wake-up: the Celery message that says that there is work. It carries ids only.

Celery and kombu make the message, once; what they made becomes a template in which the ledger's scripts fill in the id
(`@ID@`), the time of the announcement (`@AT@`) and a chunk's first row (`@ROW@`). So a state and its wake-up change in
one step, and any worker can announce any chunk.
"""

import gc
from functools import cache
from typing import Any

from kombu.transport.virtual import Channel
from kombu.utils.json import dumps

from postroom.app import app
from postroom.names import DELIVER, DRAIN, REPORT, Lane

ID, AT, ROW = "@ID@", "@AT@", "@ROW@"

#: The version of Postroom, major and minor, that was the first to make wake-ups of this form. A worker delivers those
#: of its own and of older versions (the first, 0.1, did not tell), and sets newer ones aside.
VERSION = "0.2"


@cache
def drain_template(lane: Lane) -> str:
    """The wake-up that has a worker send the singles of a lane."""
    return _template(lane, DRAIN, (lane.value,))


def deliver_template(lane: Lane, batch: str) -> str:
    """The wake-up that has a worker deliver a chunk of a batch: a header task of its chord.

    The task's id is the chunk's, the chord's body is the report, whose task id is the batch's.
    """
    body = app.signature(REPORT, args=[batch], immutable=True, task_id=batch, queue=lane.value)
    return _template(lane, DELIVER, (ID,), group_id=batch, group_index=ROW, chord=body, root_id=batch)


@cache
def report_template(lane: Lane) -> str:
    """The wake-up that has a batch reported: its chord's body, for a batch without chunks."""
    return _template(lane, REPORT, (ID,), ignore_result=False)


def chord_size_key(batch: str) -> str:
    """Where Celery's result backend looks for the number of header tasks of a batch's chord."""
    backend: Any = app.backend
    return str(backend.get_key_for_group(batch, ".s").decode())


def chord_expires_seconds() -> float:
    """How long Celery keeps that key, in seconds."""
    backend: Any = app.backend
    return float(backend.chord_expires)


@cache
def warm_up() -> None:
    """Load Celery's configuration and modules now (0.2 s), not in the first call of a web app.

    So many objects make Python go through all of them soon (40 ms); that comes now, too, and not in an event loop.
    """
    for lane in Lane:
        drain_template(lane)
        report_template(lane)
    chord_size_key(ID)
    chord_expires_seconds()
    gc.collect()


def _template(lane: Lane, task: str, args: tuple[str, ...], *, ignore_result: bool = True, **options: Any) -> str:
    # `ignore_result` must stand in the message: without it a result is stored for each header
    # (celery/worker/request.py lets the message overrule `task_ignore_result`).
    task_message = app.amqp.as_task_v2(ID, task, args=args, ignore_result=ignore_result, origin="postroom", **options)
    properties = {
        **task_message.properties,
        # Plain text, where kombu's default is base64, so that the id inside can be filled in.
        "body_encoding": None,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": lane.value},
        "delivery_tag": f"{ID}-{AT}",
    }
    headers = {**task_message.headers, "postroom_at": AT, "postroom_version": VERSION}
    message = Channel.prepare_message(
        _no_channel, dumps(task_message.body), 0, "application/json", "utf-8", headers, properties
    )
    return str(dumps(message))


#: `prepare_message` asks nothing of its channel but a default priority, and is given one.
_no_channel: Any = type("NoChannel", (), {"default_priority": 0})()
