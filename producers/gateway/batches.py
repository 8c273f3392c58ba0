"""`/v1/batches`: many mails in one request, one JSON body a line; how far they are; and what became of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from postroom.answers import Failure
from postroom.delivery import Deliveries
from postroom.names import Lane
from producers.async_client import AsyncPostroom
from producers.gateway import senders
from producers.gateway.answers import Answer, json, refused
from producers.gateway.body import too_large
from producers.gateway.door import Visit

UTF8_MARK = b"\xef\xbb\xbf"
#: What may stand behind the `?`.
OPTIONS = ("expires_in", "send_at", "on_doubt")


class Taken(msgspec.Struct, frozen=True):
    """A batch that is queued. `total`: how many mails it has."""

    batch_id: str
    total: int


class BatchReport(msgspec.Struct, frozen=True):
    """The results of a batch. `final_at` is null while it is under way; `failed` lists at most 1,000."""

    batch_id: str
    total: int
    counts: dict[str, int]
    failed: list[Failure]
    truncated: bool
    final_at: float | None
    changed_since: float | None
    resends: int
    extra_copies: int
    deliveries: Deliveries


class Batches:
    def __init__(self, postroom: AsyncPostroom) -> None:
        self._postroom = postroom

    async def create(self, visit: Visit) -> Answer:
        """Queue all lines as one batch, or none.

        With an Idempotency-Key, a repeat goes on where the first try broke off.
        """
        lane, options = visit.key.lane or Lane.BULK, _options(visit.scope["query_string"])
        rows = _Rows(visit)
        async with aclosing(rows.mails()) as mails:
            try:
                batch = await self._postroom.enqueue_batch(mails, key=visit.idempotency_key, lane=lane, **options)
            except ValueError as error:
                if type(error) is ValueError:
                    raise refused(400, "bad_option", str(error), f"The options are {', '.join(OPTIONS)}.") from None
                raise
            finally:
                visit.note["rows"] = rows.count
        visit.note.update(batch=batch.id, lane=lane)
        return json(202, Taken(batch.id, rows.count))

    async def progress(self, visit: Visit) -> Answer:
        return json(200, await self._postroom.progress(visit.id))

    async def report(self, visit: Visit) -> Answer:
        return json(200, await (await self._postroom.report(visit.id)).to_json())

    async def cancel(self, visit: Visit) -> Answer:
        await self._postroom.progress(visit.id)
        return json(200, await self._postroom.cancel(visit.id))


class _Rows:
    """The mails of a stream of lines. Empty lines do not count."""

    def __init__(self, visit: Visit) -> None:
        self._body = visit.body
        self._key = visit.key
        self.count = 0

    async def mails(self) -> AsyncGenerator[bytes]:
        """Raises `Refused` for a line that is too long, and for a sender that the key does not allow."""
        async with aclosing(self._lines()) as lines:
            mark = UTF8_MARK
            async for line in lines:
                mail, mark = line.removeprefix(mark).strip(), b""
                if mail:
                    self._check_size(len(mail))
                    senders.check(mail, self._key, self.count)
                    self.count += 1
                    yield mail

    async def _lines(self) -> AsyncGenerator[bytes]:
        """As they come. A line in many pieces is put together once."""
        begun: list[bytes] = []
        size_bytes = 0
        async with aclosing(self._body.pieces()) as pieces:
            async for piece in pieces:
                first, *others = piece.split(b"\n")
                begun.append(first)
                size_bytes += len(first)
                self._check_size(size_bytes)
                if others:
                    yield b"".join(begun)
                    for line in others[:-1]:
                        yield line
                    begun, size_bytes = [others[-1]], len(others[-1])
        yield b"".join(begun)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._key.max_bytes:
            raise too_large(self._key.max_bytes, f"The mail of row {self.count} is larger. ")


def _options(query: bytes) -> dict[str, Any]:
    """Raises `Refused` for what is no option."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name not in OPTIONS:
            raise refused(400, "bad_option", "There is no such option.", f"The options are {', '.join(OPTIONS)}.")
        found[name] = value if name == "on_doubt" else _seconds(name, value)
    return found


def _seconds(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise refused(400, "bad_option", f"{name} is in seconds.", "Give a number.", field=name) from None
