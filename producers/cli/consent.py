"""Consent: asked for before a command does something to many mails."""

import sys

import click

from producers.cli.failure import CommandFailed

yes_option = click.option("--yes", is_flag=True, help="Do not ask first.")


def ask(question: str, *, yes: bool) -> None:
    """Return if it may be done: `yes` says so, or somebody at the terminal.

    Raises `CommandFailed` if not, and `click.UsageError` where nobody can be asked.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{question} Nobody can be asked here; with --yes it is done.")
    if _answer(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise CommandFailed("declined", "Nothing was done.")


def _answer(question: str) -> str:
    try:
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise CommandFailed("interrupted", "Nothing was done.", code=130) from None
