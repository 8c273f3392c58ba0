"""Progress: shows how far a batch is: a bar on a terminal, a plain line every few seconds elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from producers.cli.output import BAD, GOOD, QUIET, WARNING, Output, printable
from producers.cli.speed import Speed, in_short

if TYPE_CHECKING:
    from rich.console import Console

    from producers.results import Progress

#: Between two plain lines, seconds.
EVERY = 5.0


class Display(Protocol):
    """What is shown on standard error while a batch is stored, and while it is sent."""

    def stored(self, rows: int) -> None: ...

    def begin(self) -> None:
        """All is stored: from now on it is sent."""

    def sent(self, progress: "Progress") -> None: ...

    def note(self, text: str) -> None: ...


@contextmanager
def display(out: Output) -> Iterator[Display]:
    """A display for this output. With JSON and no terminal, nothing is shown."""
    if out.error_terminal is not None:
        with _bar(out.error_terminal) as bar:
            yield _Bar(bar)
    else:
        yield _Lines(out)


class _Lines:
    """Plain lines, at most one every few seconds, and one at the end."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._next = time.monotonic() + EVERY
        self._speed = Speed()

    def stored(self, rows: int) -> None:
        if self._is_time():
            self._say(f"{rows} rows stored")

    def begin(self) -> None:
        self._speed.saw(time.monotonic(), 0)

    def sent(self, progress: "Progress") -> None:
        self._speed.saw(time.monotonic(), progress.finished)
        if progress.is_final or self._is_time():
            self._say(summary(progress, self._speed))

    def note(self, text: str) -> None:
        self._say(text)

    def _is_time(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + EVERY
        return True

    def _say(self, text: str) -> None:
        if not self._out.as_json:
            self._out.note(text)


def summary(progress: "Progress", speed: Speed) -> str:
    """One line: sent, failed, rate and time left."""
    text = f"{progress.accepted} of {progress.total} sent, {progress.failed} failed, {speed.rate:.0f}/s"
    if progress.in_doubt:
        text += f", {progress.in_doubt} in doubt"
    if not progress.is_final:
        text += f", {in_short(speed.seconds_left(progress.total - progress.finished))} left"
    return text


class _Bar:
    """A bar that `rich` draws."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, text="waiting")
        self._speed = Speed()

    def stored(self, rows: int) -> None:
        self._bar.update(self._task, text=f"{rows:,} rows stored")

    def begin(self) -> None:
        self._speed.saw(time.monotonic(), 0)

    def sent(self, progress: "Progress") -> None:
        self._speed.saw(time.monotonic(), progress.finished)
        left = in_short(self._speed.seconds_left(progress.total - progress.finished))
        failed_style = BAD if progress.failed else QUIET
        text = (
            f"[{GOOD}]{progress.accepted:,} sent[/] [{failed_style}]{progress.failed:,} failed[/] "
            f"of {progress.total:,}  {self._speed.rate:,.0f}/s"
        )
        if progress.in_doubt:
            text += f" [{WARNING}]{progress.in_doubt:,} in doubt[/]"
        if not progress.is_final:
            text += f" [{QUIET}]{left} left[/]"
        self._bar.update(self._task, total=max(1, progress.total), completed=progress.finished, text=text)

    def note(self, text: str) -> None:
        self._bar.console.print(printable(text), style=WARNING, markup=False, soft_wrap=True)


def _bar(console: "Console") -> Any:
    from rich.progress import BarColumn, TextColumn  # noqa: PLC0415  # slow to load, and of use on a terminal only
    from rich.progress import Progress as RichProgress  # noqa: PLC0415

    return RichProgress(BarColumn(bar_width=30), TextColumn("{task.fields[text]}"), console=console, transient=True)
