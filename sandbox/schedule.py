"""Schedule: SendGrid's batch ids, and the batches of scheduled mail that are cancelled or paused.

As in SendGrid's API: `POST /v3/mail/batch`, `GET /v3/mail/batch/{id}`, `/v3/user/scheduled_sends[/{id}]`.
"""

import secrets
from typing import Literal, TypeVar

import msgspec

from sandbox.answers import Answer, Refused, json, refusal
from sandbox.mails import Mail

#: So many batches can be cancelled or paused at a time
#: (twilio.com/docs/sendgrid/api-reference/cancel-scheduled-sends).
MOST_STOPPED = 10

Stop = Literal["cancel", "pause"]
T = TypeVar("T")


class StopRequest(msgspec.Struct):
    """The body of a request to cancel or pause a batch."""

    batch_id: str
    status: Stop


class StopChange(msgspec.Struct):
    """The body of a request to change what was asked for a batch."""

    status: Stop


class Schedule:
    """Which batches exist and which are stopped. Each method raises `Refused` with SendGrid's errors."""

    def __init__(self) -> None:
        self._batches: set[str] = set()
        self._stopped: dict[str, Stop] = {}
        #: Grows with every change of what is stopped.
        self.version = 0

    def state(self, mail: Mail, now: float) -> str:
        """`sent`, `scheduled`, `paused` or `cancelled`."""
        stopped = self._stopped.get(mail.batch_id or "")
        if mail.send_at is None or mail.send_at <= mail.time:
            return "sent"
        if stopped:
            return "cancelled" if stopped == "cancel" else "paused"
        return "scheduled" if mail.send_at > now else "sent"

    def new_batch(self) -> Answer:
        batch_id = secrets.token_urlsafe(24)
        self._batches.add(batch_id)
        return json(201, {"batch_id": batch_id})

    def batch(self, batch_id: str) -> Answer:
        if batch_id not in self._batches:
            raise Refused(refusal(400, "invalid batch id"))
        return json(200, {"batch_id": batch_id})

    def stopped(self, batch_id: str | None = None) -> Answer:
        """All stopped batches, or a list of the one."""
        wanted = [name for name in self._stopped if batch_id in (None, name)]
        return json(200, [{"batch_id": name, "status": self._stopped[name]} for name in wanted])

    def stop(self, body: bytes) -> Answer:
        request = _decode(body, StopRequest)
        if request.batch_id not in self._batches:
            raise Refused(refusal(400, "invalid batch id"))
        if request.batch_id in self._stopped:
            raise Refused(refusal(400, "a status is already set for this batch id"))
        if len(self._stopped) >= MOST_STOPPED:
            raise Refused(refusal(400, f"no more than {MOST_STOPPED} batches can be cancelled or paused at a time"))
        self._set(request.batch_id, request.status)
        return json(201, request)

    def change(self, batch_id: str, body: bytes) -> Answer:
        self._known(batch_id)
        self._set(batch_id, _decode(body, StopChange).status)
        return Answer(204)

    def resume(self, batch_id: str) -> Answer:
        self._known(batch_id)
        del self._stopped[batch_id]
        self.version += 1
        return Answer(204)

    def _known(self, batch_id: str) -> None:
        if batch_id not in self._stopped:
            raise Refused(refusal(404, "batch id not found"))

    def _set(self, batch_id: str, status: Stop) -> None:
        self._stopped[batch_id] = status
        self.version += 1


def _decode(body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.MsgspecError as error:
        raise Refused(refusal(400, str(error))) from None
