"""TaskPool: Celery's pool of threads, with every thread accounted for.

A worker that reserves nothing (`worker_disable_prefetch`) takes a message when fewer requests are open than there are
threads. In Celery's own pool nobody tells it when a thread is free again, so it looks up to a second later. And a
request whose end could not be reported, Redis being away, stays open: each one costs the worker a thread for good.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from celery.concurrency.thread import TaskPool as ThreadPool
from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.state import task_ready
from kombu.asynchronous import Hub

logger = get_logger(__name__)


class TaskPool(ThreadPool):
    """Celery's threads; each request ends, and the worker hears of it."""

    _hub: Hub | None = None

    def register_with_event_loop(self, loop: Hub) -> None:
        """Keep the event loop. Celery hands it over whenever it has connected; from a thread it can't be found."""
        self._hub = loop

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run a task in a thread. `callback` is the request's own method that takes its end."""
        result = super().on_apply(target, args, kwargs, callback, accept_callback, **options)
        result.f.add_done_callback(partial(self._on_end, getattr(callback, "__self__", None)))
        return result

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Do nothing: a thread can't be ended.

        Celery calls this at a second Ctrl-C. Were it an error, as in Celery's own pool, the shutdown would be cut short
        while requests are still under way; so it waits for them.
        """

    def _on_end(self, request: Request | None, future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if request is not None and error is not None:
            logger.error("The end of task %s could not be reported: %s", request.id, type(error).__name__)
            task_ready(request)
        if self._hub is not None:
            self._hub.call_soon(_look_for_messages)


def _look_for_messages() -> None:
    """Nothing: once woken, the event loop looks by itself."""
