"""Output: how a command says things: one JSON document, or text, handsome on a terminal and plain lines elsewhere."""

import json
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

import msgspec

from producers.cli.failure import CommandFailed, in_words

if TYPE_CHECKING:
    from rich.console import Console

#: A piece of text, or a piece and how it looks on a terminal, e.g. `("done", "bold green")`.
Part = str | tuple[str, str]

GOOD, BAD, WARNING, QUIET = "green", "bold red", "yellow", "dim"


class Output:
    """With `as_json` only `document` and `failure` print on standard output, without it only `say` and `table` do."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    def document(self, value: object) -> None:
        """The result for programs: one line of JSON, in ASCII: a file's name may be no text in any encoding."""
        if self.as_json:
            sys.stdout.write(json.dumps(msgspec.to_builtins(value)) + "\n")
            sys.stdout.flush()

    def say(self, *parts: Part) -> None:
        """A line of the result."""
        if not self.as_json:
            _write(sys.stdout, self.terminal, parts)

    def line(self, text: str) -> None:
        """A line of a result of many lines, at little cost."""
        if not self.as_json:
            sys.stdout.write(printable(text) + "\n")

    def note(self, *parts: Part) -> None:
        """A line about the work, on standard error."""
        _write(sys.stderr, self.error_terminal, parts)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Part]]) -> None:
        """A table of the result."""
        if self.as_json:
            return
        if self.terminal is None:
            _write_columns(columns, rows)
        else:
            _draw_table(self.terminal, columns, rows)

    def failure(self, failed: CommandFailed) -> None:
        """Why the command failed, and what to do next."""
        if self.as_json:
            self.document(failed.to_json())
            return
        sys.stdout.flush()
        self.note(("postroom: ", BAD), failed.message)
        for fault in failed.details.get("faults", ()):
            self.note(f"  {in_words([fault])}")
        if failed.advice:
            self.note(failed.advice)

    @cached_property
    def terminal(self) -> "Console | None":
        """Standard output, if it is a terminal."""
        return _console(sys.stdout)

    @cached_property
    def error_terminal(self) -> "Console | None":
        """Standard error, if it is a terminal."""
        return _console(sys.stderr)


def printable(text: str) -> str:
    """The text with control characters made visible: what others wrote must not command the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _console(stream: TextIO) -> "Console | None":
    if not stream.isatty():
        return None
    from rich.console import Console  # noqa: PLC0415  # slow to load, and of use on a terminal only

    console = Console(file=stream, highlight=False)
    return None if console.is_dumb_terminal else console


def _text_of(part: Part) -> str:
    return printable(part if isinstance(part, str) else part[0])


def _write(stream: TextIO, console: "Console | None", parts: Sequence[Part]) -> None:
    if console is None:
        stream.write("".join(map(_text_of, parts)) + "\n")
        stream.flush()
        return
    from rich.text import Text  # noqa: PLC0415  # as above

    styled = [(_text_of(part), "" if isinstance(part, str) else part[1]) for part in parts]
    console.print(Text.assemble(*styled), soft_wrap=True)


def _write_columns(columns: Sequence[str], rows: Iterable[Sequence[Part]]) -> None:
    lines = [list(columns), *([_text_of(part) for part in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _draw_table(console: "Console", columns: Sequence[str], rows: Iterable[Sequence[Part]]) -> None:
    from rich.box import ROUNDED  # noqa: PLC0415  # as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=ROUNDED, header_style="bold", border_style=QUIET)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_text_of(part), style="" if isinstance(part, str) else part[1]) for part in row))
    console.print(table)
