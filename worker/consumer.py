"""Consumer: the part of a worker that takes messages; it finds a lost Redis again at once, and trusts no message."""

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer

from worker.channel import Transport


class Consumer(CeleryConsumer):
    """Celery's consumer, quicker to go on after an outage, and without talk among workers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # Each worker would hear every other one's heartbeat, and wait a second for their answers whenever it connects.
        # They would tell it of revoked tasks, and revoking a wake-up cancels no mail.
        quiet = {"without_gossip": True, "without_mingle": True}
        super().__init__(*args, **options | {"worker_options": options["worker_options"] | quiet})

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying every 0.2 to 1 s. Celery's own waits grow from 2 to 30 s, and no setting changes them.

        The transport is told here, not in the configuration, which producers and Flower share.
        """
        conn.get_transport_cls = lambda: Transport
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.2, interval_step=0.2, interval_max=1.0
        )
        return super().ensure_connected(conn)
