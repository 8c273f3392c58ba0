"""Finding: one thing that the doctor has looked at."""

from typing import Any, NamedTuple


class Finding(NamedTuple):
    """Whether it is well, what it is like, and what to do if it is not well. What is not `essential` can wait."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
    essential: bool = True

    @property
    def is_ill(self) -> bool:
        return not self.ok and self.essential

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "advice": None if self.ok else self.advice}


def fine(name: str, detail: str) -> Finding:
    return Finding(name, ok=True, detail=detail)


def ill(name: str, detail: str, advice: str, *, essential: bool = True) -> Finding:
    return Finding(name, ok=False, detail=detail, advice=advice, essential=essential)
