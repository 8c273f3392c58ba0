"""Operator: what is done by hand. Dead letters, doubts, and a Redis that was restored."""

from collections.abc import Iterator

from postroom import ids, payload, wakeup
from postroom.answers import DeadLetter, Doubt, MailStatus, Pace, Recovered
from postroom.delivery import Told
from postroom.errors import CannotRetry, NotDead, UnknownId, shown
from postroom.names import Lane, State
from postroom.rate import Rate
from postroom.settings import Settings
from producers.asking import Asking

#: What a pace can be set for: each account, or a lane.
PACED = ("all", *map(str, Lane))


class Operator(Asking):
    """Looks after what has gone wrong. Blocking; a context manager.

    `settings` defaults to what the environment says. Any call may raise `QueueUnavailable`.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings or Settings.from_environment())

    def dead_letters(self, batch_id: str | None = None) -> Iterator[DeadLetter]:
        """The dead letters (rejected, exhausted, expired, unresolved), newest first; of one batch, or all."""
        score, skip = None, 0
        while True:
            page = self._run(self._ledger.dead(batch_id, score, skip))
            yield from page.letters
            if page.next is None:
                return
            score, skip = page.next

    def doubts(self) -> Iterator[Doubt]:
        """The mails in doubt, by when their grace ends."""
        start: int | None = 0
        while start is not None:
            page = self._run(self._ledger.doubts(start))
            yield from page.doubts
            start = page.next

    def status(self, id: str) -> MailStatus:
        """Where a mail stands, and how it ended before. Raises `UnknownId`."""
        status = self._status(id)
        if status is None:
            raise UnknownId(id)
        return status

    def content(self, id: str) -> bytes | None:
        """A mail's body as it is kept, in JSON; None if it is not kept any more."""
        status = self._status(id)
        if status is None or status.purged:
            return None
        place = ids.place_of(id)
        packed = self._run(self._ledger.payload(place.chunk))
        if packed is None:
            return None
        try:
            return payload.unpack(packed).body(place.place)
        except payload.DamagedPayload:
            return None

    def retry(self, id: str, *, expires_in: float | None = None, may_repeat: bool = False) -> None:
        """Queue a dead letter again, under its id, with all its attempts.

        `expires_in` (seconds, from now; the default is its lane's) counts if all of its chunk is through; otherwise the
        deadline stays. `may_repeat`: also an unresolved mail, which SendGrid may have accepted already.
        Raises `UnknownId`, `CannotRetry`.
        """
        self._retry(id, expires_in, may_repeat=may_repeat, not_accepted=False)

    def purge(self, id: str) -> None:
        """Delete the content of a dead letter, and SendGrid's errors, which may quote it. Its state stays known.

        Raises `UnknownId`, `NotDead`.
        """
        what, state = self._run(self._ledger.purge(id)) if ids.is_mail_id(id) else ("unknown", "")
        if what == "unknown":
            raise UnknownId(id)
        if what == "not_dead":
            raise NotDead(id, state)

    def resolve(self, id: str, *, accepted: bool, receipt: str = "") -> None:
        """End a doubt (also an unresolved mail's): somebody has looked, and knows whether SendGrid has accepted it.

        If not, it is queued again at once. Raises `UnknownId`, `CannotRetry`.
        """
        if not accepted:
            return self._retry(id, None, may_repeat=False, not_accepted=True)
        state = self.status(id).state
        if state is State.ACCEPTED:
            return None
        if state not in (State.IN_DOUBT, State.UNRESOLVED):
            raise CannotRetry(id, "not_in_doubt", state)
        place = ids.place_of(id)
        self._run(self._ledger.events([(place.chunk, [Told(place.place, receipt)])]))
        return None

    def recover(self) -> Iterator[Recovered]:
        """Put all that is not finished in doubt, a page with each step; then the fleet goes on.

        Until it has been iterated to its end, nothing is sent. It may be begun again.
        """
        cursor = "0"
        while True:
            page = self._run(self._ledger.recover(cursor))
            yield page
            if page.cursor == "0":
                return
            cursor = page.cursor

    def pace(self) -> list[Pace]:
        """How fast the accounts at SendGrid and the lanes may go, and go.

        What no operator has set is as this process' own settings have it, and workers may have others.
        """
        accounts = dict.fromkeys(self._settings.account(lane) for lane in Lane)
        return self._run(self._ledger.pace(list(accounts)))

    def set_pace(self, name: str, rate: Rate | str | None) -> None:
        """Limit a lane, or `"all"` (each account), from now on, whatever the settings say.

        `rate` is like "200/s", "600/min", "5000/h", "50000/d"; None is no limit, "default" is what the settings say.
        Raises `ValueError`.
        """
        if name not in PACED:
            raise ValueError(f"pace is that of {', '.join(PACED)}, not of {shown(name)}")
        if rate == "default":
            self._run(self._ledger.reset_pace(name))
        else:
            limit = Rate(rate) if isinstance(rate, str) else rate
            self._run(self._ledger.set_pace(name, None if limit is None else limit.per_second))

    def _status(self, id: str) -> MailStatus | None:
        return self._run(self._ledger.status(id)) if ids.is_mail_id(id) else None

    def _retry(self, id: str, expires_in: float | None, *, may_repeat: bool, not_accepted: bool) -> None:
        lane = self._run(self._ledger.lane_of(ids.place_of(id).chunk)) if ids.is_mail_id(id) else None
        if lane is None:
            raise UnknownId(id)
        call = self._ledger.retry(
            id,
            expires_in=self._settings.expires_in(lane) if expires_in is None else expires_in,
            drains={lane.value: wakeup.drain_template(lane) for lane in Lane},
            may_repeat=may_repeat,
            not_accepted=not_accepted,
        )
        what, state = self._run(call)
        if what == "unknown":
            raise UnknownId(id)
        if what != "queued":
            raise CannotRetry(id, what, state)
