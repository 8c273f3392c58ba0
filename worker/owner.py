"""Owner: under what name a worker process holds mail. A new process is a new owner, also after a fork."""

import itertools
import os
import secrets
import socket
from functools import cache


class Owner:
    """`name` is `host-pid-random`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers = itertools.count(1)

    def nonce(self) -> str:
        """A new one with each call, which names its owner. Threads may share it: `next` of a `count` is atomic."""
        return f"{self.name}/{next(self._numbers)}"

    def __repr__(self) -> str:
        return f"Owner({self.name!r})"


@cache
def _owner_of(pid: int) -> Owner:
    return Owner(f"{socket.gethostname()}-{pid}-{secrets.token_hex(4)}")


def current_owner() -> Owner:
    """The owner that stands for this process."""
    return _owner_of(os.getpid())
