"""Build: Postroom with something taken out, and who should notice."""

from typing import NamedTuple


class Edit(NamedTuple):
    """`right` occurs exactly once in the file."""

    file: str
    right: str
    wrong: str


class Build(NamedTuple):
    """One entry of the list.

    It is caught by a `round` (a scenario of the suite, or one of `rounds`), done `times` with `seed`, in which a
    violation has one of the texts in `expects`; or by a `test`, by pytest's name. `equivalent` says why the promise
    holds without the guard; then a test tells what it costs, or the round finds nothing. If another guard stands behind
    this one, there is an entry with both taken out.
    """

    name: str
    edits: tuple[Edit, ...]
    round: str = ""
    times: int | None = None
    seed: str = "1"
    expects: tuple[str, ...] = ()
    test: str = ""
    equivalent: str = ""

    @property
    def trial(self) -> "Trial":
        return Trial(self.round, self.times, self.seed)


class Trial(NamedTuple):
    """What is run: the same for all builds that it should catch, and for the one in which nothing is broken."""

    round: str
    times: int | None
    seed: str


def lua(file: str, right: str, wrong: str) -> Edit:
    return Edit(f"postroom/lua/{file}.lua", right, wrong)


def worker(file: str, right: str, wrong: str) -> Edit:
    return Edit(f"worker/{file}.py", right, wrong)
