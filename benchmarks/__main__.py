"""`python -m benchmarks [PEER…]`: Postroom and its peers side by side, in one run.

A PEER is the beginning of a name in `benchmarks.roster`; without one, all are measured. The page `RESULTS.md` is
written if nothing was left out, or with `--save`.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Shown

from benchmarks.race import run
from benchmarks.results import Table, Target, save
from benchmarks.roster import PEERS, PEERS_BIN, Peer, Way
from benchmarks.run import Run
from benchmarks.sink import Sink
from benchmarks.standings import faults, finding
from tests.servers import running

SIGNS = {True: "reached", False: "not reached", None: "not measured"}


def main() -> int:
    options = arguments()
    peers = [peer for peer in PEERS if not options.peers or peer.name.startswith(tuple(options.peers))]
    if not peers:
        raise SystemExit(f"no such peer; there are {', '.join(peer.name for peer in PEERS)}")
    if not all(peer.ours for peer in peers) and not PEERS_BIN.exists():
        raise SystemExit("the peers are not installed; `make bench` does it, or `make .venv/bench.stamp` that alone")
    whole = peers == PEERS and set(options.ways) == set(Way) and options.mails_scale >= 1
    console = Console(stderr=True)
    scaled = [peer.scaled(options.mails_scale) for peer in peers]
    runs = least(race([*product(range(options.rounds), options.ways, scaled)], console))
    found = finding(runs)
    if options.json:
        print(msgspec.json.encode(found).decode())
    else:
        show(Console(width=None if sys.stdout.isatty() else 160), found.tables, found.targets)
    if whole or options.save:
        save("peers", found)
    return int(any(map(faults, runs)) or len(runs) < len(peers) * len(options.ways))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER")
    parser.add_argument(
        "--ways", nargs="+", type=Way, choices=list(Way), default=list(Way), help="how SendGrid is reached"
    )
    parser.add_argument(
        "--mails-scale", type=float, default=1.0, help="0.2 sends a fifth of the mails, for a quick look"
    )
    parser.add_argument("--rounds", type=int, default=2, help="of each peer's runs, the one with the least CPU counts")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save", action="store_true", help="write the page although something is left out")
    return parser.parse_args()


def race(plan: Sequence[tuple[int, Way, Peer]], console: Console) -> Iterator[Run]:
    """All runs, one after the other. One that fails is told of, and left out."""
    columns = [BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")]
    with TemporaryDirectory() as place, running(Sink(Path(place))) as sink, Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(plan))
        for _, way, peer in plan:
            bar.update(task, description=f"{peer.title} ({way})")
            try:
                done = run(peer, way, sink)
            except AssertionError as error:
                bar.console.print(f"[red]{peer.title} ({way}): {error}", soft_wrap=True)
            else:
                bar.console.print(f"{peer.title} ({way}): {done.sum_us:,.0f} µs a mail {faults(done)}")
                yield done
            bar.advance(task)


def least(runs: Iterable[Run]) -> list[Run]:
    """Of the runs of each peer and way the one that took the least processor time: it was disturbed least.

    Mails that were lost or repeated in any of them count.
    """
    found: dict[tuple[Way, str], Run] = {}
    for each in runs:
        best = found.get((each.way, each.peer), each)
        less = min(best, each, key=lambda run: run.sum_us)
        wrong = {"missing": max(best.missing, each.missing), "repeated": max(best.repeated, each.repeated)}
        found[each.way, each.peer] = msgspec.structs.replace(less, **wrong)
    return list(found.values())


def show(console: Console, tables: Sequence[Table], targets: Sequence[Target]) -> None:
    for table in tables:
        shown = Shown(title=table.title, title_justify="left")
        for place, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if place else "left")
        for row in table.rows:
            shown.add_row(row[0].replace("**", "[bold]", 1).replace("**", "[/bold]"), *row[1:])
        console.print(shown)
    for target in targets:
        console.print(f"{SIGNS[target.reached]:13} {target.what}: {target.found or '—'}; wanted {target.wanted}")


if __name__ == "__main__":
    sys.exit(main())
