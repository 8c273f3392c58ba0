"""Backend: what Django hands its messages to."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from django.core.mail.backends.base import BaseEmailBackend
from django.db import connections
from django.utils.timezone import get_current_timezone

from postroom import ids
from postroom.connection import Unreachable
from postroom.errors import InvalidMail, PostroomError, shown
from postroom.names import Lane
from producers.django.body import body_of
from producers.django.client import client
from producers.django.options import NAMES, Configuration
from producers.django.status import Status
from producers.intake import Intake, hashed, terms

logger = logging.getLogger(__name__)

#: What a message may have in its `postroom` attribute: the arguments of `enqueue`.
ARGUMENTS = frozenset(("key", "id", "lane", "expires_in", "send_at", "on_doubt"))


class Draft(NamedTuple):
    """A message whose mail is checked. `own` are the arguments of its `postroom` attribute."""

    message: Any
    body: dict[str, Any]
    own: dict[str, Any]


class EmailBackend(BaseEmailBackend):  # type: ignore[misc]  # Django has no types
    """Enqueues messages: one as a mail, several in one call as one batch.

    The keyword arguments are those of `settings.POSTROOM` in small letters, and go before them.
    """

    def __init__(self, fail_silently: bool = False, **arguments: Any) -> None:  # noqa: FBT002  # Django's signature
        super().__init__(**{name: value for name, value in arguments.items() if name not in NAMES})
        self.fail_silently = fail_silently
        known = {name: value for name, value in arguments.items() if name in NAMES}
        self._options, self._settings = Configuration.read(known)
        self._intake = Intake(self._settings)

    def send_messages(self, email_messages: Iterable[Any] | None) -> int:
        """Enqueue messages when the transaction commits; at once if there is none. Returns how many.

        Those without recipients are left out. A message that goes alone (the only one, or one with a `postroom`
        attribute) has its `postroom_id` from here on. The others get it when they are enqueued, as one batch, whose id
        is in `postroom_batch_id`.

        Raises `InvalidMail` here, in the transaction; `QueueUnavailable`, `QueueFull` and `KeyConflict` when it
        enqueues. With `fail_silently` they are logged, and only the messages at fault are left out.
        """
        drafts = list(self._drafts(list(email_messages or ())))
        alike = [draft for draft in drafts if not draft.own]
        batch = alike if len(alike) > 1 else []
        alone = [_identified(draft) for draft in drafts if draft.own or not batch]
        if drafts and self._is_in_transaction():
            connections[self._options.database].on_commit(lambda: self._enqueue(alone, batch))
            return len(drafts)
        return self._enqueue(alone, batch)

    def _is_in_transaction(self) -> bool:
        """No connection to the database, no transaction: there is no reason to connect."""
        if not self._options.on_commit:
            return False
        connection = connections[self._options.database]
        return connection.in_atomic_block or (connection.connection is not None and not connection.get_autocommit())

    def _drafts(self, messages: list[Any]) -> Iterator[Draft]:
        for row, message in enumerate(messages):
            message.anymail_status = Status.unsent()
            if not message.recipients():
                continue
            try:
                yield self._draft(message)
            except InvalidMail as error:
                error.row = row if len(messages) > 1 else None
                if not self.fail_silently:
                    raise
                _log(logging.WARNING, "Left out a message: %s", _without_addresses(error))

    def _draft(self, message: Any) -> Draft:
        own = dict(getattr(message, "postroom", None) or {})
        if strangers := own.keys() - ARGUMENTS:
            raise TypeError(f"message.postroom may have {', '.join(sorted(ARGUMENTS))}; not {', '.join(strangers)}")
        body = body_of(
            message,
            zone=get_current_timezone(),
            merge_field_format=self._options.merge_field_format,
            defaults=self._options.send_defaults,
        )
        self._check(body, **self._arguments(Lane.TRANSACTIONAL) | own)
        return Draft(message, body, own)

    def _check(
        self, body: dict[str, Any], *, key: Any = None, id: Any = None, send_at: Any = None, **rest: Any
    ) -> None:
        """What `enqueue` checks, before it does: an error that comes out of the commit cannot roll it back any more."""
        hashed(key)
        if id is not None and (not ids.is_id(id) or "." in id):
            raise ValueError(f"id must be that of a mail enqueued by itself, not {shown(id)}")
        self._intake.take(body, ids.new_id(), terms=terms(self._settings, send_at=send_at, **rest))

    def _arguments(self, lane: Lane) -> dict[str, Any]:
        """The site's arguments of `enqueue`. `lane` is used if the site has none."""
        options = self._options
        return {"lane": options.lane or lane, "expires_in": options.expires_in, "on_doubt": options.on_doubt}

    def _enqueue(self, alone: list[Draft], batch: list[Draft]) -> int:
        """How many are enqueued."""
        groups = [[draft] for draft in alone] + ([batch] if batch else [])
        return sum(len(group) for group in groups if self._is_enqueued(group))

    def _is_enqueued(self, group: list[Draft]) -> bool:
        try:
            if len(group) == 1:
                self._enqueue_one(group[0])
            else:
                self._enqueue_batch(group)
        except PostroomError as error:
            if not self.fail_silently:
                raise
            _log(logging.ERROR, "Not enqueued, %d messages: %s", len(group), _without_addresses(error))
            return False
        return True

    def _enqueue_one(self, draft: Draft) -> None:
        arguments = self._arguments(Lane.TRANSACTIONAL) | draft.own
        _mark(draft, client(self._settings).enqueue(draft.body, **arguments))

    def _enqueue_batch(self, drafts: list[Draft]) -> None:
        postroom = client(self._settings)
        batch = postroom.enqueue_batch([draft.body for draft in drafts], **self._arguments(Lane.BULK))
        mail_ids: Sequence[str | None] = [None] * len(drafts)
        try:
            mail_ids = list(postroom.mail_ids(batch.id, len(drafts)))
        except Unreachable:
            logger.warning("Batch %s is enqueued, but Redis did not tell the ids of its mails in time", batch.id)
        for draft, id in zip(drafts, mail_ids, strict=True):
            draft.message.postroom_batch_id = batch.id
            _mark(draft, id)


def _identified(draft: Draft) -> Draft:
    """A draft whose id is chosen, so that what is stored in the same transaction can refer to it."""
    id = draft.own.get("id") or ids.new_id()
    draft.message.postroom_id = id
    return draft._replace(own=draft.own | {"id": id})


_is_logging = ContextVar("_is_logging", default=False)


def _log(level: int, text: str, *arguments: object) -> None:
    """Log it, unless that is what failed: a log handler that mails (Django's `AdminEmailHandler`) comes back here."""
    if _is_logging.get():
        return
    token = _is_logging.set(True)
    try:
        logger.log(level, text, *arguments)
    finally:
        _is_logging.reset(token)


def _without_addresses(error: PostroomError) -> str:
    """What a log may have of an error. In the texts of an `InvalidMail` there may stand addresses."""
    if isinstance(error, InvalidMail):
        return f"invalid {', '.join(fault.field for fault in error.faults)}"
    return str(error)


def _mark(draft: Draft, id: str | None) -> None:
    draft.message.postroom_id = id
    draft.message.anymail_status = Status.queued(id, draft.body)
