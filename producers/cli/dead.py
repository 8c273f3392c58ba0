"""`postroom dead`: the dead letters, to look at, to send once more, or to delete."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import click

from postroom.errors import UnknownId
from postroom.names import State
from postroom.settings import Settings
from producers.cli.consent import ask, yes_option
from producers.cli.handling import Handling
from producers.cli.letters import mail_id, no_mail, show_letter, show_letters
from producers.cli.operating import open_operator
from producers.cli.options import Duration, json_option
from producers.cli.output import Output
from producers.cli.selection import (
    check_choice,
    choosing,
    older_than_option,
    selecting,
    selection,
)

if TYPE_CHECKING:
    from postroom.answers import DeadLetter


@click.group(name="dead")
def command() -> None:
    """Dead letters: the rejected, exhausted, expired and unresolved mails.

    They are kept for a week (POSTROOM_KEEP_OUTCOMES_DAYS), and so is their content (POSTROOM_KEEP_FAILED_DAYS), so that
    they can be sent once more. Each of these commands takes --json.
    """


@command.command(name="list")
@selecting
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="No more than so many.")
@json_option
@click.pass_obj
def list_letters(out: Output, /, batch: str | None, state: str | None, limit: int) -> int:
    """List the dead letters, newest first."""
    settings = Settings.from_environment()
    chosen = selection(settings, batch, state)
    with open_operator(settings) as operator:
        letters = list(islice(chosen.letters(operator), limit + 1))
    show_letters(out, letters[:limit], truncated=len(letters) > limit)
    return 0


@command.command(name="show")
@click.argument("id")
@click.option("--content", "asked", is_flag=True, help="Also the mail itself, as it goes to SendGrid.")
@json_option
@click.pass_obj
def show(out: Output, /, id: str, *, asked: bool) -> int:
    """Show a mail: its state, SendGrid's errors, its history; the mail itself only if it is asked for.

    Exits with 1 if the content is asked for and is gone.
    """
    with open_operator() as operator:
        try:
            status = operator.status(mail_id(id))
        except UnknownId:
            raise no_mail(id) from None
        content = operator.content(id) if asked else None
    show_letter(out, status, content, asked=asked)
    return 1 if asked and content is None else 0


@command.command(name="retry")
@choosing
@click.option("--may-repeat", is_flag=True, help="Also unresolved mails, of which SendGrid may have a copy already.")
@click.option(
    "--expires-in",
    type=Duration(),
    metavar="DURATION",
    help="Later than this it is not sent any more; the lane's default. While others of its chunk are under way, the "
    "deadline stays.",
)
@yes_option
@json_option
@click.pass_obj
def retry(
    out: Output,
    /,
    ids: tuple[str, ...],
    *,
    every: bool,
    batch: str | None,
    state: str | None,
    may_repeat: bool,
    expires_in: float | None,
    yes: bool,
) -> int:
    """Queue dead letters again. A mail keeps its id and its history, and has all its attempts again.

    Mend what was wrong before: SendGrid refuses the same mail for the same reason. Exits with 1 if a mail could not be
    queued again; it says why.
    """
    check_choice(ids, every=every, batch=batch, state=state)
    settings = Settings.from_environment()
    with open_operator(settings) as operator:
        if every:
            letters = selection(settings, batch, state).collect(out, operator)
            ids = _agreed(letters, _may_they_be_retried(letters, may_repeat=may_repeat), yes=yes)
        handling = Handling(
            lambda id: operator.retry(mail_id(id), expires_in=expires_in, may_repeat=may_repeat),
            done="queued again",
            word="retried",
        )
        handling.run(out, ids)
    return handling.show(out)


@command.command(name="purge")
@choosing
@older_than_option
@yes_option
@json_option
@click.pass_obj
def purge(
    out: Output,
    /,
    ids: tuple[str, ...],
    *,
    every: bool,
    batch: str | None,
    state: str | None,
    older_than: float | None,
    yes: bool,
) -> int:
    """Delete the content of dead letters, and SendGrid's errors, which may quote it.

    They can't be sent any more; `postroom status` still tells how they ended. The content of a batch's mails is deleted
    by a worker, when their chunk is through. Exits with 1 if a mail is unknown, or no dead letter.
    """
    check_choice(ids, every=every, batch=batch, state=state, older_than=older_than)
    settings = Settings.from_environment()
    with open_operator(settings) as operator:
        if every:
            letters = selection(settings, batch, state, older_than).collect(out, operator)
            ids = _agreed(letters, f"Delete the content of {len(letters):,} dead letters for good?", yes=yes)
        handling = Handling(lambda id: operator.purge(mail_id(id)), done="purged", word="purged")
        handling.run(out, ids)
    return handling.show(out)


def _may_they_be_retried(letters: Sequence["DeadLetter"], *, may_repeat: bool) -> str:
    question = f"Queue {len(letters):,} dead letters again?"
    unresolved = sum(letter.state is State.UNRESOLVED for letter in letters)
    if not unresolved:
        return question
    may_come_twice = f"{unresolved:,} of them may come twice: SendGrid may have accepted them already."
    left_out = f"{unresolved:,} unresolved ones are left as they are."
    return f"{may_come_twice if may_repeat else left_out} {question}"


def _agreed(letters: Sequence["DeadLetter"], question: str, *, yes: bool) -> tuple[str, ...]:
    """The ids of the letters, if somebody agrees. Nobody is asked about none."""
    if letters:
        ask(question, yes=yes)
    return tuple(letter.id for letter in letters)
