"""`postroom pace`: how fast mail goes out, fleet-wide, and how fast it may."""

from typing import TYPE_CHECKING

import click

from postroom.names import Lane
from postroom.rate import Rate
from producers.cli.operating import open_operator
from producers.cli.options import json_option
from producers.cli.output import GOOD, QUIET, WARNING, Output, Part

if TYPE_CHECKING:
    from postroom.answers import Pace

DEFAULT, NONE = "default", "none"


class Limit(click.ParamType[str]):
    """A rate, or `none`, or `default`."""

    name = "limit"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in (DEFAULT, NONE):
            try:
                Rate(value)
            except ValueError as error:
                self.fail(f"{error}; or {NONE}, or {DEFAULT}", param, ctx)
        return value


@click.command(name="pace")
@click.argument("name", required=False, type=click.Choice(["all", *map(str, Lane)]))
@click.argument("limit", required=False, type=Limit(), metavar="[LIMIT]")
@json_option
@click.pass_obj
def command(out: Output, /, name: str | None, limit: str | None) -> int:
    r"""Show how fast mail goes out, or set a limit for the whole fleet, while it runs.

    \b
    postroom pace                    what goes out in a second, and the limits
    postroom pace all 200/s          no more than that, of each account at SendGrid
    postroom pace bulk 5000/h        no more than that, of the lane bulk
    postroom pace bulk none          no limit
    postroom pace bulk default       what POSTROOM_RATE_BULK says, as before

    A limit counts mails, or recipients if POSTROOM_RATE_UNIT says so. In a tenth of a second it may be spent at once.
    """
    if name is not None and limit is None:
        raise click.UsageError(f"Say which limit: postroom pace {name} 200/s, or {NONE}, or {DEFAULT}.")
    with open_operator() as operator:
        if name is not None and limit is not None:
            operator.set_pace(name, None if limit == NONE else limit)
        paces = operator.pace()
    _show(out, accounts=paces[: -len(Lane)], lanes=paces[-len(Lane) :])
    return 0


def _show(out: Output, accounts: "list[Pace]", lanes: "list[Pace]") -> None:
    out.document({"accounts": accounts, "lanes": lanes})
    rows = [("account", *_row(pace)) for pace in accounts] + [("lane", *_row(pace)) for pace in lanes]
    out.table(["", "name", "goes out", "limit", "set by", ""], rows)


def _row(pace: "Pace") -> tuple[Part, ...]:
    limit = "none" if pace.rate is None else f"{pace.rate:g}/s"
    source = "hand" if pace.by_hand else "settings" if pace.rate is not None else ""
    slow = (f"held to {pace.slow:.0f}/s after a 429", WARNING) if pace.slow else ""
    return (pace.name, (f"{pace.recent:g}/s", GOOD if pace.recent else QUIET), limit, source, slow)
