"""Runner: makes a build, runs what should catch it, and tells whether it did."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.chaos.broken import tree
from tests.chaos.broken.build import Build, Trial
from tests.servers import clean_environment

#: A run may take so long (seconds); then it is ended from inside, and a little later from outside.
LIMIT, MERCY = 120, 30

NOTHING = "nothing"


class Verdict(NamedTuple):
    """`what`: "caught", "not caught", "well" (nothing was broken or found), "harmless", or "failed" (it
    proves nothing).

    `by` is the round or the test, `violation` what it has said first, `seconds` from the start of the run.
    """

    build: str
    what: str
    by: str
    violation: str
    seconds: float

    @property
    def is_as_it_should_be(self) -> bool:
        return self.what in ("caught", "well", "harmless")


class Runner:
    """`right` is where the sources are, with nothing broken."""

    def __init__(self, right: Path) -> None:
        self._right = right

    def run_right(self, trial: Trial) -> Verdict:
        """Nothing is broken, and nothing must be found."""
        with TemporaryDirectory(prefix="broken-") as directory:
            output, seconds = _run(_round(trial, directory), self._right)
            found = _found(output)
            what = "failed" if found is None else "not caught" if found else "well"
            name = f"{NOTHING} ({trial.round} {trial.times or ''})".replace(" )", ")")
            return Verdict(name, what, trial.round, _first(found, output), seconds)

    def run(self, build: Build) -> Verdict:
        with TemporaryDirectory(prefix="broken-") as directory:
            root = Path(directory) / "wrong"
            root.mkdir()
            tree.copy(self._right, root)
            tree.apply(root, build.edits)
            if build.test:
                return self._by_test(build, root)
            return self._by_round(build, root, directory)

    def _by_round(self, build: Build, root: Path, directory: str) -> Verdict:
        output, seconds = _run(_round(build.trial, directory), root)
        found = _found(output)
        expected = [sentence for sentence in found or () if any(text in sentence for text in build.expects)]
        if found is None or (found and not expected):
            return Verdict(build.name, "failed", build.round, _first(found, output), seconds)
        what = "caught" if expected else "harmless" if build.equivalent else "not caught"
        return Verdict(build.name, what, build.round, _first(expected, output), seconds)

    def _by_test(self, build: Build, root: Path) -> Verdict:
        output, seconds = _run(["-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", build.test], root)
        what = "caught" if "1 failed" in output else "not caught" if " passed" in output else "failed"
        return Verdict(build.name, what, build.test.partition("::")[2], _first([], output), seconds)


def _round(trial: Trial, directory: str) -> list[str]:
    times = [] if trial.times is None else ["--times", str(trial.times)]
    options = ["--seed", trial.seed, "--limit", str(LIMIT), "--directory", f"{directory}/rounds"]
    return ["-m", "tests.chaos.broken.trial", trial.round, *times, *options]


def _run(command: Sequence[str], root: Path) -> tuple[str, float]:
    start = time.monotonic()
    environment: Mapping[str, str] = clean_environment() | {"PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT + MERCY)
    except BaseException as error:
        process.send_signal(signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=MERCY)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    return output.decode(errors="replace"), round(time.monotonic() - start, 1)


def _found(output: str) -> list[str] | None:
    """The violations; None if the run has failed by itself."""
    last = output.strip().rpartition("\n")[2]
    if not last.startswith('{"violations"'):
        return None
    document: dict[str, Any] = json.loads(last)
    violations: list[str] = document["violations"]
    return violations


def _first(sentences: list[str] | None, output: str) -> str:
    if sentences:
        return sentences[0]
    return output.strip().rpartition("\n")[2]
