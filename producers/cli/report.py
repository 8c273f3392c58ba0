"""`postroom report`: the collected results of a batch."""

import click

from postroom.errors import UnknownId
from producers.cli.failure import CommandFailed
from producers.cli.mails import at, by_row, show_advice, show_counts, show_deliveries, show_failures
from producers.cli.opening import open_postroom
from producers.cli.options import json_option
from producers.cli.output import WARNING, Output
from producers.client import Postroom
from producers.results import Report


@click.command(name="report")
@click.argument("id")
@json_option
@click.pass_obj
def command(out: Output, /, id: str) -> int:
    """Show the results of a batch: its counts, and the mails that SendGrid did not accept.

    Rows are counted from 0. Exits with 1 if a mail has ended without being accepted.
    """
    with open_postroom() as postroom:
        report = _report(postroom, id)
        if out.as_json:
            out.document(report.to_json())
        else:
            _show(out, report)
            show_advice(out, postroom.progress(id))
    return 1 if sum(report.counts.values()) > report.counts["accepted"] else 0


def _report(postroom: Postroom, id: str) -> Report:
    try:
        return postroom.report(id)
    except UnknownId:
        status = postroom.status(id)
    raise CommandFailed(
        "unknown_id", f"{id} is a mail, not a batch.", advice=f"postroom status {id}", id=id, state=status.state
    )


def _show(out: Output, report: Report) -> None:
    show_counts(out, report.batch_id, report.total, report.counts)
    show_deliveries(out, report.deliveries)
    if report.final_at is None:
        out.say(("It is still under way.", WARNING))
    else:
        out.say("Final since ", at(report.final_at))
    if report.changed_since is not None:
        out.say(("Something changed after that, at ", WARNING), at(report.changed_since))
    show_failures(out, by_row(report.failed), report.batch_id)
