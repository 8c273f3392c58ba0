"""Commands: what there is, in the order of the help. Each is the `command` of the file that is called like it."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import click

#: What the help says of each.
SUMMARIES = {
    "demo": "Send ten mails through a whole stack on this machine.",
    "up": "Run that stack until Ctrl-C, to develop against.",
    "send": "Enqueue one mail.",
    "batch": "Enqueue the mails of a file as one batch.",
    "status": "Show where a mail or a batch stands.",
    "report": "Show the results of a batch.",
    "cancel": "Cancel a mail, or what is left of a batch.",
    "dead": "List, retry or purge mails that ended without being accepted.",
    "doubt": "List mails that SendGrid may have accepted, and decide.",
    "pace": "Show how fast mail goes out, or set a limit.",
    "recover": "After Redis was restored or emptied: let the fleet go on.",
    "doctor": "Look at Redis, workers and settings; say what to mend.",
    "gateway": "Take mail over HTTP, as SendGrid does.",
    "keys": "Let apps in at the gateway.",
    "sandbox": "Run a local SendGrid with an inbox page.",
}


class Commands(click.Group):
    """Loads a command when it is called, and for the help none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in SUMMARIES:
            return None
        command: click.Command = import_module(f"producers.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


def _show_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    try:
        click.echo(f"postroom {version('postroom')}")
    except PackageNotFoundError:
        click.echo("postroom, run from its repository")
    ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def postroom() -> None:
    """Enqueue mail to be sent through SendGrid in the background, and see what became of it.

    `postroom demo` shows all of it on this machine, without an account.

    Exit codes: 0 done. 1 work failed, a mail was not accepted, or an id is unknown. 2 wrong usage, bad input or
    configuration. 130 Ctrl-C. Commands take --json to print one JSON document and nothing else.

    Settings come from the environment: POSTROOM_REDIS_URL and so on.
    """
