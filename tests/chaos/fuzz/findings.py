"""Findings: what went wrong, each kind of it with the smallest input that shows it."""

import re
from typing import Any, NamedTuple

#: The type that something was given in is told by the input.
_TYPE = re.compile(r"'[\w.]+'(?= object)")
#: An input is told up to so many characters.
TOLD = 300


class Finding(NamedTuple):
    count: int
    shown_by: str


class Findings:
    """By kind, a text that names the door and what is wrong."""

    def __init__(self) -> None:
        self.kinds: dict[str, Finding] = {}

    def add(self, kind: str, shown_by: Any) -> None:
        kind = _TYPE.sub("'…'", kind)
        text = shown_by if isinstance(shown_by, str) else repr(shown_by)
        known = self.kinds.get(kind)
        if known is None:
            self.kinds[kind] = Finding(1, text)
        else:
            self.kinds[kind] = Finding(known.count + 1, min(known.shown_by, text, key=len))

    def told(self) -> list[str]:
        return [
            f"{kind} ({finding.count} times), smallest: {_in_short(finding.shown_by)}"
            for kind, finding in sorted(self.kinds.items(), key=lambda item: -item[1].count)
        ]


def _in_short(text: str) -> str:
    return text if len(text) <= TOLD else f"{text[: TOLD // 2]} … {text[-TOLD // 2 :]}"
