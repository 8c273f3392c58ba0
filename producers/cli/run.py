"""Run: one call of the command line, from its words to its exit code. Expected errors show no traceback."""

import os
import sys
from collections.abc import Sequence
from itertools import takewhile

import click

from producers.cli.commands import postroom
from producers.cli.failure import explained
from producers.cli.output import Output


def run(arguments: Sequence[str]) -> int:
    """The exit codes are those of `producers.cli.main`."""
    out = Output(as_json=_asks_for_json(arguments))
    try:
        code = postroom.main(list(arguments), prog_name="postroom", standalone_mode=False, obj=out)
        sys.stdout.flush()
    except BrokenPipeError:
        return _unheard()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except (Exception, KeyboardInterrupt) as error:
        failed = explained(error)
        if failed is None:
            raise
        out.failure(failed)
        return failed.code
    return int(code or 0)


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """For errors in the words themselves; a command that could be read has an option for it."""
    return "--json" in takewhile(lambda word: word != "--", arguments)


def _unheard() -> int:
    """Whoever read the output has gone (`| head`): what is still buffered goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
