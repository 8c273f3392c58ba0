"""Fleet: which workers are alive, and what holds them up."""

import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from postroom.errors import ConfigurationError
from postroom.names import Lane
from postroom.settings import OWNER_LIFE, Settings

if TYPE_CHECKING:
    from postroom.call import Call

T = TypeVar("T")


class Pause(NamedTuple):
    """Why an account is paused: `kind` is limited, refused or outage; `reason` what SendGrid answered last."""

    kind: str
    reason: str

    def __str__(self) -> str:
        why = WHY_PAUSED.get(self.kind, self.kind)
        return f"{why} ({self.reason})" if self.reason else why

    @property
    def is_for_the_operator(self) -> bool:
        """It does not end by itself."""
        return self.kind == "refused"


#: How to start a worker, for advice.
START_A_WORKER = "celery -A worker worker"

#: By the kind of a pause.
WHY_PAUSED = {
    "limited": "SendGrid's rate limit",
    "refused": "SendGrid refuses the API key, or its quota is used up",
    "outage": "SendGrid does not answer, or is unavailable",
}


class Fleet:
    """Asks the ledger. Each call may take `timeout` seconds, and raises `Unreachable` then.

    Raises `ConfigurationError` for a `POSTROOM_REDIS_URL` that is no address.
    """

    def __init__(self, settings: Settings, *, timeout: float = 1.0) -> None:
        from postroom.connection import Connection  # noqa: PLC0415  # it loads Redis' client
        from postroom.ledger import Ledger  # noqa: PLC0415

        self._settings = settings
        self.ledger = Ledger(settings)
        try:
            self._connection = Connection(settings.redis_url, timeout=timeout)
        except ValueError as error:
            raise ConfigurationError(f"POSTROOM_REDIS_URL can't be used: {error}") from None

    def ask(self, call: "Call[T]") -> T:
        return self._connection.run(call)

    def command(self, *words: str, decode: Callable[[Any], T]) -> T:
        """Run a command that is not the ledger's, such as INFO."""
        from postroom.call import Call  # noqa: PLC0415

        return self.ask(Call(None, words, decode))

    def alive(self) -> list[str]:
        """The workers that were heard of within the last 5 s, by the clock of Redis, in alphabetical order."""
        now_ms = self.command("TIME", decode=lambda reply: int(reply[0]) * 1000)
        owners = self.ask(self.ledger.owners())
        return sorted(name for name, heard_ms in owners.items() if heard_ms > now_ms - OWNER_LIFE * 1000)

    def pauses(self) -> dict[str, Pause]:
        """The accounts at SendGrid that are paused now; empty if none is."""
        accounts = {name: self.ask(self.ledger.account(name)) for name in map(self._settings.account, Lane)}
        return {
            name: Pause(pause["kind"], pause.get("reason", "")) for name, pause in accounts.items() if _is_paused(pause)
        }

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_of_this_host(owner: str) -> bool:
    """Whether a worker, by its name `host-pid-random`, runs on this host."""
    return re.fullmatch(re.escape(socket.gethostname()) + r"-\d+-[0-9a-f]+", owner) is not None


def _is_paused(pause: dict[str, str]) -> bool:
    if "kind" not in pause:
        return False
    return pause["kind"] != "limited" or float(pause.get("until", 0)) > time.time() * 1000
