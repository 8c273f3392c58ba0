"""Feed: hands the mails of a file to `enqueue_batch`, one by one, and knows where in the file it is."""

from array import array
from collections.abc import Callable, Iterator
from typing import Any

from postroom.errors import Fault, InvalidMail
from postroom.mail import MailLike
from producers.cli.files.rows import Row
from producers.cli.interruption import Interruption
from producers.cli.mails import faults_as_text
from producers.cli.progress import Display
from producers.results import MOST_IN_JSON

#: The display hears of every so many-th row.
EVERY = 500


class Feed:
    """The rows of a file, in its order; memory is 4 bytes a row.

    `faults_of` is given to leave out the rows that have faults.
    """

    def __init__(
        self,
        rows: Iterator[Row],
        interruption: Interruption,
        shown: Display,
        *,
        faults_of: Callable[[Row], tuple[Fault, ...]] | None,
    ) -> None:
        self._rows = rows
        self._interruption = interruption
        self._shown = shown
        self._faults_of = faults_of
        self._lines = array("I")
        self.current: Row | None = None
        self.skipped = 0
        self.first_skipped: list[dict[str, Any]] = []
        #: All was handed over, so what fails now is the end of the work.
        self.is_through = False

    def __iter__(self) -> Iterator[MailLike]:
        """Raises `InvalidMail` for a row that can't be a mail, and `Interrupted`."""
        for row in self._rows:
            self._interruption.check()
            self.current = row
            if self._faults_of and (faults := self._faults_of(row)):
                self._leave_out(row._replace(faults=faults))
                continue
            if row.faults:
                raise InvalidMail(row.faults, row.row)
            self._lines.append(row.line)
            if len(self._lines) % EVERY == 0:
                self._shown.stored(len(self._lines))
            yield row.mail
        self._interruption.check()
        self.is_through = True

    @property
    def total(self) -> int:
        """How many mails were handed over."""
        return len(self._lines)

    def line_of(self, place: int) -> int:
        """The line of the file on which the mail at a place of the batch begins."""
        return self._lines[place]

    def _leave_out(self, row: Row) -> None:
        self.skipped += 1
        if self.skipped <= MOST_IN_JSON:
            self.first_skipped.append(faulty_row(row))
        self._shown.note(f"left out: {faults_as_text(row.line, row.row, row.faults)}")


def faulty_row(row: Row) -> dict[str, Any]:
    """A row that has faults, for JSON."""
    return {"line": row.line, "row": row.row, "faults": row.faults}
