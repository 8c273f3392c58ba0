"""Rate: so many mails, or recipients, in a time. Pure."""

import re

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}

_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(?:/(s|min|h|d))?", re.ASCII)


class Rate:
    """As it was given, and what it comes to in a second. Raises `ValueError`, saying what a rate looks like.

    >>> Rate("600/min").per_second
    10.0
    """

    __slots__ = ("_text", "per_second")

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        found = _RATE.fullmatch(self._text)
        self.per_second = float(found[1]) / UNITS[found[2] or "s"] if found else 0.0
        if self.per_second <= 0:
            raise ValueError(f"{text!r} is no rate: 200/s, 600/min, 5000/h or 50000/d, more than 0")

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Rate({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
