"""CaretakerStep: starts the caretaker with the worker, and lets it outlive the last task.

Nothing of the worker is imported before it starts, so that Flower, which loads the same app, stays light.
"""

from typing import Any

from celery import bootsteps, signals


class CaretakerStep(bootsteps.StartStopStep):
    """Checks what a worker needs, starts the caretaker, and tells the tasks when the worker shuts down."""

    requires = ("celery.worker.components:Timer",)

    def start(self, worker: Any) -> None:  # noqa: ARG002  # a bootstep is given its worker
        """Raises `SystemExit` with a message when a worker must not run like this."""
        from worker.startup import start_caretaker  # noqa: PLC0415

        caretaker = start_caretaker()
        # SIGTERM and Ctrl-C are told by the signal at once, a shutdown from Flower by `close` alone.
        signals.worker_shutting_down.connect(_stop_tasks, weak=False)
        # After the last task, at the very end; `stop` of a step comes before the pool has finished.
        signals.worker_shutdown.connect(lambda **_: caretaker.end(), weak=False)

    def close(self, worker: Any) -> None:  # noqa: ARG002
        _stop_tasks()


def _stop_tasks(**_: object) -> None:
    from worker.post_office import stopping  # noqa: PLC0415

    stopping.set()
