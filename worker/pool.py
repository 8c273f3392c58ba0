"""TaskPool: Celery's pool of threads, with every thread accounted for.

A worker that reserves nothing (`worker_disable_prefetch`) takes a message when fewer requests are open than there are
threads. Two things must not happen then. That nobody tells it when a thread is free again: it looks by itself only
when Redis answers its blocking pop, up to a second later. And that a request stays open for good because its end could
not be reported, Redis being away: each such request would cost the worker a thread.
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
        if request is not None and (future.cancelled() or future.exception() is not None):
            logger.error("Task %s ended, but that could not be reported", request.id)
            task_ready(request)
        if self._hub is not None:
            self._hub.call_soon(_look_for_messages)


def _look_for_messages() -> None:
    """Nothing: once woken, the event loop looks by itself."""
