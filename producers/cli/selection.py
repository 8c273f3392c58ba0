"""Selection: which dead letters a command is about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from postroom.settings import Settings
from producers.cli.counting import counting
from producers.cli.fleet import Fleet
from producers.cli.interruption import Interruption
from producers.cli.mails import DEAD
from producers.cli.opening import open_postroom
from producers.cli.options import Command, Duration
from producers.cli.output import Output

if TYPE_CHECKING:
    from postroom.answers import DeadLetter
    from producers.operator import Operator


@dataclass(frozen=True, slots=True)
class Selection:
    """What a dead letter must be like. `before` (Unix seconds): dead since then or longer."""

    batch: str | None = None
    state: str | None = None
    before: float | None = None

    def letters(self, operator: "Operator") -> Iterator["DeadLetter"]:
        """Newest first."""
        return filter(self._has, operator.dead_letters(self.batch))

    def _has(self, letter: "DeadLetter") -> bool:
        return self.state in (None, letter.state) and (self.before is None or letter.updated_at <= self.before)

    def collect(self, out: Output, operator: "Operator") -> "list[DeadLetter]":
        """All of them, before anything is done with one of them: that would shift the others. Raises `Interrupted`."""
        found: list[DeadLetter] = []
        with Interruption(abrupt=True) as interruption, counting(out) as tell:
            for letter in self.letters(operator):
                interruption.check()
                found.append(letter)
                tell(len(found), f"{len(found):,} dead letters found")
        return found


def selecting(command: Command) -> Command:
    """The options that narrow dead letters down: `--batch` and `--state`."""
    batch = click.option("--batch", metavar="ID", help="Only those of this batch.")
    state = click.option("--state", type=click.Choice([*map(str, DEAD)]), help="Only those in this state.")
    return batch(state(command))


def choosing(command: Command) -> Command:
    """Which dead letters: their ids, or `--all`, with the options that narrow those down."""
    ids = click.argument("ids", nargs=-1, metavar="[ID]...")
    every = click.option("--all", "every", is_flag=True, help="All dead letters, or all that the options below leave.")
    return ids(every(selecting(command)))


def check_choice(ids: Sequence[str], *, every: bool, **narrowing: object) -> None:
    """Raises `click.UsageError`."""
    if bool(ids) == every:
        raise click.UsageError("Give the ids of dead letters, or --all." if not ids else "Give ids or --all, not both.")
    for name, value in narrowing.items():
        if value is not None and not every:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --all.")


def selection(settings: Settings, batch: str | None, state: str | None, older_than: float | None = None) -> Selection:
    """By the clock of Redis, which has dated the dead letters. Raises `UnknownId` for the batch."""
    if batch is not None:
        with open_postroom(settings) as postroom:
            postroom.progress(batch)
    if older_than is None:
        return Selection(batch, state)
    with Fleet(settings) as fleet:
        now = fleet.command("TIME", decode=_seconds)
    return Selection(batch, state, now - older_than)


def _seconds(time: Any) -> float:
    return float(time[0])


older_than_option: Callable[[Command], Command] = click.option(
    "--older-than", type=Duration(), metavar="DURATION", help="Only those that died so long ago: 90 (seconds), 2h, 3d."
)
