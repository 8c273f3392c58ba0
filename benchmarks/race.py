"""Race: one peer's run, from empty servers to the last mail.

All mails are enqueued while the workers are stopped (SIGSTOP), then the workers run until the sink has every mail: that
is saturation, and what waits in Redis can be weighed. A peer without workers sends while it enqueues.
"""

import time

from benchmarks.accounting import PeakMemory
from benchmarks.course import Course, laid_out
from benchmarks.roster import Peer, Way
from benchmarks.run import Run
from benchmarks.sink import Sink

#: A run that has not sent its mails by then (seconds) is over, and says what is missing.
LONGEST = 90.0


def run(peer: Peer, way: Way, sink: Sink) -> Run:
    """Let a peer send its mails that way, after a tenth as many to warm up."""
    count = peer.mails[way]
    with laid_out(peer, way, sink, max(40, count // 10), count) as course:
        return _measure(peer, way, count, course)


def _measure(peer: Peer, way: Way, count: int, course: Course) -> Run:
    sink, queued = course.sink, course.workers is not None
    course.wait_until_quiet()
    sink.forget()
    before, bytes_before = course.cpu_seconds(), course.used_memory()
    with PeakMemory(course.sender) as peak:
        course.stop_workers()
        started = time.time()
        enqueued = course.producer.enqueue()
        bytes_after = course.used_memory()
        resumed = time.time() if queued else started
        course.resume_workers()
        sink.wait(count, LONGEST)
        course.wait_until_quiet()
    cpu = {name: (seconds - before[name]) / count * 1e6 for name, seconds in course.cpu_seconds().items()}
    missing = count - sink.different(count)
    return Run(
        peer=peer.name,
        way=way,
        mails=count,
        producer_us=enqueued["cpu"] / count * 1e6 if queued else 0.0,
        worker_us=cpu["sender"],
        redis_us=cpu["redis"],
        sink_us=cpu["sink"],
        enqueued_per_second=count / enqueued["seconds"] if queued else 0.0,
        mails_per_second=sink.arrived() / (sink.last_at - resumed),
        worker_peak_mb=peak.bytes / 2**20,
        redis_bytes=(bytes_after - bytes_before) / count,
        enqueue_p50_ms=_milliseconds(enqueued.get("p50")),
        enqueue_p99_ms=_milliseconds(enqueued.get("p99")),
        missing=missing,
        repeated=sink.arrived() - (count - missing),
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
