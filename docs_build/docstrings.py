"""Docstrings: they are written to be read in the source, and read as well in the reference."""

import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import griffe

MARK = "#:"

_ARGUMENT = re.compile(r"`(\w+)`")


class Docstrings(griffe.Extension):
    """Takes a field's `#:` comment for its docstring, and puts what is said of each argument into an item of a list."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        if attr.docstring or attr.lineno is None or not isinstance(attr.filepath, Path):
            return
        above = reversed(attr.filepath.read_text().splitlines()[: attr.lineno - 1])
        comment = [*takewhile(lambda line: line.startswith(MARK), (line.strip() for line in above))]
        if comment:
            text = " ".join(line.removeprefix(MARK).strip() for line in reversed(comment))
            attr.docstring = griffe.Docstring(text, lineno=attr.lineno, parent=attr)

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        if func.docstring:
            names = {parameter.name for parameter in func.parameters}
            func.docstring.value = "\n".join(_itemized(func.docstring.value.splitlines(), names))


def _itemized(lines: list[str], names: set[str]) -> list[str]:
    """A line that begins with an argument is an item, up to the next one or an empty line."""
    new: list[str] = []
    within = False
    for line in lines:
        begins = _ARGUMENT.match(line)
        if begins and begins[1] in names:
            new += [f"- {line}"] if within else ["", f"- {line}"]
            within = True
        else:
            within = within and line != ""
            new.append(f"  {line}" if within else line)
    return new
