"""Source: what a task sends from, a chunk of a batch or the singles of a lane. Claims windows, and gives them back."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, Unpack

from celery.utils.log import get_logger

from postroom import payload, wakeup
from postroom.answers import Claimed
from postroom.call import Call
from postroom.ledger import Claimant, Ledger
from postroom.names import Lane
from postroom.payload import Content

logger = get_logger("postroom.worker")


class Held(NamedTuple):
    """What goes in one request: a claimed mail of a chunk, or several that are merged.

    `body` is None when their content is not there any more; `attempt` counts from 1.
    """

    chunk: str
    places: list[int]
    attempt: int
    body: bytes | None


class Source(Protocol):
    """Calls for the ledger, and what a claim's answer holds."""

    lane: Lane

    def claim(self, ledger: Ledger, **by: Unpack[Claimant]) -> Call[Claimed]: ...

    def hold(self, claimed: Claimed, fetch: "Fetch") -> list[Held]: ...

    def give_back(self, ledger: Ledger, nonce: str) -> Call[int]: ...


class Fetch(Protocol):
    """Gets a chunk's payload."""

    def __call__(self, chunk: str) -> bytes | None: ...


class Chunk:
    """A chunk of a batch. Its payload is fetched and unpacked once for all its windows."""

    def __init__(self, id: str, lane: Lane) -> None:
        self.id = id
        self.lane = lane
        self._first = True
        self._content: Content | None = None

    def claim(self, ledger: Ledger, **by: Unpack[Claimant]) -> Call[Claimed]:
        first, self._first = self._first, False
        return ledger.claim_chunk(self.id, first=first, **by)

    def hold(self, claimed: Claimed, fetch: Fetch) -> list[Held]:
        if self._content is None:
            self._content = _unpacked(self.id, fetch(self.id))
        return [each for chunk, mails in claimed.groups for each in _held(chunk, mails, self._content)]

    def give_back(self, ledger: Ledger, nonce: str) -> Call[int]:  # noqa: ARG002
        return ledger.wake_chunk(self.id, first=self._first)


class Singles:
    """The singles that wait in a lane. Their payloads come with the claim."""

    def __init__(self, lane: Lane, *, announced: bool = True) -> None:
        """`announced`: a wake-up of this lane has brought this about."""
        self.lane = lane
        self._first = announced

    def claim(self, ledger: Ledger, **by: Unpack[Claimant]) -> Call[Claimed]:
        first, self._first = self._first, False
        return ledger.claim_lane(self.lane, first=first, drain=wakeup.drain_template(self.lane), **by)

    def hold(self, claimed: Claimed, fetch: Fetch) -> list[Held]:  # noqa: ARG002
        pairs = zip(claimed.groups, claimed.payloads, strict=True)
        return [each for (id, mails), packed in pairs for each in _held(id, mails, _unpacked(id, packed))]

    def give_back(self, ledger: Ledger, nonce: str) -> Call[int]:
        return ledger.wake_lane(self.lane, id=nonce.replace("/", "."), drain=wakeup.drain_template(self.lane))


def _held(chunk: str, mails: list[tuple[int, int]], content: Content) -> Iterator[Held]:
    if content.template is None:
        for place, attempt in mails:
            yield Held(chunk, [place], attempt, content.body(place))
        return
    present = [mail for mail in mails if content.has(mail[0])]
    absent = [mail for mail in mails if not content.has(mail[0])]
    for together in filter(None, (present, absent)):
        places, attempts = zip(*together, strict=True)
        yield Held(chunk, list(places), max(attempts), content.body(*places))


def _unpacked(chunk: str, packed: bytes | None) -> Content:
    """A chunk's content; none when the payload is gone, or damaged."""
    try:
        return payload.unpack(packed) if packed is not None else Content([])
    except payload.DamagedPayload:
        logger.exception("The content of %s is damaged", chunk)
        return Content([])
