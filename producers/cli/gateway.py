"""`postroom gateway`: SendGrid's mail/send on this machine, for apps in any language."""

from importlib.util import find_spec

import click

from postroom.settings import Settings
from producers.cli.failure import CommandFailed
from producers.cli.options import Duration, json_option
from producers.cli.output import Output

NEEDS = ("starlette", "uvicorn", "httptools")


@click.command(name="gateway")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option(
    "--read-timeout",
    type=Duration(),
    default="30s",
    show_default=True,
    metavar="DURATION",
    help="A mail must have come within so long; of a batch, the next piece.",
)
@json_option
@click.pass_obj
def command(out: Output, /, host: str, port: int, workers: int, read_timeout: float) -> int:
    r"""Take mail over HTTP, as SendGrid does, until Ctrl-C.

    \b
    postroom keys add shop --from-domain example.com    a key for an app
    postroom gateway                                    on http://127.0.0.1:8080

    The app's SDK then sends with that key, to that address in place of https://api.sendgrid.com. /docs on it shows
    all calls. On an address that others reach it does not start without keys. Standard error has a line of JSON for
    each request; with --json, standard output has one with the address.
    """
    if any(find_spec(name) is None for name in NEEDS):
        raise CommandFailed(
            "not_installed", "The gateway is not installed.", code=2, advice="pip install 'postroom[gateway,cli]'"
        )
    from producers.gateway.server import run  # noqa: PLC0415  # it loads the web framework

    run(
        Settings.from_environment(),
        host=host,
        port=port,
        workers=workers,
        read_seconds=read_timeout,
        on_ready=lambda url: _tell(out, url),
    )
    return 0


def _tell(out: Output, url: str) -> None:
    out.document({"url": url})
    out.say(f"gateway listening on {url}")
