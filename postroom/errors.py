"""The errors of Postroom's public calls.

Everything a caller may want to catch is a `PostroomError`. `ConfigurationError` is not: a wrong setting is to be
mended, not caught. Inside delivery there are no errors but bugs; what became of a mail is an `Outcome`.
"""

from collections.abc import Sequence

import msgspec

#: No more of a value is shown in an error (characters).
SHOWN_LIMIT = 80


def shown(value: object) -> str:
    """A value in the text of an error: short, whatever it is."""
    if not isinstance(value, (str, bytes, int, float, bool, type(None))):
        return f"a value of type {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]}… ({len(text)} characters)"


class Fault(msgspec.Struct, frozen=True):
    """One fault of a mail: SendGrid's text for it and the path of the field, e.g. `personalizations.0.to.0.email`."""

    field: str
    message: str


class PostroomError(Exception):
    """Base of the errors that a caller may catch."""


class InvalidMail(PostroomError, ValueError):
    """The mail breaks SendGrid's rules; nothing was enqueued.

    `faults` has all of them. `row` is the place in the batch, counted from 0, or None for a single mail.
    """

    def __init__(self, faults: Sequence[Fault], row: int | None = None) -> None:
        super().__init__(faults, row)
        self.faults = list(faults)
        self.row = row

    def __str__(self) -> str:
        where = "" if self.row is None else f"row {self.row}: "
        return where + "; ".join(f"{fault.field}: {fault.message}" for fault in self.faults)


class QueueUnavailable(PostroomError, ConnectionError):
    """Redis did not answer in time.

    With `may_be_enqueued` the mail may have got through before the answer was lost: `enqueue(mail, id=error.id)`
    repeats safely, under the same id. For a batch, give it a `key` and call again.
    """

    def __init__(self, id: str, may_be_enqueued: bool, detail: str) -> None:
        super().__init__(id, may_be_enqueued, detail)
        self.id = id
        self.may_be_enqueued = may_be_enqueued
        self.detail = detail

    def __str__(self) -> str:
        known = "it may be enqueued: repeat with the same id" if self.may_be_enqueued else "nothing was enqueued"
        return f"Redis is not reachable ({self.detail}); {known}"


class QueueFull(PostroomError):
    """Redis is short of memory, so it takes no more mail. Nothing was enqueued; try again when some has been sent."""


class KeyConflict(PostroomError, ValueError):
    """The idempotency key was already used, for another mail or batch or with other arguments."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"this key was already used for something else (id {self.id}); use a new key for new mail"


class UnknownId(PostroomError, LookupError):
    """No mail or batch of this id is in the ledger: never enqueued, or finished more than 7 days ago."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"no mail or batch has the id {shown(self.id)}; finished ones are kept for 7 days"


class InvalidEvents(PostroomError, ValueError):
    """Not what SendGrid's Event Webhook posts, which is a JSON array of events."""


class CannotRetry(PostroomError):
    """The mail cannot be queued again.

    `reason`: "not_dead" (it is under way, accepted or cancelled), "not_in_doubt", "unresolved" (SendGrid may have it),
    "content_gone", or "busy" (its chunk is past its deadline, and others of it are not through).
    """

    def __init__(self, id: str, reason: str, state: str) -> None:
        super().__init__(id, reason, state)
        self.id = id
        self.reason = reason
        self.state = state

    def __str__(self) -> str:
        return f"{self.id} is {self.state}: {_WHY_NOT[self.reason]}"


class NotDead(PostroomError):
    """Only dead letters can be purged: rejected, exhausted, expired and unresolved mails."""

    def __init__(self, id: str, state: str) -> None:
        super().__init__(id, state)
        self.id = id
        self.state = state

    def __str__(self) -> str:
        return f"{self.id} is {self.state}, which is no dead letter"


_WHY_NOT = {
    "not_dead": "only rejected, exhausted, expired and unresolved mails can be retried",
    "not_in_doubt": "only mails in doubt and unresolved ones can be resolved",
    "unresolved": "SendGrid may have accepted it. Look for it there (Email Activity), and resolve the doubt; or retry "
    "it knowing that it may come twice",
    "content_gone": "its content is gone (purged, damaged, or older than POSTROOM_KEEP_FAILED_DAYS); enqueue it again",
    "busy": "it is too late for its chunk, of which others are still under way; try again in a few minutes",
}


class ConfigurationError(Exception):
    """A setting is missing or wrong. The message names it and says what to set."""
