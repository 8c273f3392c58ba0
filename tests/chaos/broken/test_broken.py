"""A few broken builds, which are caught within seconds; and the whole list still fits the sources."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.broken import tree
from tests.chaos.broken.builds import BUILDS
from tests.chaos.broken.runner import Runner
from tests.servers import ROOT

#: Each in a round of its own kind.
QUICK = (
    "a claim takes what is being sent",
    "a report is recorded again",
    "what was lost counts as unsent",
    "libcurl can rewind the body, and repeats it",
)


@pytest.fixture(scope="module")
def right() -> Iterator[Path]:
    with tree.snapshot() as root:
        yield root


@pytest.mark.parametrize("name", BUILDS)
def test_every_guard_that_is_taken_out_is_there(name: str) -> None:
    tree.check(ROOT, BUILDS[name].edits)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", QUICK)
def test_the_suite_catches_it(name: str, right: Path) -> None:
    verdict = Runner(right).run(BUILDS[name])

    assert verdict.what == "caught", verdict
