"""Commands: the help of `postroom` and of each of its commands, as Markdown."""

import re
from collections.abc import Iterator

import click

from producers.cli.commands import postroom


def commands() -> list[str]:
    """A heading for each command, with its help as it is printed below."""
    return [line for path, context in _walk(postroom, None) for line in _entry(path, context)]


def _walk(command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, click.Context]]:
    """Each command after its group, with the words that call it."""
    context = click.Context(command, info_name=command.name, parent=parent, max_content_width=100, terminal_width=100)
    yield context.command_path, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            yield from _walk(found, context)


def _entry(path: str, context: click.Context) -> list[str]:
    anchor = re.sub(r"\W+", "-", path)
    help = context.get_help().splitlines()
    return [f"## `{path}` {{ #{anchor} }}", "", "```text", *help, "```", ""]
