"""`postroom cancel`: cancel a mail, or what is left of a batch."""

import click

from producers.cli.opening import open_postroom
from producers.cli.options import json_option
from producers.cli.output import GOOD, WARNING, Output


@click.command(name="cancel")
@click.argument("id")
@json_option
@click.pass_obj
def command(out: Output, /, id: str) -> int:
    """Cancel a mail, or what is left of a batch.

    Too late is what is finished, on its way, or was ever in doubt. Exits with 1 if it was too late for all of it.
    """
    with open_postroom() as postroom:
        cancelled = postroom.cancel(id)
    out.document({"id": id, "cancelled": cancelled.cancelled, "too_late": cancelled.too_late})
    out.say((f"{cancelled.cancelled} cancelled", GOOD if cancelled.cancelled else WARNING))
    if cancelled.too_late:
        out.say((f"{cancelled.too_late} too late", WARNING), ": finished, on the way, or once in doubt")
    return 1 if cancelled.too_late and not cancelled.cancelled else 0
