"""`postroom up`: the whole stack on this machine until Ctrl-C, to develop against."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from producers.cli.interruption import Interrupted, Interruption
from producers.cli.options import json_option
from producers.cli.output import GOOD, QUIET, Output

if TYPE_CHECKING:
    from producers.cli.local.stack import Stack

#: Between two looks at the parts, seconds.
LOOK = 0.5


@click.command(name="up")
@click.option("--port", type=click.IntRange(0, 65_535), default=8025, show_default=True, help="The inbox's port.")
@click.option(
    "--flower-port",
    type=click.IntRange(1, 65_535),
    default=5555,
    show_default=True,
    help="Flower's, if it is installed.",
)
@json_option
@click.pass_obj
def command(out: Output, /, port: int, flower_port: int) -> int:
    """Run Redis, a local SendGrid, a worker and Flower on this machine until Ctrl-C.

    Ports that are taken are replaced by free ones. Redis' data is gone afterwards. The POSTROOM_ settings of the
    environment count for the worker, other than those of addresses and keys: no mail leaves this machine.
    """
    from producers.cli.local.stack import Stack  # noqa: PLC0415  # it loads Redis' client

    with Interruption(abrupt=False) as interruption:
        try:
            out.say(("Starting …", QUIET))
            with Stack(interruption, keep=True, inbox_port=port, flower_port=flower_port) as stack:
                _show(out, stack)
                while True:
                    interruption.pause(LOOK)
                    stack.check()
        except Interrupted:
            if not out.as_json:
                out.note("Stopped; nothing is left running.")
    return 0


def _show(out: Output, stack: "Stack") -> None:
    out.document(
        {
            "redis_url": stack.redis_url,
            "inbox_url": stack.sandbox_url,
            "flower_url": stack.flower_url,
            "directory": str(stack.directory),
            "environment": stack.variables,
        }
    )
    out.say(("✓ ", GOOD), "Redis   ", (stack.redis_url, "bold"))
    out.say(("✓ ", GOOD), "Inbox   ", (stack.sandbox_url, "bold"), "  the local SendGrid")
    if stack.flower_url:
        out.say(("✓ ", GOOD), "Flower  ", (stack.flower_url, "bold"))
    elif find_spec("flower") is None:
        out.say(("  Flower  not installed: pip install 'postroom[flower]'", QUIET))
    out.say(("✓ ", GOOD), "Worker  one; logs are in ", str(stack.directory))
    out.say()
    for name, value in stack.variables.items():
        out.say(f"export {name}={value}")
    out.say()
    out.say(("Ctrl-C ends it all.", QUIET))
