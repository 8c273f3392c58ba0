"""Guard: stands before each enqueue of this process, so that no test enqueues where it should not.

In the eager mode it stands behind it, too: until the mail is sent, the call does not return.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

from producers.testing.bench import Bench

#: What is loaded when the program under test has loaded a client.
CLIENTS = "producers.operations"
ENQUEUES = ("enqueue", "enqueue_batch", "enqueue_merge")

NO_FIXTURE = (
    "This test enqueues mail, but has no place for it: give it the fixture `outbox` (or `postroom_eager`, which sends "
    "it, too), or all tests by `usefixtures = outbox` in pytest's settings."
)
ELSEWHERE = (
    "This test's client enqueues to {found}, and the outbox is another Redis. Let it take its settings from the "
    "environment, or from the fixture `postroom_settings`."
)


class Guard:
    """Lets an enqueue pass only while a test has an outbox, and only to that outbox's Redis."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._originals: dict[str, Any] = {}
        self.has_outbox = False
        #: Of an eager test: waits until the mail of an enqueue is sent.
        self.finish: Callable[..., Any] | None = None

    def stand(self) -> None:
        """Take up position, as soon as there are clients. Those that were made before are watched, too."""
        operations = sys.modules.get(CLIENTS)
        if operations is None or self._originals:
            return
        kind: Any = operations.Operations
        self._originals = {name: getattr(kind, name) for name in ENQUEUES if hasattr(kind, name)}
        for name, original in self._originals.items():
            setattr(kind, name, self._watched(original))

    def leave(self) -> None:
        for name, original in self._originals.items():
            setattr(sys.modules[CLIENTS].Operations, name, original)
        self._originals = {}

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def enqueue(operations: Any, *arguments: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            self._check(operations._settings.redis_url)  # noqa: SLF001  # nobody else asks a client where it leads to
            operation = original(operations, *arguments, **options)
            return self.finish(operation, arguments) if self.finish else operation

        return enqueue

    def _check(self, redis_url: str) -> None:
        """`pytest.fail` raises no `Exception`, which the program under test might catch."""
        __tracebackhide__ = True
        if not self.has_outbox:
            pytest.fail(NO_FIXTURE)
        if not self._bench.is_at(redis_url):
            pytest.fail(ELSEWHERE.format(found=redis_url.rpartition("@")[2]))
