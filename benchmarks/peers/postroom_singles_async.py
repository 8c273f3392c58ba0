"""Postroom, one `enqueue` of the asyncio client for each mail (README.md, "FastAPI")."""

from typing import Any

from producers import AsyncPostroom

postroom = AsyncPostroom()


async def enqueue(mail: dict[str, Any]) -> None:
    await postroom.enqueue(mail)
