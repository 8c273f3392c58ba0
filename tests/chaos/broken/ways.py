"""Ways: over which the workers of an arena reach the ledger, so that one of them can be cut off."""

from tests.chaos.broken.hasty import HastyArena
from tests.chaos.fleet import Member


class OwnWays:
    """Each worker reaches the ledger over a way of its own; wake-ups come to all of them over the common one."""

    def __init__(self, arena: HastyArena) -> None:
        self._arena = arena
        self._names: dict[str, str] = {}
        arena.fleet.arming = arena.fleet.calm = self._open

    def of(self, member: Member) -> str:
        """The name of its way."""
        return self._names[member.arms["POSTROOM_REDIS_URL"]]

    def _open(self) -> dict[str, str]:
        name = f"redis{len(self._names)}"
        url = self._arena.network.through(name, self._arena.redis.url)
        self._names[url] = name
        return {"POSTROOM_REDIS_URL": url}
