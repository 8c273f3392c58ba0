"""The sandbox as a program: `python -m sandbox`."""

import argparse
import sys
from pathlib import Path

from postroom.errors import ConfigurationError
from sandbox import run


def main() -> int:
    """Run until SIGTERM or Ctrl-C: exit code 0. Wrong usage, a taken port or a log that cannot be written: 2."""
    options = _parser().parse_args()
    try:
        run(
            options.host,
            options.port,
            options.log,
            options.key,
            _say,
            most_mails=options.mails,
            seed=options.seed,
        )
    except ConfigurationError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    return 0


def _say(url: str) -> None:
    sys.stdout.write(f"sandbox listening on {url}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="A local SendGrid: accepts mail, shows it on an inbox page, and misbehaves on request (/faults).",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8025, help="0 takes a free one (%(default)s)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append a line of JSON for each accepted request")
    parser.add_argument(
        "--key", action="append", default=[], help="an API key to accept, can be repeated (default: any SG.…)"
    )
    parser.add_argument("--mails", type=_count, default=10_000, help="the inbox keeps so many (%(default)s)")
    parser.add_argument("--seed", type=int, help="makes faults with a probability repeatable")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
