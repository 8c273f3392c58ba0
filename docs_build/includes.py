"""Includes: a page has what stands elsewhere, so that it stands in one place only.

`<!-- README.md: Settings -->` is that section of the README, without its heading. `<!-- commands -->` is the help of
all commands. Either stands on a line of its own.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from docs_build.commands import commands

ROOT = Path(__file__).parent.parent

_SECTION = re.compile(r"<!-- README\.md: (.+) -->")
_HEADING = re.compile(r"(#+) (.+)")
_LINK = re.compile(r"\[([^]]+)\]\((?!https?:|#)([^)]+)\)")


def section(title: str) -> list[str]:
    """The lines of a section of the README. Raises `LookupError` if there is none of this title."""
    found: list[str] = []
    level = 0
    for line, is_code in _told_apart((ROOT / "README.md").read_text().splitlines()):
        heading = None if is_code else _HEADING.fullmatch(line)
        if level and heading and len(heading[1]) <= level:
            break
        if level:
            found.append(_LINK.sub(_link_from_docs, line))
        elif heading and heading[2] == title:
            level = len(heading[1])
    if not level:
        raise LookupError(f"README.md has no section {title!r}")
    return found


def _told_apart(lines: Iterable[str]) -> Iterable[tuple[str, bool]]:
    """Each line, and whether it is one of a block of code."""
    is_code = False
    for line in lines:
        is_code ^= line.startswith("```")
        yield line, is_code


def _link_from_docs(link: re.Match[str]) -> str:
    """A link of the README as it is in `docs/`. What is not in there is not on the site: its name alone is left."""
    text, target = link[1], link[2]
    page = target.removeprefix("docs/")
    return f"[{text.removeprefix('docs/')}]({page})" if page != target else text


class Includes(Preprocessor):
    """Puts in what the comments ask for."""

    def run(self, lines: list[str]) -> list[str]:
        return [new for line in lines for new in self._included(line)]

    def _included(self, line: str) -> list[str]:
        if found := _SECTION.fullmatch(line.strip()):
            return section(found[1])
        return commands() if line.strip() == "<!-- commands -->" else [line]


class IncludesExtension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  # Markdown's name for it
        md.preprocessors.register(Includes(md), "postroom_includes", 34)


#: Markdown looks for this name.
makeExtension: Callable[..., Any] = IncludesExtension  # noqa: N816
