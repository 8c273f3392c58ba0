"""Options that commands share, and the kinds of values they take."""

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from postroom import ids
from postroom.names import Lane, OnDoubt
from producers.cli.output import Output

Command = TypeVar("Command", bound=Callable[..., Any])

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
TEN_YEARS = 10 * 365 * 86_400

#: What `--wait` without a duration means.
FOREVER = "forever"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)", re.ASCII)


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: 90, 15m, 2h, 3d. More than 0, at most ten years."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == FOREVER:
            return math.inf
        found = _DURATION.fullmatch(str(value))
        seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
        if not 0 < seconds <= TEN_YEARS:
            self.fail(f"{value!r} is no duration: 90 (seconds), 15m, 2h or 3d, at most ten years", param, ctx)
        return seconds


class Moment(click.ParamType[float]):
    """A time of ISO 8601 with its zone, or Unix seconds; converted to Unix seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = float(value) if re.fullmatch(r"[\d.]+", str(value)) else _iso(str(value))
        except ValueError as error:
            self.fail(f"{value!r} is no time, such as 2030-01-31T09:00+01:00 or 1896076800: {error}", param, ctx)
        if not 0 < seconds < 10**11:
            self.fail(f"{value!r} is out of range", param, ctx)
        return seconds


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("it has no time zone; put Z (UTC) or one like +01:00 behind it")
    return moment.timestamp()


class Key(click.ParamType[str]):
    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value) or self.fail("a key must not be empty", param, ctx)


class MailId(click.ParamType[str]):
    """The id of a single mail, as `QueueUnavailable` gives it."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not ids.is_id(value) or "." in value:
            self.fail(f"{value!r} is not the id of a single mail: 20 characters of a-z and 2-7", param, ctx)
        return str(value)


class WaitingCommand(click.Command):
    """A command whose `--wait` may be followed by a duration, and need not be."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_wait_joined(args))


def _with_wait_joined(arguments: list[str]) -> list[str]:
    """`--wait 30` as `--wait=30`, and `--wait mail.json` as `--wait=forever mail.json`."""
    joined: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*joined, word, *words]
        if joined and joined[-1] == "--wait":
            is_duration = _DURATION.fullmatch(word) is not None
            joined[-1] = f"--wait={word if is_duration else FOREVER}"
            if is_duration:
                continue
        joined.append(word)
    return [f"--wait={FOREVER}" if word == "--wait" else word for word in joined]


def _set_json(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    out: Output = ctx.obj
    out.as_json = value


json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=_set_json, help="Print one JSON document and nothing else."
)

wait_option = click.option(
    "--wait",
    type=Duration(),
    metavar="[DURATION]",
    help="Wait until all is done, or so long; exit 0 only if all was accepted.",
)


def sending_options(lane: Lane) -> Callable[[Command], Command]:
    """How to send; `lane` is the default of `--lane`."""
    options = (
        click.option("--key", type=Key(), help="Idempotency: the same key and content are enqueued once."),
        click.option("--lane", type=click.Choice([*map(str, Lane)]), default=str(lane), show_default=True),
        click.option(
            "--expires-in",
            type=Duration(),
            metavar="DURATION",
            help="Later than this it is not sent any more: 90 (seconds), 15m, 2h, 3d.",
        ),
        click.option(
            "--send-at", type=Moment(), metavar="TIME", help="Not before: 2030-01-31T09:00+01:00, or Unix seconds."
        ),
        click.option(
            "--on-doubt",
            type=click.Choice([*map(str, OnDoubt)]),
            default=str(OnDoubt.RESEND),
            show_default=True,
            help="When SendGrid may or may not have taken it: send once more after a while, or hold it.",
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
