"""Builds: the list. The first ones are not broken at all: each round must find nothing wrong with them."""

from collections.abc import Iterable

from tests.chaos.broken import of_ledger, of_worker
from tests.chaos.broken.build import Build, Trial

BUILDS: dict[str, Build] = {build.name: build for build in (*of_ledger.BUILDS, *of_worker.BUILDS)}


def trials(builds: Iterable[Build]) -> list[Trial]:
    """What must be run with nothing broken, each once."""
    return list(dict.fromkeys(build.trial for build in builds if build.round))
