"""Owner: under what name a worker process holds mail. A new process is a new owner, also after a fork."""

import itertools
import os
import secrets
import socket
from collections.abc import Iterator
from functools import cache


class Owner:
    """`name` is `host-pid-random`; `nonces` are unique, and each names its owner."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nonces: Iterator[str] = (f"{name}/{number}" for number in itertools.count(1))

    def __repr__(self) -> str:
        return f"Owner({self.name!r})"


def new_owner() -> Owner:
    return Owner(f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")


@cache
def _owner_of(pid: int) -> Owner:
    return new_owner()


def current_owner() -> Owner:
    """This process's owner."""
    return _owner_of(os.getpid())
