"""Program: what the measurements have in common as commands: how far they are, the table, `--json`, keeping results."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.results import Finding, save
from producers.cli.output import Output

T = TypeVar("T")


def parser(description: str | None) -> argparse.ArgumentParser:
    """For a module's docstring, of which the first line is shown; with the options that all measurements have."""
    made = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    made.add_argument("--json", action="store_true", help="print one JSON document")
    made.add_argument("--forget", action="store_true", help="leave the kept results as they are")
    return made


def through(steps: Sequence[T], name: Callable[[T], str] = str) -> Iterator[T]:
    """Go through the steps of a measurement; standard error shows how far it is."""
    columns = BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    console = Console(file=sys.stderr)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=2
    ) as bar:
        task = bar.add_task("", total=len(steps))
        for step in steps:
            bar.update(task, description=name(step))
            if not console.is_terminal:
                sys.stderr.write(f"{name(step)}\n")
            yield step
            bar.advance(task)


def hand_over(name: str, finding: Finding, options: argparse.Namespace) -> None:
    """Print a finding, and keep it for the page of results."""
    out = Output(as_json=options.json)
    out.document(finding.data)
    for table in finding.tables:
        if table.title:
            out.say(table.title)
        out.table(table.columns, table.rows)
    for target in finding.targets:
        verdict = {True: "reached", False: "missed", None: "not told"}[target.reached]
        out.say(f"{target.what}: {target.found} (wanted: {target.wanted}): {verdict}. {target.why}".rstrip(". ") + ".")
    if not options.forget:
        save(name, finding)
