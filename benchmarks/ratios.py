"""Ratios: how Postroom stands to its peers in one run, beside what was to be reached. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from benchmarks.results import Target
from benchmarks.roster import PEERS, Way
from benchmarks.run import Run

#: Of the peers, by way and name.
Runs = dict[tuple[Way, str], Run]
#: Our run and theirs.
Pair = tuple[Run, Run]
#: A peer's run, or None if it was left out.
Pick = Callable[[Runs, Way], Run | None]

BOTH = (Way.PLAIN, Way.TLS)

#: Why a figure is hard to reach, as profiles have shown, and what to try next; by the beginning of what it is about.
REASONS = {
    "a batch against the best queue": (
        "half of the worker's time is libcurl's and TLS' own, a tenth Celery's for each chunk. Next: windows that "
        "overlap, so that a thread claims and settles in one step while replies still come in"
    ),
    "a batch against Celery with the stock client": (
        "that client takes 32 ms a mail here, not 52; what would be enough is a sum of 107 µs. Next: as above"
    ),
    "singles against": (
        "each enqueue is a call of its own, which Redis writes to its disk: a `SET` of the same bytes takes Redis "
        "110 µs and its caller 100. Next: one write for calls that wait at the same time"
    ),
    "the same, asyncio": "as above; redis-py's asyncio client takes 90 µs a call more. Next: as above",
    "a batch against a bare": (
        "the loop counts neither producer, queue nor ledger, and takes 22 µs: the producer's check alone is as much. "
        "Next: fewer threads at work at a time, for they wait for each other"
    ),
    "Postroom's transport": (
        "10 µs a mail of bookkeeping, and of callbacks that keep libcurl from repeating a mail. Next: a binding of "
        "libcurl that gives out a reply's headers without calling back"
    ),
}


def targets(runs: Iterable[Run]) -> list[Target]:
    """Those that these runs can tell of. One that holds for two ways must be reached in both."""
    field = Field({(run.way, run.peer): run for run in runs})
    batch, singles, asyncio = "postroom_batch", "postroom_singles", "postroom_singles_async"
    chunks, stock, libcurl = _peer("celery_chunked"), _peer("celery_single"), _peer("bare_libcurl")
    return [
        _own("CPU per mail of a batch, producer and worker", 150, "µs", field.of(batch), lambda run: run.own_us),
        _less("a batch against the best queue with one task per mail", 10, field.pairs(batch, best_queue)),
        _less("a batch against Celery, chunks by hand and aiohttp", 2, field.pairs(batch, chunks)),
        _less("a batch against Celery with the stock client, TLS", 300, field.pairs(batch, stock, [Way.TLS])),
        _less("singles against the best queue with one task per mail", 3, field.pairs(singles, best_queue)),
        _less("the same, asyncio", 3, field.pairs(asyncio, best_queue)),
        _near("a batch against a bare libcurl loop", 2, field.pairs(batch, libcurl)),
        _near("Postroom's transport alone against it", 1.2, field.pairs("postroom_transport", libcurl)),
        _own("a batch in Redis, a mail while queued", 150, "bytes", field.of(batch), lambda run: run.redis_bytes),
    ]


class Field(NamedTuple):
    """All runs of one race."""

    runs: Runs

    def of(self, name: str) -> list[Run]:
        return [self.runs[way, name] for way in BOTH if (way, name) in self.runs]

    def pairs(self, own: str, other: Pick, ways: Iterable[Way] = BOTH) -> list[Pair]:
        """Our run and theirs, for each way in which there are both."""
        return [
            (self.runs[way, own], theirs)
            for way in ways
            if (way, own) in self.runs and (theirs := other(self.runs, way))
        ]


def _peer(name: str) -> Pick:
    return lambda runs, way: runs.get((way, name))


def best_queue(runs: Runs, way: Way) -> Run | None:
    """The one that takes the least processor time, of those with one task per mail; None if one was left out."""
    queues = [runs.get((way, peer.name)) for peer in PEERS if peer.one_by_one]
    return None if None in queues else min(filter(None, queues), key=lambda run: run.sum_us)


def _own(what: str, limit: float, unit: str, own: Sequence[Run], figure: Callable[[Run], float]) -> Target:
    found = ", ".join(f"{figure(run):,.0f} {unit} ({run.way})" for run in own)
    reached = all(figure(run) <= limit for run in own) if own else None
    return Target(what=what, wanted=f"≤ {limit:g} {unit}", found=found, reached=reached, why=_why(what, own, reached))


def _less(what: str, wanted: float, pairs: Sequence[Pair]) -> Target:
    return _compared(what, f"≥ {wanted:g} times less", pairs, lambda ours, theirs: theirs / ours >= wanted)


def _near(what: str, wanted: float, pairs: Sequence[Pair]) -> Target:
    return _compared(what, f"≤ {wanted:g} times", pairs, lambda ours, theirs: ours / theirs <= wanted)


def _compared(what: str, wanted: str, pairs: Sequence[Pair], good: Callable[[float, float], bool]) -> Target:
    titles = {peer.name: peer.title for peer in PEERS}
    found = ", ".join(
        f"{max(ours.sum_us, theirs.sum_us) / min(ours.sum_us, theirs.sum_us):,.3g} times "
        f"({titles[theirs.peer]}; {theirs.way})"
        for ours, theirs in pairs
    )
    reached = all(good(ours.sum_us, theirs.sum_us) for ours, theirs in pairs) if pairs else None
    return Target(
        what=what, wanted=wanted, found=found, reached=reached, why=_why(what, [ours for ours, _ in pairs], reached)
    )


def _why(what: str, runs: Iterable[Run], reached: bool | None) -> str:
    """Where the time goes, for one that was not reached."""
    if reached is not False:
        return ""
    shares = "; ".join(f"{run.way}: {', '.join(_parts(run))} µs" for run in runs)
    reason = next((reason for beginning, reason in REASONS.items() if what.startswith(beginning)), "")
    return f"{reason} ({shares})" if reason else shares


def _parts(run: Run) -> Iterator[str]:
    for name, value in (("producer", run.producer_us), ("worker", run.worker_us), ("Redis", run.redis_us)):
        if value >= 1:
            yield f"{name} {value:,.0f}"
