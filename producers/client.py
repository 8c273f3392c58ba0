"""The blocking client. Safe to share between threads, and to make before a fork."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Self, TypeVar

from celery.canvas import Signature

from postroom.answers import Failure, MailStatus
from postroom.connection import Connection
from postroom.mail import MailLike, RecipientLike
from postroom.names import Lane, OnDoubt
from postroom.settings import Settings
from producers.evidence import Events, Evidence
from producers.intake import iterator_of, terms
from producers.operations import Operation, Operations, Step
from producers.results import Cancellation, Progress, Report, counted, progress_of

T = TypeVar("T")

#: Between two looks at a batch's progress, `wait` sleeps so long (seconds), twice as long each time, up to the last.
FIRST_LOOK, LAST_LOOK = 0.02, 0.5

NO_MAILS: Iterator[Any] = iter(())


class Postroom:
    """Hands mail over to be sent in the background.

    `settings` defaults to what the environment says (Celery's own settings are read from there in any case). Any call
    may raise `QueueUnavailable` when Redis does not answer within about a second (`POSTROOM_PRODUCER_TIMEOUT`).
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings.from_environment()
        self._operations = Operations(self._settings)
        self._connection = Connection(self._settings.redis_url, timeout=self._settings.producer_timeout)

    def enqueue(
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
        """Enqueue one mail and return its id. From then on it is not lost.

        `mail` is a body of SendGrid's v3 `mail/send`: a `sendgrid.helpers.mail.Mail`, a dict, or JSON.
        `key` makes it idempotent: the same key and mail give the same id, and one mail, until 7 days after it is done.
        `expires_in` (seconds, from `send_at` or now): later it is not sent any more; the default is the lane's.
        `send_at` (Unix seconds or a datetime with a time zone): not before; any time ahead.
        `on_doubt`: when SendGrid may or may not have accepted it, send it once more after a while, or "hold" it.
        `id` repeats a call that raised `QueueUnavailable`: give it the id of that error.

        Raises `InvalidMail`, `KeyConflict`, `QueueUnavailable`, `QueueFull`; `ValueError` for other arguments.
        """
        with_terms = terms(self._settings, lane=lane, expires_in=expires_in, send_at=send_at, on_doubt=on_doubt)
        return self._drive(self._operations.enqueue(mail, with_terms, key=key, id=id))

    def enqueue_batch(
        self,
        mails: Iterable[MailLike],
        *,
        key: str | None = None,
        lane: Lane | str = Lane.BULK,
        expires_in: float | None = None,
        send_at: float | datetime | None = None,
        on_doubt: OnDoubt | str = OnDoubt.RESEND,
        then: Signature | None = None,
    ) -> "Batch":
        """Enqueue many mails as one batch; any iterable, also a generator of millions.

        Nothing is sent before all are checked and stored: one bad mail raises `InvalidMail`, which names its row, and
        nothing is enqueued. With a `key`, the same call after a failure goes on where the first one stopped.
        `then` is a Celery signature, published with the batch's id as its first argument after the report is recorded,
        at least once. The other arguments and the errors are those of `enqueue`.
        """
        with_terms = terms(self._settings, lane=lane, expires_in=expires_in, send_at=send_at, on_doubt=on_doubt)
        operation = self._operations.enqueue_batch(with_terms, key=key, then=then)
        return Batch(self._drive(operation, iterator_of(mails)), self)

    def enqueue_merge(
        self,
        template: MailLike,
        recipients: Iterable[RecipientLike],
        *,
        per_request: int = 1000,
        key: str | None = None,
        lane: Lane | str = Lane.BULK,
        expires_in: float | None = None,
        send_at: float | datetime | None = None,
        on_doubt: OnDoubt | str = OnDoubt.RESEND,
        then: Signature | None = None,
    ) -> "Batch":
        """Enqueue one mail to many recipients as a batch whose mails go `per_request` (1 to 1000) in one request.

        `template` is a mail without `personalizations`.
        `recipients` are addresses, or personalizations of SendGrid's v3 `mail/send` with what is their own
        (`dynamic_template_data`, `substitutions`, `custom_args`, …), each a mapping, a
        `sendgrid.helpers.mail.Personalization`, or JSON as bytes. Any iterable, also a generator of millions.

        Each recipient is a mail of the batch, with an id, a state and a row in the report. When SendGrid refuses a
        request because of some of them, these are rejected and the others sent. But a request in doubt is all of its
        recipients in doubt, and with `on_doubt="resend"` all of them may get a second copy.
        The other arguments and the errors are those of `enqueue_batch`.
        """
        with_terms = terms(self._settings, lane=lane, expires_in=expires_in, send_at=send_at, on_doubt=on_doubt)
        operation = self._operations.enqueue_merge(template, with_terms, per_request=per_request, key=key, then=then)
        return Batch(self._drive(operation, iterator_of(recipients, "recipients")), self)

    def status(self, id: str) -> MailStatus:
        """Where a mail stands. Raises `UnknownId`."""
        return self._drive(self._operations.status(id))

    def progress(self, batch_id: str) -> Progress:
        """How far a batch is. Raises `UnknownId`."""
        return progress_of(batch_id, self._drive(self._operations.batch(batch_id)))

    def wait(self, batch_id: str, timeout: float | None = None) -> Report:
        """Wait until every mail of a batch is finished. Raises `TimeoutError` after `timeout` seconds, `UnknownId`."""
        give_up = None if timeout is None else time.monotonic() + timeout
        pause = FIRST_LOOK
        while not self.progress(batch_id).is_final:
            if give_up is not None and time.monotonic() >= give_up:
                raise TimeoutError(f"batch {batch_id} is not finished after {timeout:g} s")
            time.sleep(pause)
            pause = min(LAST_LOOK, pause * 2)
        return self.report(batch_id)

    def report(self, batch_id: str) -> Report:
        """The results of a batch; `final_at` is None while it is still under way. Raises `UnknownId`."""
        record = self._drive(self._operations.batch(batch_id))
        return Report(**counted(batch_id, record), failed=self._failed(batch_id))

    def cancel(self, id: str) -> Cancellation:
        """Cancel a mail, or what is left of a batch. Raises `UnknownId`."""
        return self._drive(self._operations.cancel(id))

    def evidence(self, events: Events) -> Evidence:
        """Take what SendGrid's Event Webhook posts: proof that mails were accepted, also of those in doubt.

        It also tells how deliveries stand: `status(id).deliveries`, and in numbers in a batch's progress and report.

        `events` is the body of the request, or the events in it. Check the request's signature before: whoever can
        call this can have mails taken for accepted. Raises `InvalidEvents`.
        """
        return self._drive(self._operations.evidence(events))

    def close(self) -> None:
        """Close the connections. A call after that opens new ones."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _failed(self, batch_id: str) -> Iterator[Failure]:
        start: int | None = 0
        while start is not None:
            failures, start = self._drive(self._operations.failed_page(batch_id, start))
            yield from failures

    def _drive(self, operation: Operation[T], mails: Iterator[Any] = NO_MAILS) -> T:
        resume: Callable[[Any], object] = operation.send
        value: object = None
        while True:
            try:
                step = resume(value)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                resume, value = operation.send, self._reply(step, mails)
            except Exception as error:  # noqa: BLE001  # it belongs to the operation, which may know what to do
                resume, value = operation.throw, error

    def _reply(self, step: object, mails: Iterator[Any]) -> object:
        if step is Step.BREATHE:
            return None
        if step is Step.TAKE:
            return next(mails, Step.END)
        return self._connection.run(step)  # type: ignore[arg-type]


class Batch:
    """The mails of one `enqueue_batch` or `enqueue_merge`. Only the `id` matters: the client has these calls by id."""

    def __init__(self, id: str, postroom: Postroom) -> None:
        self.id = id
        self._postroom = postroom

    def __repr__(self) -> str:
        return f"Batch({self.id!r})"

    def progress(self) -> Progress:
        """How far it is."""
        return self._postroom.progress(self.id)

    def wait(self, timeout: float | None = None) -> Report:
        """Wait until every mail is finished. Raises `TimeoutError` after `timeout` seconds."""
        return self._postroom.wait(self.id, timeout)

    def report(self) -> Report:
        """Its results; `final_at` is None while it is still under way."""
        return self._postroom.report(self.id)

    def cancel(self) -> Cancellation:
        """Cancel what is left of it."""
        return self._postroom.cancel(self.id)
