"""Source: what a task sends from, a chunk of a batch or the singles of a lane. Claims windows, and gives them back."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from postroom import payload, wakeup
from postroom.answers import Claimed
from postroom.call import Call
from postroom.ledger import Ledger
from postroom.names import Lane


class Held(NamedTuple):
    """A claimed mail. `body` is None when its content is not there any more; `attempt` counts from 1."""

    chunk: str
    place: int
    attempt: int
    body: bytes | None


class Source(Protocol):
    """Calls for the ledger, and what a claim's answer holds."""

    lane: Lane

    def claim(self, ledger: Ledger, *, owner: str, nonce: str, limit: int, account: str) -> Call[Claimed]: ...

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
        self._bodies: list[bytes | None] | None = None

    def claim(self, ledger: Ledger, *, owner: str, nonce: str, limit: int, account: str) -> Call[Claimed]:
        return ledger.claim_chunk(self.id, owner=owner, nonce=nonce, limit=limit, account=account)

    def hold(self, claimed: Claimed, fetch: Fetch) -> list[Held]:
        if self._bodies is None:
            packed = fetch(self.id)
            self._bodies = payload.unpack(packed) if packed is not None else []
        return [
            Held(chunk, place, attempt, self._bodies[place] if place < len(self._bodies) else None)
            for chunk, mails in claimed.groups
            for place, attempt in mails
        ]

    def give_back(self, ledger: Ledger, nonce: str) -> Call[int]:  # noqa: ARG002
        return ledger.wake_chunk(self.id)


class Singles:
    """The singles that wait in a lane. Their payloads come with the claim."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._first = True

    def claim(self, ledger: Ledger, *, owner: str, nonce: str, limit: int, account: str) -> Call[Claimed]:
        first, self._first = self._first, False
        return ledger.claim_lane(
            self.lane,
            owner=owner,
            nonce=nonce,
            limit=limit,
            account=account,
            first=first,
            drain=wakeup.drain_template(self.lane),
        )

    def hold(self, claimed: Claimed, fetch: Fetch) -> list[Held]:  # noqa: ARG002
        return list(self._held(claimed))

    def give_back(self, ledger: Ledger, nonce: str) -> Call[int]:
        return ledger.wake_lane(self.lane, id=nonce.replace("/", "."), drain=wakeup.drain_template(self.lane))

    def _held(self, claimed: Claimed) -> Iterator[Held]:
        for (chunk, mails), packed in zip(claimed.groups, claimed.payloads, strict=True):
            bodies = payload.unpack(packed)
            for place, attempt in mails:
                yield Held(chunk, place, attempt, bodies[place])
