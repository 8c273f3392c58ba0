"""`postroom batch`: enqueue the mails of a file as one batch."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import click

from postroom.errors import InvalidMail, QueueUnavailable
from postroom.names import Lane
from postroom.settings import Settings
from producers.cli import waiting
from producers.cli.failure import CommandFailed, bad_input, invalid, sentence
from producers.cli.files.checking import check as check_rows
from producers.cli.files.checking import checker
from producers.cli.files.feed import Feed
from producers.cli.files.inputs import called, opened, whole
from producers.cli.files.mailing import ONE, Mailing, divided, parsed
from producers.cli.files.rows import Row, json_lines
from producers.cli.interruption import Interrupted, Interruption
from producers.cli.mails import show_counts, show_failures
from producers.cli.opening import open_postroom
from producers.cli.options import WaitingCommand, json_option, sending_options, wait_option
from producers.cli.output import GOOD, Output
from producers.cli.progress import display
from producers.client import Postroom
from producers.intake import terms as checked_terms


@click.command(cls=WaitingCommand, name="batch")
@click.argument("file")
@click.option("--template", metavar="FILE", help="For CSV: a v3 body as JSON, whose strings have {{column}} in them.")
@click.option("--merge", is_flag=True, help="Send one mail to all recipients, up to a thousand in a request.")
@click.option("--per-request", type=click.IntRange(1, 1000), metavar="N", help="With --merge: at most N in a request.")
@click.option("--delimiter", default=",", show_default=True, help="What separates the fields of CSV.")
@click.option("--check", is_flag=True, help="Only look at each row; enqueue nothing. Exit 2 if one has faults.")
@click.option("--skip-invalid", is_flag=True, help="Leave out the rows that have faults, and enqueue the others.")
@sending_options(Lane.BULK)
@wait_option
@json_option
@click.pass_obj
def command(
    out: Output,
    /,
    file: str,
    *,
    template: str | None,
    merge: bool,
    per_request: int | None,
    delimiter: str,
    check: bool,
    skip_invalid: bool,
    wait: float | None,
    **terms: Any,
) -> int:
    """Enqueue the mails of a file as one batch.

    FILE has one v3 body as JSON on each line (.jsonl); or it is a .csv of recipients, whose first line names the
    columns, with --template. - is standard input. Empty lines are skipped. Lines are counted from 1, rows from 0.

    With --merge, a recipient costs a small part of a mail, but a request in doubt is all of its recipients in doubt.
    Only the personalization of the template has placeholders then; or FILE has one personalization on each line
    (.jsonl), and the template has none.

    Nothing is sent before all rows are checked and stored: without --skip-invalid one bad row stops it all. With
    --key, the same command after a failure goes on where it stopped, and nothing is enqueued twice.

    Prints the batch's id. Exit: 0 enqueued; with --wait, all accepted.
    """
    settings = Settings.from_environment()
    with_terms = checked_terms(settings, **{name: value for name, value in terms.items() if name != "key"})
    if not merge and per_request is not None:
        raise click.UsageError("--per-request goes with --merge.")
    with opened(file) as lines, Interruption(abrupt=True) as interruption:
        rows, merged = _rows(lines, file, template, delimiter, merge=merge)
        mailing = Mailing(merged, per_request or 1000)
        faults_of = checker(mailing.intake(settings, with_terms, template or file))
        if check:
            return check_rows(rows, faults_of, out, interruption)
        with open_postroom(settings) as postroom:
            with display(out) as shown:
                feed = Feed(rows, interruption, shown, faults_of=faults_of if skip_invalid else None)
                batch_id = _enqueue(postroom, feed, mailing, file, terms)
                shown.note(f"Batch {batch_id}: {feed.total} mails are enqueued{_without(feed)}.")
                if wait is not None:
                    subject = waiting.batch(postroom, batch_id, shown)
                    waiting.Waiting(subject, settings, shown, interruption).until_over(wait)
            return _show_id(out, feed, batch_id) if wait is None else _show_results(out, postroom, feed, batch_id)


def _rows(
    lines: BinaryIO, file: str, template: str | None, delimiter: str, *, merge: bool
) -> tuple[Iterator[Row], dict[str, Any] | None]:
    """The rows; and if these are recipients to be merged, what all of them get."""
    suffix = Path(file).suffix.lower()
    is_json = suffix in (".jsonl", ".ndjson", ".json")
    if template is None:
        if merge:
            raise click.UsageError("--merge needs --template FILE: the mail that all recipients get.")
        if suffix == ".csv":
            raise click.UsageError("A .csv of recipients needs --template FILE: the mail that each of them gets.")
        return json_lines(lines, called(file)), None
    if is_json and not merge:
        raise click.UsageError(f"--template goes with CSV, or with --merge; {file} has whole mails in it.")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise click.UsageError(f"--delimiter is one character, not {delimiter!r}.")
    if is_json:
        return json_lines(lines, called(file)), parsed(whole(template), template)
    from producers.cli.files.spreadsheet import spreadsheet  # noqa: PLC0415  # jinja2 is slow to load
    from producers.cli.files.template import Template, has_placeholder  # noqa: PLC0415

    body, common = parsed(whole(template), template), None
    if merge:
        common, body = divided(body, template)
        if varying := [part for part, value in common.items() if has_placeholder(value)]:
            raise bad_input(f"{template}, {varying[0]}: a placeholder outside of the personalization.", ONE)
    return spreadsheet(lines, called(file), Template(body, template), delimiter), common


def _enqueue(postroom: Postroom, feed: Feed, mailing: Mailing, file: str, terms: dict[str, Any]) -> str:
    """Raises `CommandFailed`, which says where in the file, and whether anything is enqueued."""
    mails = iter(feed)
    try:
        first = next(mails, None)
        if first is None:
            raise _nothing(file, feed)
        return mailing.enqueue(postroom, chain([first], mails), terms).id
    except InvalidMail as error:
        raise _invalid(file, feed, error) from None
    except Interrupted as interrupted:
        raise CommandFailed(
            "interrupted", f"Stopped after {feed.total} rows.", code=interrupted.code, advice=_again(terms)
        ) from None
    except QueueUnavailable as error:
        raise _unavailable(feed, error, terms) from None
    except CommandFailed as failed:
        failed.advice = f"{failed.advice} Nothing was enqueued.".lstrip()
        raise


def _nothing(file: str, feed: Feed) -> CommandFailed:
    if feed.skipped:
        return bad_input(f"All {feed.skipped} rows of {called(file)} have faults.", **_skipped(feed))
    return bad_input(f"{called(file)} has no rows.")


def _invalid(file: str, feed: Feed, error: InvalidMail) -> CommandFailed:
    row = feed.current
    assert row is not None
    return invalid(
        f"{called(file)}, line {row.line}, row {row.row}",
        error.faults,
        "Nothing was enqueued. --check looks at every row, --skip-invalid enqueues those without faults.",
        line=row.line,
        row=row.row,
    )


def _again(terms: dict[str, Any]) -> str:
    nothing = "Nothing of this batch is sent, for it is not complete."
    if terms["key"]:
        return f"{nothing} The same command goes on where it stopped."
    return f"{nothing} Repeat the command; with a --key it could go on where it stopped."


def _unavailable(feed: Feed, error: QueueUnavailable, terms: dict[str, Any]) -> CommandFailed:
    is_unclear = feed.is_through and error.may_be_enqueued
    unclear = "The batch may be enqueued. "
    if terms["key"]:
        unclear += "Repeat the command, with the same key: then it is enqueued once in any case."
    else:
        unclear += f"See whether it is, before you repeat the command: postroom status {error.id}"
    return CommandFailed(
        "queue_unavailable",
        sentence(f"Redis is not reachable, after {feed.total} rows: {error.detail}"),
        advice=unclear if is_unclear else f"{_again(terms)} `postroom doctor` looks at Redis.",
        batch_id=error.id,
        may_be_enqueued=is_unclear,
    )


def _without(feed: Feed) -> str:
    return f", {feed.skipped} rows with faults are left out" if feed.skipped else ""


def _skipped(feed: Feed) -> dict[str, Any]:
    return {"skipped": feed.skipped, "skipped_rows": feed.first_skipped}


def _show_id(out: Output, feed: Feed, batch_id: str) -> int:
    out.document({"batch_id": batch_id, "total": feed.total, **_skipped(feed)})
    out.say(batch_id)
    if out.terminal:
        out.note(("Enqueued. ", GOOD), f"What becomes of it: postroom report {batch_id}")
    return 0


def _show_results(out: Output, postroom: Postroom, feed: Feed, batch_id: str) -> int:
    report = postroom.report(batch_id)
    if out.as_json:
        document = report.to_json()
        failed = [{**failure, "line": feed.line_of(failure["row"])} for failure in document["failed"]]
        out.document({**document, "failed": failed, **_skipped(feed)})
    else:
        show_counts(out, batch_id, report.total, report.counts)
        placed = ((failure, f"line {feed.line_of(failure.row)}, row {failure.row}") for failure in report.failed)
        show_failures(out, placed, batch_id)
    return 0 if report.counts["accepted"] == report.total else 1
