"""Outbox: the mail that is in the ledger, as a list."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, overload

from msgspec import json

from postroom import ids, payload
from postroom.answers import STATES
from postroom.names import State
from producers.testing import telling
from producers.testing.mail import Enqueued, moment
from producers.testing.records import ChunkRecord
from producers.testing.servers import Servers
from producers.testing.wanted import Wanted


class Outbox(Sequence[Enqueued]):
    """What was enqueued since the test began, oldest first, whoever has enqueued it. It is read anew at each use.

    Cancelled mail is not in it. Once a mail is accepted, its content is what the sandbox has got.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._forgotten: set[str] = set()

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, place: int) -> Enqueued: ...
    @overload
    def __getitem__(self, place: slice) -> list[Enqueued]: ...
    def __getitem__(self, place: int | slice) -> Enqueued | list[Enqueued]:
        mails = self._read()
        try:
            return mails[place]
        except IndexError:
            raise IndexError(f"no mail {place}: {telling.counted(len(mails))} in the outbox") from None

    def __iter__(self) -> Iterator[Enqueued]:
        return iter(self._read())

    def __repr__(self) -> str:
        return f"<Outbox of {telling.counted(len(self))}>"

    def clear(self) -> None:
        """Forget what was enqueued up to now. Redis keeps it: its keys stay in use, and it is sent in its time."""
        self._forgotten |= {mail.id for mail in self._read()}

    def find(self, **fields: Any) -> list[Enqueued]:
        """The mails with these fields; see `Wanted`."""
        wanted = Wanted(fields)
        return [mail for mail in self._read() if wanted.is_met_by(mail)]

    def assert_enqueued(self, *, count: int | None = None, **fields: Any) -> Enqueued:
        """There is a mail with these fields (with `count`: so many of them). Returns the first one; see `Wanted`."""
        __tracebackhide__ = True
        mails, wanted = self._read(), Wanted(fields)
        found = [mail for mail in mails if wanted.is_met_by(mail)]
        if count == 0:
            raise ValueError("for none at all there is assert_nothing_enqueued")
        if not found or len(found) != (count or len(found)):
            raise AssertionError(telling.missing(wanted, mails, number=count))
        return found[0]

    def assert_nothing_enqueued(self, **fields: Any) -> None:
        """There is no mail with these fields; without any, no mail."""
        __tracebackhide__ = True
        mails, wanted = self._read(), Wanted(fields)
        if any(wanted.is_met_by(mail) for mail in mails):
            raise AssertionError(telling.unwanted(wanted, mails))

    def _read(self) -> list[Enqueued]:
        accepted = cache(self._accepted)
        mails = [mail for record in self._servers.read() for mail in _mails(record, accepted)]
        return [mail for mail in mails if mail.id not in self._forgotten]

    def _accepted(self) -> dict[str, dict[str, Any]]:
        """The bodies that the sandbox has got, by mail."""
        return self._servers.sandbox.bodies() if self._servers.sandbox else {}


def _mails(record: ChunkRecord, accepted: Callable[[], dict[str, dict[str, Any]]]) -> Iterator[Enqueued]:
    content = payload.unpack(record.payload) if record.payload else None
    for place, letter in enumerate(record.states):
        state, id = STATES[letter], ids.mail_id(record.id, place)
        if state is not State.CANCELLED:
            raw = content.body(place) if content else None
            yield _enqueued(id, state, record, json.decode(raw) if raw else accepted().get(id, {}))


def _enqueued(id: str, state: State, record: ChunkRecord, body: dict[str, Any]) -> Enqueued:
    found = ids.place_of(id)
    send_at = record.send_at / 1000 if record.send_at else body.get("send_at")
    return Enqueued(
        request=body,
        id=id,
        batch_id=found.batch,
        row=found.row,
        lane=record.lane,
        on_doubt=record.policy,
        state=state,
        enqueued_at=moment(record.created / 1000),
        send_at=moment(send_at) if send_at else None,
        expires_at=moment(record.expires / 1000),
        hashed_key=record.key,
    )
