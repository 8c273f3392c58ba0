"""Run: the figures of one peer's run."""

import msgspec

from benchmarks.roster import Way


class Run(msgspec.Struct, kw_only=True):
    """What it took. Times are in microseconds of processor time for each mail."""

    peer: str
    way: Way
    mails: int
    #: Zero for a peer whose producer is also its worker.
    producer_us: float
    worker_us: float
    redis_us: float
    sink_us: float
    #: While the workers were stopped; zero for a peer without.
    enqueued_per_second: float
    mails_per_second: float
    worker_peak_mb: float
    redis_bytes: float
    #: Of a call that enqueues one mail, in milliseconds; None where one call takes them all.
    enqueue_p50_ms: float | None
    enqueue_p99_ms: float | None
    #: Mails that did not come, and copies that came beside them.
    missing: int
    repeated: int

    @property
    def own_us(self) -> float:
        return self.producer_us + self.worker_us

    @property
    def sum_us(self) -> float:
        return self.own_us + self.redis_us
