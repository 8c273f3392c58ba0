"""`POST /v3/mail/send`: one mail, as SendGrid takes it. It is queued when the answer is 202."""

from postroom import ids
from postroom.names import Lane
from producers.async_client import AsyncPostroom
from producers.gateway import senders
from producers.gateway.answers import Answer, refused
from producers.gateway.door import Visit, within


class MailSend:
    def __init__(self, postroom: AsyncPostroom) -> None:
        self._postroom = postroom

    async def __call__(self, visit: Visit) -> Answer:
        _check_type(visit.headers.get(b"content-type", b""))
        key, id = visit.idempotency_key, ids.new_id()
        body = await visit.body.whole(visit.key.max_bytes)
        visit.note["bytes"] = len(body)
        senders.check(body, visit.key)
        lane = visit.key.lane or Lane.TRANSACTIONAL
        id = await within(visit.seconds, id, self._postroom.enqueue(body, key=key, lane=lane, id=id))
        visit.note.update(id=id, lane=lane)
        return Answer(202, headers=((b"x-message-id", id.encode()),))


def _check_type(given: bytes) -> None:
    if given.partition(b";")[0].strip().lower() != b"application/json":
        help = "Send one JSON body, with the header Content-Type: application/json."
        raise refused(415, "content_type", "Content-Type should be application/json.", help)
