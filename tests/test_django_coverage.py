"""COVERAGE.md names tests that exist, and its sums are those of its rows."""

import re
from collections import Counter
from collections.abc import Iterator

from tests.servers import ROOT

TEXT = (ROOT / "tests/django_site/COVERAGE.md").read_text()
SUITES = {"5.2": "Django 5.2.19", "6.1": "Django 6.1.3", "SendGrid": "anymail 15.1, SendGrid"}
SUITES["all backends"] = "anymail 15.1, all backends"
OURS = {
    name
    for file in (ROOT / "tests").glob("test_django*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
}


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def sums(title: str) -> Counter[str]:
    """The cases that a section lists, by suite."""
    return Counter(dict(_listed(section(title))))


def _listed(text: str) -> Iterator[tuple[str, int]]:
    found: Counter[str] = Counter()
    for suites in re.findall(r"\w \(([^)]+)\)", text):
        for each in suites.split(", "):
            suite, _, times = each.partition(" times ")
            found[SUITES[suite]] += int(times or 1)
    yield from found.items()


def test_the_docs_have_the_same_sums() -> None:
    rows = re.findall(r"^\| (?:Django|anymail) \d.*", TEXT, re.MULTILINE)
    assert len(rows) == len(SUITES)
    docs = (ROOT / "docs/django.md").read_text()
    assert [row for row in rows if row not in docs] == []


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"^\| `(test_\w+)` \|", TEXT, re.MULTILINE)
    assert named
    assert set(named) <= OURS


def test_the_sums_are_those_of_the_rows() -> None:
    same, different, left_out = sums("The same"), sums("Different"), sums("Left out")
    table = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", TEXT, re.MULTILINE)
    assert [row[0] for row in table] == list(SUITES.values())
    for suite, *told in table:
        parts = [same[suite], different[suite], left_out[suite]]
        assert [int(number) for number in told] == [sum(parts), *parts]
