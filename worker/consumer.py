"""Consumer: the part of a worker that takes messages, patient with a Redis that is away."""

from functools import partial

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Connection


class Consumer(CeleryConsumer):
    """Celery's consumer, but it looks for Redis every 0.2 to 1 s.

    Celery's own waits 2, 4, 6 … 30 s between two tries, and has no setting for it.
    """

    def ensure_connected(self, conn: Connection) -> Connection:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.2, interval_step=0.2, interval_max=1.0
        )
        return super().ensure_connected(conn)
