"""`postroom sandbox`: run the local SendGrid, in place of this process."""

import os
import sys
from importlib.util import find_spec

import click

from producers.cli.failure import CommandFailed
from producers.cli.local.children import child_environment
from producers.cli.output import Output

NEEDS = ("starlette", "uvicorn", "httptools", "jinja2")


@click.command(
    name="sandbox",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(out: Output, /, options: tuple[str, ...]) -> None:
    """Run a local SendGrid, with an inbox page, until Ctrl-C; `postroom sandbox --help` shows its options."""
    if any(find_spec(name) is None for name in NEEDS):
        raise CommandFailed(
            "not_installed", "The sandbox is not installed.", code=2, advice="pip install 'postroom[sandbox]'"
        )
    out.as_json = False
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "sandbox", *options], child_environment())  # noqa: S606
