"""`postroom doubt`: mails of which nobody knows whether SendGrid has accepted them."""

import re
from itertools import islice
from typing import TYPE_CHECKING

import click

from postroom.names import State
from producers.cli.failure import CommandFailed
from producers.cli.handling import Handling
from producers.cli.letters import mail_id, show_doubts
from producers.cli.operating import open_operator
from producers.cli.options import json_option
from producers.cli.output import Output
from producers.cli.selection import Selection

if TYPE_CHECKING:
    from producers.operator import Operator

#: A receipt is what SendGrid's `X-Message-Id` can be.
RECEIPT = re.compile(r"[!-~]{1,100}")


@click.group(name="doubt")
def command() -> None:
    """Mails in doubt: SendGrid may have accepted them, or not.

    A doubt ends by itself when its grace is over: by one more copy, or as unresolved. Who knows better can end it
    before or after. Each of these commands takes --json.
    """


@command.command(name="list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="No more than so many.")
@json_option
@click.pass_obj
def list_doubts(out: Output, /, limit: int) -> int:
    """List the mails in doubt: when the grace ends, and what comes then; and how many are left unresolved."""
    with open_operator() as operator:
        doubts = list(islice(operator.doubts(), limit + 1))
        unresolved = sum(1 for _ in Selection(state=State.UNRESOLVED).letters(operator))
    show_doubts(out, doubts[:limit], unresolved, truncated=len(doubts) > limit)
    return 0


@command.command(name="resolve")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--accepted/--not-accepted", default=None, help="Whether SendGrid has accepted them.")
@click.option("--receipt", help="SendGrid's X-Message-Id, if you know it.")
@json_option
@click.pass_obj
def resolve(out: Output, /, ids: tuple[str, ...], *, accepted: bool | None, receipt: str | None) -> int:
    """End a doubt, also an unresolved mail's: you have looked at SendGrid, and know.

    SendGrid's Email Activity finds a mail by its custom argument postroom_id, which is its id. With --accepted it is
    accepted; with --not-accepted it is queued again at once. Exits with 1 if that can't be done for one of them.
    """
    _check(ids, accepted, receipt)
    with open_operator() as operator:
        handling = Handling(
            lambda id: _resolve(operator, mail_id(id), accepted=bool(accepted), receipt=receipt or ""),
            done="accepted" if accepted else "queued again",
            word="resolved",
        )
        handling.run(out, ids)
    return handling.show(out)


def _check(ids: tuple[str, ...], accepted: bool | None, receipt: str | None) -> None:
    """Raises `click.UsageError`."""
    if accepted is None:
        raise click.UsageError("Say what you know: --accepted or --not-accepted.")
    if receipt is None:
        return
    if not accepted or len(set(ids)) > 1:
        raise click.UsageError("--receipt goes with --accepted and one id.")
    if not RECEIPT.fullmatch(receipt):
        raise click.UsageError("A receipt is at most 100 visible characters of ASCII.")


def _resolve(operator: "Operator", id: str, *, accepted: bool, receipt: str) -> None:
    """Raises `UnknownId`, `CannotRetry`, and `CommandFailed` for a mail that is in no doubt."""
    state = operator.status(id).state
    if accepted and state is State.ACCEPTED:
        return
    if state not in (State.IN_DOUBT, State.UNRESOLVED):
        raise CommandFailed("not_in_doubt", f"{id} is {state}, and in no doubt.", id=id, state=state)
    operator.resolve(id, accepted=accepted, receipt=receipt)
