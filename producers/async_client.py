"""The asyncio client. It starts no thread, and lets the event loop run at least every few milliseconds."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Self, TypeVar

from celery.canvas import Signature

from postroom.answers import Failure, MailStatus
from postroom.connection import AsyncConnection
from postroom.mail import MailLike, RecipientLike
from postroom.names import Lane, OnDoubt
from postroom.settings import Settings
from producers.client import FIRST_LOOK, LAST_LOOK, NO_MAILS
from producers.evidence import Events, Evidence
from producers.intake import iterator_of, terms
from producers.operations import Operation, Operations, Step
from producers.results import AsyncReport, Cancellation, Progress, counted, progress_of

T = TypeVar("T")

Mails = Iterator[Any] | AsyncIterator[Any]

#: Work of a batch goes on for so long (seconds) before the event loop gets its turn.
TURN = 0.001


class AsyncPostroom:
    """`Postroom` for asyncio: the same calls, to be awaited. Works in any event loop, also in one after another."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings.from_environment()
        self._operations = Operations(self._settings)
        self._connection = AsyncConnection(self._settings.redis_url, timeout=self._settings.producer_timeout)

    async def enqueue(
        self,
        mail: MailLike,
        *,
        key: str | None = None,
        lane: Lane | str = Lane.TRANSACTIONAL,
        expires_in: float | None = None,
        send_at: float | datetime | None = None,
        on_doubt: OnDoubt | str = OnDoubt.RESEND,
        id: str | None = None,
    ) -> str:
        """Enqueue one mail and return its id; see `Postroom.enqueue`."""
        with_terms = terms(self._settings, lane=lane, expires_in=expires_in, send_at=send_at, on_doubt=on_doubt)
        async with await self._connection.turn():
            return await self._drive(self._operations.enqueue(mail, with_terms, key=key, id=id))

    async def enqueue_batch(
        self,
        mails: Iterable[MailLike] | AsyncIterable[MailLike],
        *,
        key: str | None = None,
        lane: Lane | str = Lane.BULK,
        expires_in: float | None = None,
        send_at: float | datetime | None = None,
        on_doubt: OnDoubt | str = OnDoubt.RESEND,
        then: Signature | None = None,
    ) -> "AsyncBatch":
        """Enqueue many mails as one batch, from an iterable or an async one; see `Postroom.enqueue_batch`."""
        with_terms = terms(self._settings, lane=lane, expires_in=expires_in, send_at=send_at, on_doubt=on_doubt)
        operation = self._operations.enqueue_batch(with_terms, key=key, then=then)
        return AsyncBatch(await self._drive(operation, _source(mails, "mails")), self)

    async def enqueue_merge(
        self,
        template: MailLike,
        recipients: Iterable[RecipientLike] | AsyncIterable[RecipientLike],
        *,
        per_request: int = 1000,
        key: str | None = None,
        lane: Lane | str = Lane.BULK,
        expires_in: float | None = None,
        send_at: float | datetime | None = None,
        on_doubt: OnDoubt | str = OnDoubt.RESEND,
        then: Signature | None = None,
    ) -> "AsyncBatch":
        """Enqueue one mail to many recipients, merged; see `Postroom.enqueue_merge`. Also from an async iterable."""
        with_terms = terms(self._settings, lane=lane, expires_in=expires_in, send_at=send_at, on_doubt=on_doubt)
        operation = self._operations.enqueue_merge(template, with_terms, per_request=per_request, key=key, then=then)
        return AsyncBatch(await self._drive(operation, _source(recipients, "recipients")), self)

    async def status(self, id: str) -> MailStatus:
        """Where a mail stands. Raises `UnknownId`."""
        return await self._drive(self._operations.status(id))

    async def progress(self, batch_id: str) -> Progress:
        """How far a batch is. Raises `UnknownId`."""
        return progress_of(batch_id, await self._drive(self._operations.batch(batch_id)))

    async def wait(self, batch_id: str, timeout: float | None = None) -> AsyncReport:  # noqa: ASYNC109  # as Postroom.wait
        """Wait until every mail of a batch is finished. Raises `TimeoutError` after `timeout` seconds, `UnknownId`."""
        give_up = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_LOOK
        while not (await self.progress(batch_id)).is_final:
            if give_up is not None and time.monotonic() >= give_up:
                raise TimeoutError(f"batch {batch_id} is not finished after {timeout:g} s")
            await asyncio.sleep(pause)
            pause = min(LAST_LOOK, pause * 2)
        return await self.report(batch_id)

    async def report(self, batch_id: str) -> AsyncReport:
        """The results of a batch; `final_at` is None while it is still under way. Raises `UnknownId`."""
        record = await self._drive(self._operations.batch(batch_id))
        return AsyncReport(**counted(batch_id, record), failed=self._failed(batch_id))

    async def cancel(self, id: str) -> Cancellation:
        """Cancel a mail, or what is left of a batch. Raises `UnknownId`."""
        return await self._drive(self._operations.cancel(id))

    async def evidence(self, events: Events) -> Evidence:
        """Take what SendGrid's Event Webhook posts; see `Postroom.evidence`."""
        return await self._drive(self._operations.evidence(events))

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _failed(self, batch_id: str) -> AsyncIterator[Failure]:
        start: int | None = 0
        while start is not None:
            failures, start = await self._drive(self._operations.failed_page(batch_id, start))
            for failure in failures:
                yield failure

    async def _drive(self, operation: Operation[T], mails: Mails = NO_MAILS) -> T:
        resume: Callable[[Any], object] = operation.send
        value: object = None
        turn_ends = time.monotonic() + TURN
        while True:
            try:
                step = resume(value)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                if step is Step.BREATHE:
                    value = None
                    if time.monotonic() >= turn_ends:
                        await asyncio.sleep(0)
                        turn_ends = time.monotonic() + TURN
                elif step is Step.TAKE:
                    value = next(mails, Step.END) if isinstance(mails, Iterator) else await anext(mails, Step.END)
                else:
                    value = await self._connection.run(step)  # type: ignore[arg-type]
                    turn_ends = time.monotonic() + TURN
                resume = operation.send
            except Exception as error:  # noqa: BLE001  # it belongs to the operation, which may know what to do
                resume, value = operation.throw, error


class AsyncBatch:
    """The mails of one `enqueue_batch` or `enqueue_merge`. Only the `id` matters: the client has these calls by id."""

    def __init__(self, id: str, postroom: AsyncPostroom) -> None:
        self.id = id
        self._postroom = postroom

    def __repr__(self) -> str:
        return f"AsyncBatch({self.id!r})"

    async def progress(self) -> Progress:
        """How far it is."""
        return await self._postroom.progress(self.id)

    async def wait(self, timeout: float | None = None) -> AsyncReport:  # noqa: ASYNC109  # as Batch.wait
        """Wait until every mail is finished. Raises `TimeoutError` after `timeout` seconds."""
        return await self._postroom.wait(self.id, timeout)

    async def report(self) -> AsyncReport:
        """Its results; `final_at` is None while it is still under way."""
        return await self._postroom.report(self.id)

    async def cancel(self) -> Cancellation:
        """Cancel what is left of it."""
        return await self._postroom.cancel(self.id)


def _source(items: Iterable[T] | AsyncIterable[T], noun: str) -> Mails:
    return aiter(items) if isinstance(items, AsyncIterable) else iterator_of(items, noun)
