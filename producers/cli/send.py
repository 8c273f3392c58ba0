"""`postroom send`: enqueue one mail."""

from typing import Any

import click

from postroom.errors import InvalidMail, QueueUnavailable
from postroom.names import Lane, State
from postroom.settings import Settings
from producers.cli import waiting
from producers.cli.failure import CommandFailed, invalid, sentence
from producers.cli.files.inputs import called, whole
from producers.cli.interruption import Interruption
from producers.cli.mails import show_mail
from producers.cli.opening import open_postroom
from producers.cli.options import MailId, WaitingCommand, json_option, sending_options, wait_option
from producers.cli.output import GOOD, Output
from producers.cli.progress import display
from producers.client import Postroom


@click.command(cls=WaitingCommand, name="send")
@click.argument("file")
@sending_options(Lane.TRANSACTIONAL)
@click.option("--id", type=MailId(), help="Repeat a call that could not tell whether the mail was enqueued.")
@wait_option
@json_option
@click.pass_obj
def command(out: Output, /, file: str, wait: float | None, **terms: Any) -> int:
    """Enqueue one mail: FILE is a body of SendGrid's v3 mail/send as JSON, or - for standard input.

    Prints the mail's id. With --wait, prints what became of it, and exits with 0 only if SendGrid accepted it.
    """
    settings = Settings.from_environment()
    body = whole(file)
    with open_postroom(settings) as postroom, Interruption(abrupt=True) as interruption:
        id = _enqueue(postroom, file, body, terms)
        if wait is None:
            _say(out, id)
            return 0
        with display(out) as shown:
            subject = waiting.mail(postroom, id)
            status = waiting.Waiting(subject, settings, shown, interruption).until_over(wait)
    show_mail(out, status)
    return 0 if status.state is State.ACCEPTED else 1


def _say(out: Output, id: str) -> None:
    out.document({"id": id})
    out.say(id)
    if out.terminal:
        out.note(("Enqueued. ", GOOD), f"What becomes of it: postroom status {id}")


def _enqueue(postroom: Postroom, file: str, body: bytes, terms: dict[str, Any]) -> str:
    try:
        return postroom.enqueue(body, **terms)
    except InvalidMail as error:
        raise invalid(called(file), error.faults, "Nothing was enqueued.") from None
    except QueueUnavailable as error:
        if not error.may_be_enqueued:
            raise
        raise CommandFailed(
            "queue_unavailable",
            sentence(f"The mail may be enqueued, or not: Redis did not answer: {error.detail}"),
            advice=f"Repeat the command with --id {error.id}: then it is enqueued once in any case.",
            id=error.id,
            may_be_enqueued=True,
        ) from None
