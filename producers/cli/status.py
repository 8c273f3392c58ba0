"""`postroom status`: where a mail stands, or how far a batch is."""

import click

from postroom.errors import UnknownId
from postroom.names import FINISHED, State
from producers.cli.mails import show_advice, show_mail, show_progress
from producers.cli.opening import open_postroom
from producers.cli.options import json_option
from producers.cli.output import Output


@click.command(name="status")
@click.argument("id")
@json_option
@click.pass_obj
def command(out: Output, /, id: str) -> int:
    """Show where a mail stands, or how far a batch is.

    Exits with 1 if the mail, or one of the batch, has ended without being accepted by SendGrid.
    """
    with open_postroom() as postroom:
        try:
            status = postroom.status(id)
        except UnknownId:
            progress = postroom.progress(id)
            show_progress(out, progress)
            show_advice(out, progress)
            return 1 if progress.failed else 0
    show_mail(out, status)
    return 1 if status.state in FINISHED and status.state is not State.ACCEPTED else 0
