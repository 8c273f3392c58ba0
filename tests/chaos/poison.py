"""Poison: a mail that kills the worker that starts to send it."""

import signal
from collections.abc import Mapping
from functools import wraps
from typing import Any

from tests.chaos.failpoints import HITS, strike
from tests.chaos.journal import Journal

#: The environment variable: a text that stands in poisonous bodies only.
VARIABLE = "CHAOS_POISON"

_text = b""
_hits: list[Journal] = []


def take(environment: Mapping[str, str]) -> None:
    """Die of what the environment says, or of nothing."""
    global _text  # noqa: PLW0603  # there is one process
    _text = environment.get(VARIABLE, "").encode()
    _hits[:] = [Journal(environment[HITS])] if _text else []


def weave() -> None:
    from worker.transport import _Slot

    load = _Slot.load

    @wraps(load)
    def woven(slot: Any, request: Any) -> None:
        if _text and _text in request.body:
            strike("poison", signal.SIGKILL, _hits[0])
        load(slot, request)

    _Slot.load = woven  # type: ignore[method-assign]
