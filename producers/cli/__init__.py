"""The command line: `postroom …`. Each command is a file of this package, named in `commands`."""

import sys
from collections.abc import Sequence

_MISSING = "postroom: the command line needs click and rich: pip install 'postroom[cli]'\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `arguments` defaults to those of this process.

    0: done. 1: work failed, a mail was not accepted, or an id is unknown. 2: wrong usage, bad input or configuration.
    128 + a signal's number: interrupted, so 130 for Ctrl-C.
    """
    try:
        from producers.cli.run import run  # noqa: PLC0415  # without the extra `cli` there is no click
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("click", "rich"):
            raise
        sys.stderr.write(_MISSING)
        return 2
    return run(sys.argv[1:] if arguments is None else arguments)
