"""Spreadsheet: recipients in a CSV file, as spreadsheets write it, and a template: one mail for each row."""

import csv
from collections.abc import Iterable, Iterator

from postroom.errors import Fault, InvalidMail, shown
from producers.cli.failure import CommandFailed, bad_input
from producers.cli.files.rows import Row, without_mark
from producers.cli.files.template import Template

#: The longest field, in characters: a quote that is never closed must not take in the whole file.
LONGEST_FIELD = 4 * 1024 * 1024

#: What a header in one piece is split by when it was not meant to be one column.
OTHER_DELIMITERS = {";": "';'", "\t": "$'\\t'", "|": "'|'"}


def spreadsheet(lines: Iterable[bytes], name: str, template: Template, delimiter: str = ",") -> Iterator[Row]:
    """A mail for each row: the template with the row's values.

    The first row names the columns. Quoted fields may have line ends in them. Rows without any value are skipped.
    A row of another length than the header, or one that the template can't be filled in from, has faults. Raises
    `CommandFailed`, naming the line, where the file can't be read on: another encoding than UTF-8, wrong quotes.
    """
    records = _records(lines, name, delimiter)
    header = next(records, None)
    if header is None:
        raise bad_input(f"{name} is empty.", "Its first line names the columns.")
    columns = _columns(header[1], name, delimiter)
    for row, (line, values) in enumerate(records):
        if len(values) != len(columns):
            yield Row(line, row, {}, (_ragged(values, columns),))
            continue
        try:
            yield Row(line, row, template.fill(dict(zip(columns, values, strict=True))))
        except InvalidMail as error:
            yield Row(line, row, {}, tuple(error.faults))


def _records(lines: Iterable[bytes], name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The records that have a value, each with the line it begins on."""
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(_decoded(lines, name), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _unreadable(name, line, str(error)) from None
        if any(value.strip() for value in record):
            yield line, record


def _decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(without_mark(lines, name), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise bad_input(
                f"{name}, line {number}: byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8.",
                "Save the file as UTF-8 (in a spreadsheet: “CSV UTF-8”).",
                line=number,
            ) from None


def _unreadable(name: str, line: int, problem: str) -> CommandFailed:
    if "new-line character" in problem:
        problem = "a line ends in CR alone; save the file with line ends of LF or CR LF"
    elif "unexpected end" in problem or "field larger" in problem:
        problem = f"{problem}; a quote that begins in this row is not closed"
    return bad_input(f"{name}, line {line}: {problem}.", line=line)


def _columns(header: list[str], name: str, delimiter: str) -> list[str]:
    columns = [column.strip() for column in header]
    if len(columns) == 1 and (found := [other for other in OTHER_DELIMITERS if other in columns[0]]):
        raise bad_input(
            f"{name}, line 1: {shown(columns[0])} is one column; the file is not separated by {delimiter!r}.",
            f"Try --delimiter {OTHER_DELIMITERS[found[0]]}.",
        )
    repeated = sorted({column for column in columns if column and columns.count(column) > 1})
    if repeated:
        raise bad_input(f"{name}, line 1: more than one column is called {', '.join(repeated)}.", "Rename them.")
    return columns


def _ragged(values: list[str], columns: list[str]) -> Fault:
    return Fault("", f"The row has {_counted(values)}, the header has {_counted(columns)}.")


def _counted(fields: list[str]) -> str:
    return f"{len(fields)} field{'s' if len(fields) != 1 else ''}"
