"""Counting: shows how far work on many mails is: a bar on a terminal, a plain line every few seconds elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from producers.cli.output import Output
from producers.cli.progress import EVERY

if TYPE_CHECKING:
    from rich.console import Console

#: Is told how much is done, and the same in words.
Tell = Callable[[int, str], None]


@contextmanager
def counting(out: Output, total: int | None = None) -> Iterator[Tell]:
    """A display on standard error; `total` may be unknown. With JSON and no terminal, nothing is shown."""
    if out.error_terminal is None:
        yield _lines(out)
    else:
        with _bar(out.error_terminal) as bar:
            task = bar.add_task("", total=total, text="")
            yield lambda done, text: bar.update(task, completed=done, text=text)


def _lines(out: Output) -> Tell:
    following = time.monotonic() + EVERY

    def tell(_done: int, text: str) -> None:
        nonlocal following
        if time.monotonic() >= following and not out.as_json:
            following = time.monotonic() + EVERY
            out.note(text)

    return tell


def _bar(console: "Console") -> Any:
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415  # slow to load, for a terminal only

    return Progress(BarColumn(bar_width=30), TextColumn("{task.fields[text]}"), console=console, transient=True)
