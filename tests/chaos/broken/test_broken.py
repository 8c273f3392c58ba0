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
    "a claim takes from a batch before its time",
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
    """Whether two processes meet at the wrong moment is chance, so it has three tries."""
    verdicts = (Runner(right).run(BUILDS[name]) for _ in range(3))

    assert any(verdict.what == "caught" for verdict in verdicts)
