"""Report: the page `RESULTS.md` and its charts, from all that `results` keeps. `python -m benchmarks.report`."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks import chart
from benchmarks.conditions import Conditions
from benchmarks.results import DIRECTORY, Record, Table, Target, load

PAGE = Path(__file__).parent / "RESULTS.md"
_NUMBER = re.compile(r"[-+]?[\d,.]+( ?\S{1,2})?|—|")
_REACHED = {True: "reached", False: "**not reached**", None: "not measured"}

HEAD = """\
# How fast Postroom is

Measured by `make bench`, on one machine, side by side with what you would use instead. Every figure below comes from
a run on real servers: Valkey with `appendonly yes` and `appendfsync always`, real workers, and nginx in SendGrid's
place. A processor's time is the kernel's accounting of all processes and threads that took part.
"""


def render() -> None:
    """Write the page and its charts."""
    records = load()
    for record in records:
        for figure in record.finding.charts:
            (DIRECTORY / f"{figure.name}.svg").write_text(chart.draw(figure))
    PAGE.write_text("\n".join(_page(records)) + "\n")


def _page(records: list[Record]) -> Iterator[str]:
    yield HEAD
    targets = [target for record in records for target in record.finding.targets]
    if targets:
        yield from ["## What was to be reached", "", *_table(_targets(targets)), ""]
    for record in records:
        yield from _section(record)


def _targets(targets: Iterable[Target]) -> Table:
    rows = [
        [
            target.what,
            target.wanted,
            target.found,
            f"{_REACHED[target.reached]}{': ' if target.why else ''}{target.why}",
        ]
        for target in targets
    ]
    return Table(columns=["what", "wanted", "found", ""], rows=rows)


def _section(record: Record) -> Iterator[str]:
    finding = record.finding
    yield from [f"## {finding.title}", ""]
    if finding.text:
        yield from [finding.text.strip(), ""]
    for figure in finding.charts:
        yield from [f"![{figure.title}](results/{figure.name}.svg)", ""]
    for table in finding.tables:
        if table.title:
            yield from [f"### {table.title}", ""]
        yield from [*_table(table), ""]
    yield from [_conditions(record.conditions), ""]


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.columns)} |"
    yield f"| {' | '.join('---:' if right else '---' for right in _numeric(table))} |"
    for row in table.rows:
        yield f"| {' | '.join(row)} |"


def _numeric(table: Table) -> list[bool]:
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return [all(_NUMBER.fullmatch(cell.strip("*")) for cell in column) for column in columns]


def _conditions(conditions: Conditions) -> str:
    commit = f"commit {conditions.commit}; " if conditions.commit else ""
    return (
        f"<sub>{conditions.date}; {commit}{conditions.machine}, load {conditions.load:g}; {conditions.versions}.</sub>"
    )


if __name__ == "__main__":
    render()
