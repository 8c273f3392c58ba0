"""Standings: the runs of all peers as tables, charts, and the section of the page."""

import re
from collections.abc import Iterator, Sequence

from benchmarks.conditions import ROOT
from benchmarks.ratios import targets
from benchmarks.results import Chart, Finding, Table
from benchmarks.roster import PEERS, Way
from benchmarks.run import Run

TITLES = {
    Way.PLAIN: "Plain HTTP",
    Way.TLS: "TLS (HTTP/2 where the client speaks it)",
    Way.SLOW: "TLS, and SendGrid takes 100 ms to answer",
}
COLUMNS = [
    "", "producer µs", "worker µs", "Redis µs", "sum µs", "mails/s", "peak MB", "bytes in Redis", "enqueued/s",
    "p50 ms", "p99 ms",
]  # fmt: skip
#: Of the peers, and what they send with.
PACKAGES = (
    "aiohttp", "celery", "dramatiq", "kombu", "pycurl", "redis", "rq", "saq", "sendgrid", "taskiq", "taskiq-redis",
)  # fmt: skip
TEXT = """\
Each peer is written as its own documentation advises, in a file of its own under [peers](peers), and is as big as
that: none has Postroom's ledger, and none was tuned. All send the same distinct mails of 3 kB through the same Valkey
to the same nginx, one after the other, on all cores of the machine, with the number of processes and threads that their
documentation starts with (on two cores: two processes; Postroom: one process of 8 threads).

A run begins with empty servers and with a tenth as many mails to warm up. Then all mails are enqueued, one call after
the other, by one program, while the workers are stopped; then the workers run until nginx has logged every mail. nginx'
log shows whose mail it was, so that a lost or repeated one would be noted here. "producer", "worker" and "Redis" are
microseconds of processor time per mail, user and system; "peak MB" is the most memory of all of a worker's processes;
"bytes in Redis" what one mail adds while it is queued (these mails are more alike than those of most campaigns, which
is good for Postroom's figure); p50 and p99 are of one call that enqueues one mail. The stock client is `sendgrid`;
over TLS it reads the list of all authorities anew for each mail. What has no queue holds its mails in memory, and all
that it does counts as the worker's. saq takes a job for stuck if its worker was stopped in the wrong moment, as these
runs do, and then repeats a mail.

Each peer runs twice, and the run that took less processor time counts, for it was disturbed less.
"""


def finding(runs: Sequence[Run]) -> Finding:
    """The section of the page."""
    ways = [way for way in Way if any(run.way == way for run in runs)]
    return Finding(
        title="Beside its peers",
        place=10,
        text=f"{TEXT}\nVersions of the peers: {', '.join(_versions())}.",
        tables=[table(runs, way) for way in ways],
        targets=targets(runs),
        charts=[_chart(runs, way) for way in ways if way is not Way.SLOW],
        data=list(runs),
    )


def table(runs: Sequence[Run], way: Way) -> Table:
    """Those of one way, the one that takes the least processor time first."""
    rows = [_row(run) for run in _sorted(runs, way)]
    return Table(title=TITLES[way], columns=COLUMNS, rows=rows)


def title(run: Run) -> str:
    return next(peer.title for peer in PEERS if peer.name == run.peer)


def faults(run: Run) -> str:
    """What went wrong; empty if every mail came once."""
    return ", ".join(
        f"{count:,} of {run.mails:,} {word}"
        for count, word in ((run.missing, "missing"), (run.repeated, "repeated"))
        if count
    )


def _versions() -> Iterator[str]:
    """What the peers' environment is pinned to."""
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "requirements" / "bench.txt").read_text(), re.MULTILINE))
    yield from (f"{name} {pinned[name]}" for name in PACKAGES)


def _sorted(runs: Sequence[Run], way: Way) -> list[Run]:
    return sorted((run for run in runs if run.way == way), key=lambda run: run.sum_us)


def _row(run: Run) -> list[str]:
    name, wrong = title(run), faults(run)
    ours = any(peer.ours for peer in PEERS if peer.name == run.peer)
    shown = f"**{name}**" if ours else name
    queued = run.enqueued_per_second > 0
    return [
        f"{shown} ({wrong})" if wrong else shown,
        f"{run.producer_us:,.0f}" if queued else "—",
        f"{run.worker_us:,.0f}",
        f"{run.redis_us:,.0f}" if queued else "—",
        f"{run.sum_us:,.0f}",
        f"{run.mails_per_second:,.0f}",
        f"{run.worker_peak_mb:,.0f}",
        f"{run.redis_bytes:,.0f}" if queued else "—",
        f"{run.enqueued_per_second:,.0f}" if queued else "—",
        *(
            f"{value:.2f}" if value is not None and queued else "—"
            for value in (run.enqueue_p50_ms, run.enqueue_p99_ms)
        ),
    ]


def _chart(runs: Sequence[Run], way: Way) -> Chart:
    return Chart(
        name=f"peers_{way}",
        title=f"Processor time per mail: producer, worker and Redis. {TITLES[way]}",
        unit="µs",
        bars={title(run): run.sum_us for run in _sorted(runs, way)},
        ours=[peer.title for peer in PEERS if peer.ours],
        logarithmic=True,
    )
