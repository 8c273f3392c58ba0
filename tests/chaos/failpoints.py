"""Fail points: named places at which a process kills or stops itself, woven into it from outside.

Production code has no hook for them: methods are wrapped in the processes that chaos starts, and nowhere else. A
process is armed by its environment: CHAOS_KILL=after_claim:17 has it die by SIGKILL at the 17th passage of
`after_claim`, and CHAOS_STOP=after_claim:17 has it stopped there by SIGSTOP. Just before, one line `time point pid`
goes to the file named by CHAOS_HITS.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from tests.chaos.clock import true_time
from tests.chaos.journal import Journal

#: The points of a worker, and how many passages may be let go by: the more often one is passed, the more.
WORKER_POINTS = {
    "wake_up_popped": 6,  # a wake-up is read from Redis, and nobody has been told of it yet
    "before_claim": 12,
    "claim_sent": 12,  # the script is sent, its reply not read
    "after_claim": 12,
    "half_body": 2,  # a part of a body is handed over for sending, the rest is not
    "whole_body": 12,  # a whole body is sent, and no reply read
    "after_202": 24,  # the reply is understood, and nothing of it told to the ledger
    "before_settle": 12,
    "settle_sent": 12,
    "after_settle": 12,
    "before_ack": 4,  # the task has returned, and the chord is not told yet
    "chord_body": 1,  # the chord is complete, and its body not published yet
    "before_report": 1,
    "after_report": 1,  # the report is recorded, and nothing else done about it
    "before_sweep": 3,
    "sweep_sent": 3,
    "after_sweep": 1,  # the sweep is done, and nothing of what follows it
}
#: The points of a producer.
PRODUCER_POINTS = {
    "enqueue_sent": 4,
    "batch_enqueue": 4,  # between two chunks of a batch
    "seal_sent": 1,
    "seal_to_wake_ups": 1,  # the batch is sealed, and nothing of it announced
}

KILL, STOP, HITS = "CHAOS_KILL", "CHAOS_STOP", "CHAOS_HITS"


class Trap:
    """Waits for one passage of one point. Threads may pass at once."""

    def __init__(self, point: str, passage: int, signal_number: int, hits: Journal) -> None:
        self._point = point
        self._left = passage
        self._signal = signal_number
        self._hits = hits
        self._lock = threading.Lock()

    def passing(self, point: str) -> None:
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                strike(point, self._signal, self._hits)


def strike(point: str, signal_number: int, hits: Journal) -> None:
    hits.write(f"{true_time():.6f} {point} {os.getpid()}")
    os.kill(os.getpid(), signal_number)


_traps: list[Trap] = []


def arm(environment: Mapping[str, str]) -> None:
    """Set the traps that the environment asks for, in place of all others."""
    _traps.clear()
    for variable, signal_number in ((KILL, signal.SIGKILL), (STOP, signal.SIGSTOP)):
        if variable in environment:
            point, _, passage = environment[variable].partition(":")
            _traps.append(Trap(point, int(passage or 1), signal_number, Journal(environment[HITS])))


def passing(point: str) -> None:
    for trap in _traps:
        trap.passing(point)


def before(owner: Any, name: str, point: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Pass the point before each call of a method. `when` gets the arguments, and says whether it counts."""
    method = getattr(owner, name)

    @wraps(method)
    def woven(*args: Any, **options: Any) -> Any:
        if when(*args, **options):
            passing(point)
        return method(*args, **options)

    setattr(owner, name, woven)


def after(owner: Any, name: str, point: str, when: Callable[[Any], bool] = lambda _: True) -> None:
    """Pass the point after each call of a method. `when` gets what it returned, and says whether it counts."""
    method = getattr(owner, name)

    @wraps(method)
    def woven(*args: Any, **options: Any) -> Any:
        result = method(*args, **options)
        if when(result):
            passing(point)
        return result

    setattr(owner, name, woven)


def weave_sent(points: Mapping[str, str]) -> None:
    """Pass a step's point once its script is sent to Redis. `points` is by the names of steps."""
    from redis.connection import AbstractConnection

    from postroom.script import SCRIPTS

    by_script = {text: point for name, point in points.items() for text in (SCRIPTS[name].sha, SCRIPTS[name].text)}
    send = AbstractConnection.send_command

    @wraps(send)
    def woven(self: Any, *args: Any, **options: Any) -> None:
        send(self, *args, **options)
        if args[0] in ("EVALSHA", "EVAL") and args[1] in by_script:
            passing(by_script[args[1]])

    AbstractConnection.send_command = woven  # type: ignore[method-assign]


def weave_worker() -> None:
    """Put the points into the classes of a worker."""
    from celery.backends.base import Backend
    from celery.canvas import Signature
    from kombu.transport.virtual.base import Transport as MessageTransport

    from postroom.ledger import Ledger
    from postroom.outcome import Kind
    from worker import tasks
    from worker.caretaker import Caretaker
    from worker.delivery import Delivery

    before(
        MessageTransport, "_deliver", "wake_up_popped", when=lambda _, message, __: "task" in message.get("headers", ())
    )
    before(Delivery, "_claim", "before_claim")
    after(Delivery, "_claim", "after_claim", when=lambda window: window.claimed.verdict == "claimed")
    after(Delivery, "_attempt", "after_202", when=lambda attempt: attempt.outcome.kind is Kind.ACCEPTED)
    before(Delivery, "_settle", "before_settle")
    after(Delivery, "_settle", "after_settle")
    before(Backend, "mark_as_done", "before_ack")
    before(Signature, "delay", "chord_body")
    before(tasks, "report_batch", "before_report")
    before(Ledger, "batch", "after_report")  # which a worker asks for nothing else
    before(Caretaker, "_sweep", "before_sweep")
    before(Caretaker, "_follow_up", "after_sweep", when=lambda _, swept: swept.swept)
    weave_sent({"claim": "claim_sent", "settle": "settle_sent", "sweep": "sweep_sent"})
    _weave_bodies()


def _weave_bodies() -> None:
    """`half_body` is passed where libcurl asks for more of a body, `whole_body` where it waits for a reply."""
    import pycurl

    from worker.transport import Transport, _Slot

    load, wait = _Slot.load, Transport._wait

    def is_whole(slot: Any) -> bool:
        return bool(slot._reader.tell() == slot._size_bytes)

    def woven_load(slot: Any, request: Any) -> None:
        load(slot, request)

        def read(size: int) -> bytes:
            if slot._reader.tell() > 0 and not is_whole(slot):
                passing("half_body")
            return bytes(slot._reader.read(size))

        slot.easy.setopt(pycurl.READFUNCTION, read)

    def woven_wait(transport: Any) -> None:
        if any(is_whole(slot) for slot in transport._busy.values()):
            passing("whole_body")
        wait(transport)

    _Slot.load = woven_load  # type: ignore[method-assign]
    Transport._wait = woven_wait  # type: ignore[method-assign]


def weave_producer() -> None:
    """Put the points into the classes of a producer."""
    from postroom.ledger import Ledger
    from producers.operations import Operations

    before(Operations, "_store", "batch_enqueue", when=lambda *args: args[2].first_row > 0)
    before(Ledger, "announce_batch", "seal_to_wake_ups")
    weave_sent({"enqueue": "enqueue_sent", "seal": "seal_sent"})
