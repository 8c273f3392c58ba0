"""Results: what a measurement has found, kept as one JSON file each; `benchmarks.report` makes a page of them."""

from pathlib import Path
from typing import Any

import msgspec

from benchmarks.conditions import Conditions

DIRECTORY = Path(__file__).parent / "results"


class Table(msgspec.Struct, kw_only=True):
    """Cells are text as it is to be shown; numbers are set to the right."""

    columns: list[str]
    rows: list[list[str]]
    title: str = ""


class Target(msgspec.Struct, kw_only=True):
    """A figure that was to be reached."""

    what: str
    wanted: str
    found: str
    #: None when this run cannot tell, for a part of it was left out.
    reached: bool | None
    #: If it was not reached: the reason, and the next step.
    why: str = ""


class Chart(msgspec.Struct, kw_only=True):
    """Bars, one a line, drawn to `results/NAME.svg`. Those of names in `ours` stand out."""

    name: str
    title: str
    unit: str
    bars: dict[str, float]
    ours: list[str] = []
    logarithmic: bool = False


class Finding(msgspec.Struct, kw_only=True):
    """One section of the page."""

    title: str
    place: int
    text: str = ""
    tables: list[Table] = []
    targets: list[Target] = []
    charts: list[Chart] = []
    data: Any = None


class Record(msgspec.Struct, kw_only=True):
    """A finding, and in which conditions it was found."""

    finding: Finding
    conditions: Conditions


def save(name: str, finding: Finding) -> None:
    """Keep a finding as `results/NAME.json` in place of an earlier one, and render the page anew."""
    from benchmarks.report import render  # noqa: PLC0415 (the page is made from what this module keeps)

    record = Record(finding=finding, conditions=Conditions.now())
    DIRECTORY.mkdir(exist_ok=True)
    (DIRECTORY / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    render()


def load() -> list[Record]:
    """All that were kept, in the order of the page."""
    records = [msgspec.json.decode(path.read_bytes(), type=Record) for path in sorted(DIRECTORY.glob("*.json"))]
    return sorted(records, key=lambda record: record.finding.place)
