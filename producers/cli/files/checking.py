"""Checking: looks at the rows of a file as enqueueing would, without Redis."""

from collections.abc import Callable, Iterator
from typing import Any

from postroom import ids
from postroom.errors import Fault, InvalidMail
from producers.cli.files.feed import faulty_row
from producers.cli.files.rows import Row
from producers.cli.interruption import Interruption
from producers.cli.mails import faults_as_text
from producers.cli.output import Output
from producers.intake import Taken
from producers.results import MOST_IN_JSON


def checker(take: Callable[[Any, str], Taken]) -> Callable[[Row], tuple[Fault, ...]]:
    """A function that finds the faults of a row; none, if it would be enqueued. `take` is that of its mailing."""
    id = ids.new_id()

    def faults_of(row: Row) -> tuple[Fault, ...]:
        if row.faults:
            return row.faults
        try:
            take(row.mail, ids.mail_id(ids.chunk_id(id, row.row), 0))
        except InvalidMail as error:
            return tuple(error.faults)
        return ()

    return faults_of


def check(
    rows: Iterator[Row], faults_of: Callable[[Row], tuple[Fault, ...]], out: Output, interruption: Interruption
) -> int:
    """Print a line for each row. Returns the exit code: 0, or 2 when a row has faults or there is none."""
    total, faulty, first = 0, 0, list[dict[str, Any]]()
    for row in rows:
        interruption.check()
        total += 1
        faults = faults_of(row)
        out.line(faults_as_text(row.line, row.row, faults))
        if faults:
            faulty += 1
            if len(first) < MOST_IN_JSON:
                first.append(faulty_row(row._replace(faults=faults)))
    out.document(
        {"rows": total, "ok": total - faulty, "faulty": faulty, "faults": first, "truncated": faulty > len(first)}
    )
    if not out.as_json:
        out.note(f"{total} rows: {total - faulty} ok, {faulty} with faults. Nothing was enqueued.")
    return 2 if faulty or not total else 0
