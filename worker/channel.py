"""Channel: where a worker's messages come out of Redis; each is looked at before kombu and Celery see it."""

from typing import Any

from kombu.transport import redis

from postroom.app import app
from worker.foreign import Foreign, wake_up_in
from worker.garbage import garbage


class Channel(redis.Channel):
    """kombu's channel, for which a foreign message is like no message."""

    def _create_client(self, *args: Any, **options: Any) -> Any:
        client = super()._create_client(*args, **options)  # type: ignore[misc]  # the stubs of kombu lack it
        client.set_response_callback("BRPOP", _look)
        return client


class Transport(redis.Transport):
    """kombu's way to Redis, with this channel."""

    Channel = Channel


def _look(reply: list[bytes] | None) -> tuple[bytes, bytes] | None:
    """What kombu gets of a reply to BRPOP: the queue and the message, or None if there is none."""
    if not reply:
        return None
    queue, raw = reply
    try:
        return queue, wake_up_in(raw, queue.decode(), _other_tasks())
    except Foreign as foreign:
        garbage().set_aside(raw, queue.decode(), foreign.reason)
        return None


def _other_tasks() -> set[str]:
    """Tasks that somebody has added to this worker. Celery's own, such as `celery.map`, run what others ask for."""
    return {name for name in app.tasks if not name.startswith(("celery.", "postroom."))}
