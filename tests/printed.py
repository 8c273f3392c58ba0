"""Printed: the blocks of code in README and docs, and how a reader runs them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from tests.servers import ROOT, clean_environment

#: Stands for what differs; alone on a line, for any number of lines.
ANY = "…"

#: Where the reader's environment has its programs.
BIN = Path(sys.executable).parent

_BLOCK = re.compile(r'^ *```(\w*)(?: title="([^"]+)")?\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code. With a title, it is the content of a file of that name."""

    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """All blocks of a page, in their order."""
    found = _BLOCK.findall((ROOT / page).read_text())
    return [Block(language, title, dedent(text)) for language, title, text in found]


def programs(page: str) -> list[str]:
    """The Python programs of a page."""
    return [block.text for block in blocks(page) if block.language == "python"]


def block(page: str, word: str) -> str:
    """The text of the one block with this word in it."""
    (found,) = [block.text for block in blocks(page) if word in block.text]
    return found


def looks_like(expected: str, printed: str) -> bool:
    """Whether this was printed, whatever stands in place of each `…`."""
    lines = [
        r"(?:.*\n)*" if line.strip() == ANY else ".*".join(map(re.escape, line.split(ANY))) + r"\n"
        for line in expected.splitlines()
    ]
    return re.fullmatch("".join(lines), printed) is not None


class Reader:
    """Somebody with a directory and a shell, who does what a page says."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self._directory = directory
        self.environment = clean_environment() | {"PYTHONPATH": str(ROOT), "PATH": f"{BIN}:/usr/bin:/bin"} | environment

    def python(self, program: str) -> str:
        """Run a program to its end, and return what it prints."""
        return self._run([sys.executable, "-c", program])

    def shell(self, commands: str) -> str:
        """Run commands to their end, each of which must succeed, and return what they print."""
        return self._run(["bash", "-euo", "pipefail", "-c", commands.replace(".venv/bin/", f"{BIN}/")])

    def follow(self, these: list[Block]) -> Iterator[str]:
        """Write the files and run the commands of these blocks; what a `text` block says must be printed before it.

        Yields what the commands print.
        """
        printed = ""
        for block in these:
            if block.title:
                (self._directory / block.title).write_text(block.text)
            elif block.language == "sh":
                printed = self.shell(block.text)
                yield printed
            elif block.language == "text":
                assert looks_like(block.text, printed), f"printed was\n{printed}in place of\n{block.text}"

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self._directory, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout
