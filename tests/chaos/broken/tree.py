"""Tree: a copy of the sources, with a build's edits."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.broken.build import Edit
from tests.servers import ROOT

SOURCES = ("postroom", "worker", "producers", "sandbox", "tests", "celeryconfig.py", "pyproject.toml")


class Outdated(Exception):
    """An edit does not fit the sources any more."""


def check(root: Path, edits: tuple[Edit, ...]) -> None:
    """Raises `Outdated` unless each right text is there exactly once."""
    for file, right, wrong in edits:
        path = root / file
        found = path.read_text().count(right) if path.exists() else 0
        if found != 1 or right == wrong:
            raise Outdated(f"{file} has {found} times: {right!r}")


def apply(root: Path, edits: tuple[Edit, ...]) -> None:
    for file, right, wrong in edits:
        path = root / file
        check(root, ((file, right, wrong),))
        path.write_text(path.read_text().replace(right, wrong))


def copy(source: Path, target: Path) -> None:
    """With what Python has compiled, so that only what is edited is compiled again."""
    for name in SOURCES:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy2(source / name, target / name)


@contextmanager
def snapshot() -> Iterator[Path]:
    """The sources as they are now, for all builds of one run."""
    with TemporaryDirectory(prefix="broken-") as directory:
        root = Path(directory) / "right"
        root.mkdir()
        copy(ROOT, root)
        yield root
