"""`/v1/mails`: where one mail stands."""

from producers.async_client import AsyncPostroom
from producers.gateway.answers import Answer, json
from producers.gateway.door import Visit


class Mails:
    def __init__(self, postroom: AsyncPostroom) -> None:
        self._postroom = postroom

    async def status(self, visit: Visit) -> Answer:
        return json(200, await self._postroom.status(visit.id))

    async def cancel(self, visit: Visit) -> Answer:
        """Raises `UnknownId` for a batch: its own path cancels it."""
        await self._postroom.status(visit.id)
        return json(200, await self._postroom.cancel(visit.id))
