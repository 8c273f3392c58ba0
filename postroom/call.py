"""Call: one step of the ledger, described but not yet run."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from postroom.script import Script

T = TypeVar("T")


class Call(NamedTuple, Generic[T]):
    """A script or a plain command with its arguments, and what its reply means."""

    script: Script | None
    args: tuple[Any, ...]
    decode: Callable[[Any], T]
