"""The command line: `postroom …`. Each command is a file of this package, named in `commands`."""

import sys
from collections.abc import Sequence

_NEEDS = ("click", "jinja2", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `arguments` defaults to those of this process.

    0: done. 1: work failed, a mail was not accepted, or an id is unknown. 2: wrong usage, bad input or configuration.
    128 + a signal's number: interrupted, so 130 for Ctrl-C.
    """
    try:
        from producers.cli.run import run  # noqa: PLC0415  # without its extra, the command line is not complete

        return run(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _NEEDS:
            raise
        sys.stderr.write(f"postroom: {error.name} is not installed: pip install 'postroom[cli]'\n")
        return 2
