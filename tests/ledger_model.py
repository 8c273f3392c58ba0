"""Model: the ledger's protocol in plain Python, to read, and to hold the ledger against.

It says what each step does to the mails, in the words of `postroom/lua`. What the ledger keeps twice to be quick
(counts, indexes, what is left to do) is worked out here from the mails; wake-ups are left out, for losing or repeating
one must change nothing. Times are milliseconds.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from postroom.answers import Claimed, Enqueued, OpenBatch, Settled, Stored, Swept
from postroom.ledger import SLACK
from postroom.outcome import Kind, Outcome
from postroom.settings import OWNER_LIFE, Settings

QUEUED, WAITING, ALONE = "q", "w", "o"  # due; due later; due, to be claimed alone
SENDING, IN_DOUBT = "s", "d"
ACCEPTED, REJECTED, EXHAUSTED, EXPIRED, CANCELLED, UNRESOLVED = "a", "r", "x", "e", "c", "u"
CLAIMABLE = {QUEUED, ALONE}
IS_QUEUED = {QUEUED, ALONE, WAITING}
FINISHED = {ACCEPTED, REJECTED, EXHAUSTED, EXPIRED, CANCELLED, UNRESOLVED}
#: Dead letters: they can be retried by hand.
DEAD = {REJECTED, EXHAUSTED, EXPIRED, UNRESOLVED}
NAMES = {
    QUEUED: "queued",
    WAITING: "queued",
    ALONE: "queued",
    SENDING: "sending",
    IN_DOUBT: "in_doubt",
    ACCEPTED: "accepted",
    REJECTED: "rejected",
    EXHAUSTED: "exhausted",
    EXPIRED: "expired",
    CANCELLED: "cancelled",
    UNRESOLVED: "unresolved",
}

SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000
#: An owner that has not been heard of for so long is dead.
LIFE = round(OWNER_LIFE * SECOND)
#: Sweeps are at least so far apart; after a longer gap nobody is judged for one life.
EACH, GAP = 900, 2 * SECOND
#: A chunk past its deadline that has mail on the wire or in doubt is looked at again so much later.
LOOK_AGAIN = 60 * SECOND
REPORT_LATE = 10 * SECOND
#: Five failed requests in a row pause an account; the first pause and the longest.
IN_A_ROW, FIRST_PAUSE, LONGEST_PAUSE = 5, SECOND, 60 * SECOND
#: A bucket of the pace holds what it gains in so many seconds, at least so many tokens; a paced claim waits so long.
BURST, LEAST_BURST, SHORTEST_WAIT = 0.1, 2, 20


@dataclass
class Mail:
    id: str
    state: str = QUEUED
    attempts: int = 0
    receipt: str = ""
    #: How often it was in doubt, and how often its worker died.
    doubts: int = 0
    died: int = 0
    reason: str = ""
    errors: str = ""
    #: The window that left it in doubt.
    nonce: str | None = None
    #: The receipt of a second copy.
    copy: str = ""
    #: When it is queued again, if it is waiting; when its grace is over, if it is in doubt.
    due: int = 0
    grace_ends: int = 0
    #: What the report says of it (state, reason, errors), if that is not the truth any more.
    was: tuple[str, str, str] | None = None
    changed_at: int | None = None
    #: Attempts used when it was last retried by hand.
    base: int = 0

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


@dataclass
class Chunk:
    id: str
    batch: str | None
    lane: str
    policy: str
    expires: int
    send_at: int
    key: str | None
    mails: list[Mail]
    #: Its mails go in one request.
    is_merged: bool = False
    #: When the sweep looks for mails that are too late to send; None before the chunk is announced.
    deadline: int | None = None
    #: When its record may go.
    kept_until: int | None = None

    @property
    def is_finished(self) -> bool:
        return all(mail.is_finished for mail in self.mails)

    @property
    def has_dead(self) -> bool:
        return any(mail.state in DEAD for mail in self.mails)

    @property
    def kept(self) -> str:
        """Whose content is kept."""
        return "".join("k" if mail.state in DEAD else "-" for mail in self.mails)

    @property
    def is_claimable(self) -> bool:
        return any(mail.state in CLAIMABLE for mail in self.mails)

    @property
    def states(self) -> str:
        return "".join(mail.state for mail in self.mails)


@dataclass
class Batch:
    id: str
    lane: str
    policy: str
    expires: int
    send_at: int
    key: str | None
    then: str | None
    #: When it was opened, or last stored to; unsealed for a day after that, it is dropped.
    touched_at: int
    running: str = ""
    chunks: list[Chunk] = field(default_factory=list)
    sealed: int | None = None
    is_announced: bool = False
    final_at: int | None = None
    reported_at: int | None = None
    report: dict[str, int] | None = None
    changed_since: int | None = None
    #: When `then` was last handed out for publishing; None when it has been published, or there is nothing to publish.
    then_at: int | None = None
    kept_until: int | None = None

    @property
    def announce_at(self) -> int | None:
        """When its wake-ups are pushed."""
        if self.sealed is None or self.is_announced or self.final_at is not None:
            return None
        return max(self.sealed, self.send_at)

    @property
    def total(self) -> int:
        return sum(len(chunk.mails) for chunk in self.chunks)

    @property
    def is_finished(self) -> bool:
        return all(chunk.is_finished for chunk in self.chunks)

    def counts(self) -> Counter[str]:
        return Counter(NAMES[mail.state] for chunk in self.chunks for mail in chunk.mails)


@dataclass
class Window:
    """The mails that one task has claimed: chunks and rows. The nonce is `owner/number`."""

    nonce: str
    is_probe: bool
    until: int
    groups: dict[str, list[int]]

    @property
    def owner(self) -> str:
        return self.nonce.rpartition("/")[0]

    def holds(self, chunk: str, row: int) -> bool:
        return row in self.groups.get(chunk, ())


@dataclass
class Account:
    """The account at SendGrid: one pause for the whole fleet, and one probe at a time when it may be over."""

    kind: str | None = None
    reason: str = ""
    until: int = 0
    interval: int = 0
    probe: str | None = None
    probe_until: int = 0
    failures: int = 0

    def gate(self, now: int) -> tuple[int, bool]:
        """How long a claim must wait, and whether it would be the probe."""
        if self.kind is None:
            return 0, False
        if now < self.until:
            return self.until - now, False
        if self.kind == "limited":
            return 0, False
        if self.probe and now < self.probe_until:
            return self.probe_until - now, False
        return 0, True

    def is_paused(self, now: int) -> bool:
        return self.kind is not None and (self.kind != "limited" or now < self.until)

    def pause(self, now: int, kind: str, reason: str, asked: int | None = None) -> None:
        """`asked`: how long SendGrid asked to wait; without, each pause is twice as long as the last."""
        longer = min(LONGEST_PAUSE, max(FIRST_PAUSE, self.interval * (1 if asked else 2)))
        self.interval = FIRST_PAUSE if self.kind is None else longer
        self.until = max(self.until, now + (asked or self.interval))
        if kind != "limited" or self.kind is None:  # otherwise a probe is still due
            self.kind, self.reason = kind, reason


@dataclass
class Bucket:
    """The tokens of a lane or an account: one for each mail that is claimed."""

    rate: float | None = None
    level: float | None = None
    at: int = 0

    @property
    def depth(self) -> float:
        return max(LEAST_BURST, (self.rate or 0) * BURST)

    def now(self, now: int) -> float:
        """How many there are now."""
        gained = max(0, now - self.at) * (self.rate or 0) / SECOND
        return min(self.depth, (self.depth if self.level is None else self.level) + gained)

    def spend(self, now: int, tokens: int) -> None:
        if self.rate is not None:
            self.level, self.at = self.now(now) - tokens, now

    def allows(self, now: int, *, kept: float, limit: int) -> tuple[float, int]:
        """How many mails may be claimed; if none, how long to wait."""
        if self.rate is None:
            return math.inf, 0
        free = self.now(now) - kept + 0.000001
        if free >= 1:
            return math.floor(free), 0
        worth_it = max(1, min(limit, math.floor((self.depth - kept) / 2)))
        return 0, max(SHORTEST_WAIT, math.ceil((worth_it - free) * SECOND / self.rate))


class Model:
    def __init__(self, settings: Settings, now: int) -> None:
        self.now = now
        self.grace = round(settings.grace * SECOND)
        self.window_life = round((settings.request_deadline + SLACK) * SECOND)
        self.most_attempts = settings.max_attempts
        self.keep = round(settings.keep_outcomes_days * DAY)
        self.chunks: dict[str, Chunk] = {}
        self.batches: dict[str, Batch] = {}
        self.windows: dict[str, Window] = {}
        self.owners: dict[str, int] = {}
        self.accounts: dict[str, Account] = {}
        #: By lane; "all" is that of the account.
        self.buckets = {name: Bucket() for name in ("all", "transactional", "bulk")}
        self.kept = settings.rate_kept
        #: Singles that wait, by lane; and those to be claimed alone. An id whose mail is not claimable counts for
        #: nothing.
        self.singles: dict[str, list[str]] = {"transactional": [], "bulk": []}
        self.alone: dict[str, list[str]] = {"transactional": [], "bulk": []}
        self.keys: dict[str, tuple[str, str]] = {}
        self.stats: Counter[str] = Counter()
        self.to_trim: set[str] = set()
        #: Claims and sweeps so far; after a recovery it counts on from the time in microseconds.
        self.step = 0
        self.swept_at: int | None = None
        self.judge_from = 0

    def account(self, name: str) -> Account:
        return self.accounts.setdefault(name, Account())

    def mails(self) -> Iterator[tuple[Chunk, int, Mail]]:
        for chunk in self.chunks.values():
            for row, mail in enumerate(chunk.mails):
                yield chunk, row, mail

    # Producers.

    def enqueue(
        self,
        id: str,
        *,
        lane: str,
        policy: str,
        expires_in: int,
        send_at: int,
        key: str | None,
        fingerprint: str | None,
    ) -> Enqueued:
        if key in self.keys:
            known, known_fingerprint = self.keys[key]
            return Enqueued("known" if fingerprint == known_fingerprint else "conflict", known)
        if id in self.chunks:
            return Enqueued("known", id)
        chunk = Chunk(id, None, lane, policy, max(self.now, send_at) + expires_in, send_at, key, [Mail(id)])
        chunk.deadline = chunk.expires
        self.chunks[id] = chunk
        if key is not None:
            self.keys[key] = (id, fingerprint or "")
        if send_at <= self.now:
            self.singles[lane].append(id)
        else:
            chunk.mails[0].state, chunk.mails[0].due = WAITING, send_at
        return Enqueued("enqueued", id)

    def open_batch(
        self,
        id: str,
        *,
        lane: str,
        policy: str,
        expires_in: int,
        send_at: int,
        key: str | None,
        fingerprint: str | None,
        then: str | None,
    ) -> OpenBatch:
        if key in self.keys:
            known, known_fingerprint = self.keys[key]
            batch = self.batches.get(known)
            if fingerprint != known_fingerprint or batch is None:
                return OpenBatch("conflict", known, 0, "", False)
            return OpenBatch("open", known, batch.total, batch.running, batch.sealed is not None)
        expires = max(self.now, send_at) + expires_in
        self.batches[id] = Batch(id, lane, policy, expires, send_at, key, then, touched_at=self.now)
        if key is not None:
            self.keys[key] = (id, fingerprint or "")
        return OpenBatch("open", id, 0, "", False)

    def store_chunk(self, batch_id: str, first_row: int, rows: int, running: str, *, merged: bool = False) -> Stored:
        batch = self.batches.get(batch_id)
        if batch is None:
            return Stored("gone", 0)
        id = f"{batch_id}.{first_row}"
        if batch.total == first_row + rows and batch.running == running and id in self.chunks:
            return Stored("stored", batch.total)  # said again
        if batch.sealed or batch.total != first_row:
            return Stored("behind", batch.total)
        mails = [Mail(f"{id}.{row}") for row in range(rows)]
        chunk = Chunk(id, batch_id, batch.lane, batch.policy, batch.expires, batch.send_at, None, mails, merged)
        self.chunks[id] = chunk
        batch.chunks.append(chunk)
        batch.running, batch.touched_at = running, self.now
        return Stored("stored", batch.total)

    def seal(self, batch_id: str) -> tuple[str, int]:
        batch = self.batches.get(batch_id)
        if batch is None:
            return "gone", 0
        if batch.sealed is None:
            batch.sealed = self.now
            self._finish_batch(batch)
        return "sealed", len(batch.chunks)

    def drop_batch(self, batch_id: str) -> bool:
        batch = self.batches.get(batch_id)
        if batch is not None and batch.sealed is None:
            del self.batches[batch_id]
            for chunk in batch.chunks:
                del self.chunks[chunk.id]
            if batch.key is not None:
                del self.keys[batch.key]
        return True

    def announce_batch(self, batch_id: str) -> int:
        batch = self.batches.get(batch_id)
        if batch is None or batch.announce_at is None or batch.announce_at > self.now:
            return 0
        batch.is_announced = True
        for chunk in batch.chunks:
            if not chunk.is_finished:
                chunk.deadline = chunk.expires
        return len(batch.chunks)

    def cancel(self, chunk_id: str, only: int | None) -> tuple[str, int, int]:
        chunk = self.chunks.get(chunk_id)
        if chunk is None or (only is not None and only >= len(chunk.mails)) or not self._is_sealed(chunk):
            return "unknown", 0, 0
        cancelled = too_late = 0
        for mail in chunk.mails if only is None else [chunk.mails[only]]:
            if mail.state == CANCELLED:
                cancelled += 1
            elif mail.state in IS_QUEUED and mail.doubts == 0:
                self._fail(chunk, mail, CANCELLED, "cancelled")
                cancelled += 1
            else:
                too_late += 1
        return "done", cancelled, too_late

    def _is_sealed(self, chunk: Chunk) -> bool:
        return chunk.batch is None or self.batches[chunk.batch].sealed is not None

    # Workers.

    def claim_chunk(self, id: str, *, nonce: str, limit: int, account: str) -> Claimed:
        if nonce in self.windows:
            return self._repeated(self.windows[nonce])
        chunk = self.chunks.get(id)
        if chunk is None:
            return Claimed("unknown")
        if chunk.is_finished:
            return Claimed("finished", size=len(chunk.mails))
        if not self._is_sealed(chunk) or chunk.send_at > self.now:
            return Claimed("idle")
        if self.now >= chunk.expires:
            self._expire_queued(chunk)
        allowed, wait, reason, is_probe = self._allowed(account, chunk.lane, limit)
        if wait == 0 and (rows := _rows_to_claim(chunk, allowed, is_probe=is_probe)):
            return self._open_window(nonce, account, {id: rows}, is_probe=is_probe)
        if chunk.is_finished:
            return Claimed("finished", size=len(chunk.mails))
        if wait and chunk.is_claimable:
            return Claimed("wait", wait=wait, reason=reason)
        return Claimed("idle")

    def claim_lane(self, lane: str, *, nonce: str, limit: int, account: str) -> Claimed:
        if nonce in self.windows:
            return self._repeated(self.windows[nonce])
        if not self.alone[lane] and not self.singles[lane]:
            return Claimed("idle")
        allowed, wait, reason, is_probe = self._allowed(account, lane, limit)
        if wait:
            return Claimed("wait", wait=wait, reason=reason)
        taken = self._pop(self.alone[lane], 1) or self._pop(self.singles[lane], allowed)
        if not taken:
            return Claimed("idle")
        return self._open_window(nonce, account, {id: [0] for id in taken}, is_probe=is_probe)

    def _allowed(self, account: str, lane: str, limit: int) -> tuple[int, int, str, bool]:
        """What pause and pace allow: so many mails; or how long to wait, and why; and whether it is the probe."""
        wait, is_probe = self.account(account).gate(self.now)
        if wait:
            return 0, wait, self.account(account).reason, False
        bucket = self.buckets["all"]
        kept = max(1, bucket.depth * self.kept) if lane == "bulk" and bucket.rate is not None else 0
        all_lanes, wait = bucket.allows(self.now, kept=kept, limit=limit)
        own_lane, own_wait = self.buckets[lane].allows(self.now, kept=0, limit=limit)
        if wait or own_wait:
            return 0, max(wait, own_wait), "pace", False
        return int(min(all_lanes, own_lane, 1 if is_probe else limit)), 0, "", is_probe

    def _pop(self, waiting: list[str], limit: int) -> list[str]:
        taken: list[str] = []
        while waiting and len(taken) < limit:
            chunk = self.chunks[waiting.pop(0)]
            if chunk.id not in taken and chunk.is_claimable:
                if self.now >= chunk.expires:
                    self._expire_queued(chunk)
                else:
                    taken.append(chunk.id)
        return taken

    def _open_window(self, nonce: str, account_name: str, groups: dict[str, list[int]], *, is_probe: bool) -> Claimed:
        for id, rows in groups.items():
            for row in rows:
                self._move(self.chunks[id], self.chunks[id].mails[row], SENDING)
        for name in ("all", self.chunks[id].lane):
            requests = 1 if self.chunks[id].is_merged else sum(map(len, groups.values()))
            self.buckets[name].spend(self.now, requests)
        self.step += 1
        window = self.windows[nonce] = Window(nonce, is_probe, self.now + self.window_life, groups)
        self.owners[window.owner] = self.now
        if is_probe:
            account = self.account(account_name)
            account.probe, account.probe_until = nonce, window.until
        return self._repeated(window)

    def _repeated(self, window: Window) -> Claimed:
        """What a window still has to send."""
        groups = []
        for id, rows in window.groups.items():
            mails = self.chunks[id].mails
            left = [(row, mails[row].attempts + 1) for row in rows if mails[row].state == SENDING]
            if left:
                groups.append((id, left))
        return Claimed("claimed", groups=groups, step=self.step)

    def settle(
        self,
        groups: Iterable[tuple[str, list[tuple[list[int], Outcome, int]]]],
        *,
        nonce: str,
        account: str,
    ) -> Settled:
        """Settle mails: a chunk, and (rows, outcome, delay) of each request, which tells once of the account."""
        trimmed_later = set(self.to_trim)
        window = self.windows.get(nonce)
        stale = 0
        heard: list[tuple[Outcome, int]] = []
        for id, requests in groups:
            chunk = self.chunks.get(id)
            if chunk is None:
                continue
            for rows, outcome, delay in requests:
                heard.append((outcome, delay))
                stale += sum(not self._settle(chunk, row, outcome, delay, window, nonce) for row in rows)
        paused = self._judge_account(self.account(account), heard, window)
        self._shrink(window)
        return Settled(sorted(self.to_trim - trimmed_later), stale, paused)

    def evidence(self, id: str, row: int, receipt: str) -> int:
        """Proof that SendGrid has accepted a mail: as an outcome that is nobody's. Whether the mail is known."""
        chunk = self.chunks.get(id)
        proof = Outcome(Kind.ACCEPTED, receipt=receipt)
        return int(chunk is not None and self._settle(chunk, row, proof, 0, None, None))

    def _settle(
        self, chunk: Chunk, row: int, outcome: Outcome, delay: int, window: Window | None, nonce: str | None
    ) -> bool:
        """Whether it counts."""
        mail = chunk.mails[row]
        is_mine = window is not None and window.holds(chunk.id, row)
        if window and is_mine:
            window.groups[chunk.id].remove(row)
        if outcome.kind == "accepted":
            # Proof that SendGrid has it settles a mail from every state but accepted.
            receipt = outcome.receipt or ""
            if mail.state == ACCEPTED:
                self._count_copy(mail, receipt)
            else:
                mail.attempts += is_mine
                mail.receipt = receipt or mail.receipt
                self._move(chunk, mail, ACCEPTED)
        elif is_mine and mail.state == SENDING:
            self._apply(chunk, mail, outcome, delay, nonce, is_probe=window is not None and window.is_probe)
        elif mail.state == IN_DOUBT and nonce is not None and mail.nonce == nonce:
            self._heal(chunk, mail, outcome, delay, nonce)
        else:
            return False
        return True

    def _count_copy(self, mail: Mail, receipt: str) -> None:
        """A second copy is known by a receipt of its own, and counted once."""
        if receipt and mail.receipt and receipt not in (mail.receipt, mail.copy):
            mail.copy = receipt
            self.stats["extra_copies"] += 1

    def _apply(
        self, chunk: Chunk, mail: Mail, outcome: Outcome, delay: int, nonce: str | None, *, is_probe: bool
    ) -> None:
        kind, reason = outcome.kind, outcome.reason or ""
        if kind == "rejected":
            mail.attempts += 1
            self._fail(chunk, mail, REJECTED, reason, str(outcome.errors or ""))
        elif kind == "doubt":
            self._doubt(chunk, mail, reason, nonce)
        elif kind in ("retry", "unavailable", "unsent"):
            # A probe's 503 uses no attempt, so that an outage burns none.
            mail.attempts += kind == "retry" or (kind == "unavailable" and not is_probe)
            if mail.attempts - mail.base >= self.most_attempts:
                self._fail(chunk, mail, EXHAUSTED, reason)
            else:
                mail.reason = reason
                mail.due = min(self.now + delay, chunk.expires)
                self._move(chunk, mail, WAITING)
        else:  # limited, refused, released
            self._requeue(chunk, mail, at_head=True)

    def _heal(self, chunk: Chunk, mail: Mail, outcome: Outcome, delay: int, nonce: str) -> None:
        """Its window was taken for lost; now its own outcome comes after all."""
        if mail.reason == "worker_died":
            mail.died -= 1
        if outcome.kind == "doubt":
            mail.reason = outcome.reason or ""
            return
        mail.doubts -= 1
        mail.attempts -= 1
        self._apply(chunk, mail, outcome, delay, nonce, is_probe=False)

    def _shrink(self, window: Window | None) -> None:
        if window is not None:
            window.groups = {id: rows for id, rows in window.groups.items() if rows}
            if not window.groups:
                del self.windows[window.nonce]

    def _judge_account(  # noqa: C901  # one branch for each thing that outcomes can say
        self, account: Account, heard: list[tuple[Outcome, int]], window: Window | None
    ) -> str | None:
        """What outcomes say of the account. Returns why it is paused from now on, where they say so."""
        paused = None
        kinds = Counter(str(outcome.kind) for outcome, _ in heard)
        reasons = {str(outcome.kind): outcome.reason or "" for outcome, _ in heard}
        is_probe = window is not None and window.is_probe
        may_judge = is_probe or not account.is_paused(self.now)
        is_well = kinds["accepted"] or kinds["rejected"] or kinds["retry"]
        failures = kinds["unsent"] + kinds["unavailable"]
        if kinds["limited"]:
            asked = max(delay for outcome, delay in heard if outcome.kind == "limited")
            if asked or may_judge:
                paused = self._pause(account, "limited", "http_429", asked or None)
        elif kinds["refused"]:
            if may_judge:
                paused = self._pause(account, "refused", reasons["refused"])
        elif is_well:
            if may_judge:
                account.__init__()  # type: ignore[misc]
        elif failures:
            account.failures += failures
            last = [outcome.reason or "" for outcome, _ in heard if outcome.kind in ("unsent", "unavailable")][-1]
            if is_probe or (account.failures >= IN_A_ROW and not account.is_paused(self.now)):
                paused = self._pause(account, "outage", last)
        elif kinds["doubt"] and is_probe and account.kind:
            paused = self._pause(account, account.kind, reasons["doubt"])
        used_up = max([delay for outcome, delay in heard if outcome.kind == "accepted"], default=0)
        if used_up and not account.is_paused(self.now):
            paused = self._pause(account, "limited", "rate_limit", used_up)
        if window and is_probe and not is_well and account.probe == window.nonce:
            account.probe, account.probe_until = None, 0
        return paused

    def _pause(self, account: Account, kind: str, reason: str, asked: int | None = None) -> str:
        self.stats["pauses"] += account.kind is None
        account.pause(self.now, kind, reason, asked)
        return account.reason

    def leave(self, owner: str) -> int:
        return int(self.owners.pop(owner, None) is not None)

    def record_report(self, batch_id: str, by: str) -> bool:
        batch = self.batches.get(batch_id)
        if batch is None or batch.final_at is None or batch.reported_at is not None:
            return False
        batch.reported_at = self.now
        batch.report = {NAMES[state]: batch.counts()[NAMES[state]] for state in FINISHED}
        # The chord's body publishes it itself, right after this; a caretaker has its next sweep tell somebody to.
        batch.then_at = (0 if by == "caretaker" else self.now) if batch.then else None
        self.stats[f"reported_by_{by}"] += 1
        return True

    def then_published(self, batch_id: str) -> bool:
        batch = self.batches[batch_id]
        was_waiting, batch.then_at = batch.then_at is not None, None
        return was_waiting

    # Operators.

    def retry(
        self, chunk_id: str, row: int, *, expires_in: int, may_repeat: bool, not_accepted: bool
    ) -> tuple[str, str]:
        """Queue a dead letter again, or a mail in doubt that is known not to be accepted."""
        chunk = self.chunks[chunk_id]
        mail = chunk.mails[row]
        state = NAMES[mail.state]
        if not_accepted:
            if mail.state not in (IN_DOUBT, UNRESOLVED):
                return "not_in_doubt", state
        elif mail.state not in DEAD:
            return "not_dead", state
        elif mail.state == UNRESOLVED and not may_repeat:
            return "unresolved", state
        has_others = any(not other.is_finished for other in chunk.mails if other is not mail)
        if has_others and self.now >= chunk.expires:
            return "busy", state
        if not has_others:
            chunk.expires = max(chunk.expires, self.now + expires_in)
        chunk.deadline, chunk.kept_until = chunk.expires, None
        self.to_trim.discard(chunk.id)
        if chunk.batch:
            self._revive_batch(self.batches[chunk.batch], chunk.expires)
        mail.base = mail.attempts
        self._requeue(chunk, mail)
        mail.reason = mail.errors = ""
        mail.nonce = None
        mail.doubts *= not not_accepted
        self.stats["retried"] += 1
        return "queued", state

    def _revive_batch(self, batch: Batch, expires: int) -> None:
        """What is final is reported as it was."""
        self.record_report(batch.id, "retry")
        if batch.kept_until is not None:
            batch.kept_until = max(batch.kept_until, expires + self.keep)

    def recover(self) -> None:
        """This is a copy: what is not finished may have been sent since."""
        self.windows.clear()
        self.owners.clear()
        for chunk, _, mail in list(self.mails()):
            if self._is_sealed(chunk) and self._may_be_sent(chunk, mail):
                self._doubt(chunk, mail, "restored", None)
        self.step = self.now * 1000

    def _may_be_sent(self, chunk: Chunk, mail: Mail) -> bool:
        if mail.is_finished or chunk.send_at > self.now or (mail.state == WAITING and mail.due > self.now):
            return False
        return mail.state != IN_DOUBT or mail.reason != "restored"

    # The caretaker.

    def sweep(self, owner: str, *, again: bool = False) -> Swept:
        self.owners[owner] = self.now
        if self.swept_at is not None and self.now - self.swept_at < EACH and not again:
            return Swept(swept=False)
        self.step += 1
        dead = self._judge() if self._may_judge() else []
        self.swept_at = self.now
        self._queue_due()
        self._end_doubts()
        self._expire()
        more = any([self._drop_unsealed(), self._announce_some()])
        for batch in self.batches.values():
            if batch.final_at is not None and batch.final_at <= self.now - REPORT_LATE:
                self.record_report(batch.id, "caretaker")
        return Swept(True, more, self._pending_thens(), sorted(self.to_trim), dead, self.step)

    def _may_judge(self) -> bool:
        if self.swept_at is None or self.now - self.swept_at > GAP:
            self.judge_from = self.now + LIFE
            return False
        return self.now >= self.judge_from

    def _judge(self) -> list[str]:
        dead = [owner for owner, heard in self.owners.items() if heard <= self.now - LIFE]
        for owner in dead:
            del self.owners[owner]
        for window in list(self.windows.values()):
            if window.owner in dead:
                self._judge_window(window, "worker_died")
            elif window.until <= self.now:
                self._judge_window(window, "overdue")
        return dead

    def _judge_window(self, window: Window, reason: str) -> None:
        del self.windows[window.nonce]
        for id, rows in window.groups.items():
            chunk = self.chunks[id]
            for mail in [chunk.mails[row] for row in rows]:
                if mail.state == SENDING:
                    self._doubt(chunk, mail, reason, window.nonce)
                    mail.died += reason == "worker_died"

    def _queue_due(self) -> None:
        due = [(mail.due, mail.id, chunk, mail) for chunk, _, mail in self.mails() if mail.state == WAITING]
        for at, _, chunk, mail in sorted(due, key=lambda item: item[:2]):
            if at <= self.now:
                if self.now >= chunk.expires:
                    self._fail(chunk, mail, EXPIRED, "expired")
                else:
                    self._requeue(chunk, mail)

    def _end_doubts(self) -> None:
        """The grace is over and no evidence came: one more copy, if that is the policy and it is the first doubt."""
        doubts = [(mail.grace_ends, mail.id, chunk, mail) for chunk, _, mail in self.mails() if mail.state == IN_DOUBT]
        for ends, _, chunk, mail in sorted(doubts, key=lambda item: item[:2]):
            if ends > self.now:
                continue
            if chunk.policy != "resend" or mail.doubts > 1:
                self._move(chunk, mail, UNRESOLVED)
            elif self.now >= chunk.expires:
                self._fail(chunk, mail, EXPIRED, "expired")
            elif mail.attempts - mail.base >= self.most_attempts:
                self._fail(chunk, mail, EXHAUSTED, mail.reason)
            else:
                self.stats["resends"] += 1
                self._requeue(chunk, mail)

    def _expire(self) -> None:
        for chunk in self.chunks.values():
            if chunk.deadline is not None and chunk.deadline <= self.now:
                self._expire_queued(chunk)
                chunk.deadline = None if chunk.is_finished else self.now + LOOK_AGAIN

    def _drop_unsealed(self) -> bool:
        """One at a time: whether there may be more."""
        old = [batch for batch in self.batches.values() if batch.sealed is None and batch.touched_at <= self.now - DAY]
        for batch in sorted(old, key=lambda batch: (batch.touched_at, batch.id))[:1]:
            self.drop_batch(batch.id)
            self.stats["unsealed_dropped"] += 1
        return bool(old)

    def _announce_some(self) -> bool:
        """Two at a time: whether there may be more."""
        due = [(batch.announce_at, batch.id) for batch in self.batches.values() if batch.announce_at is not None]
        now_due = sorted(item for item in due if item[0] <= self.now)[:2]
        for _, id in now_due:
            self.announce_batch(id)
        return len(now_due) == 2

    def _pending_thens(self) -> list[tuple[str, str]]:
        thens = []
        for batch in self.batches.values():
            if batch.then and batch.then_at is not None and batch.then_at <= self.now - REPORT_LATE:
                batch.then_at = self.now
                thens.append((batch.id, batch.then))
        return sorted(thens)

    # What becomes of a mail.

    def _requeue(self, chunk: Chunk, mail: Mail, *, at_head: bool = False) -> None:
        """Back to the queue: a single to the end of its lane, or to its head if it had a place there already."""
        is_alone = mail.died > 0
        self._move(chunk, mail, ALONE if is_alone else QUEUED)
        if chunk.batch is None:
            waiting = (self.alone if is_alone else self.singles)[chunk.lane]
            waiting.insert(0 if at_head else len(waiting), chunk.id)

    def _fail(self, chunk: Chunk, mail: Mail, state: str, reason: str, errors: str = "") -> None:
        """Finished without being accepted. After a doubt nobody can say that it was not sent: it is unresolved."""
        if NAMES[state] != reason or mail.reason or mail.doubts:  # otherwise the state says it all
            mail.reason, mail.errors = reason, errors
        self._move(chunk, mail, UNRESOLVED if mail.doubts else state)

    def _doubt(self, chunk: Chunk, mail: Mail, reason: str, nonce: str | None) -> None:
        mail.doubts += 1
        mail.attempts += 1
        mail.reason, mail.nonce = reason, nonce
        mail.grace_ends = self.now + self.grace
        self._move(chunk, mail, IN_DOUBT)
        self.stats["doubts"] += 1

    def _expire_queued(self, chunk: Chunk) -> None:
        for mail in chunk.mails:
            if mail.state in IS_QUEUED:
                self._fail(chunk, mail, EXPIRED, "expired")

    def _move(self, chunk: Chunk, mail: Mail, to: str) -> None:
        was_finished = chunk.is_finished
        batch = self.batches[chunk.batch] if chunk.batch else None
        if batch and batch.reported_at is not None:
            # The report is a snapshot: what it says of this mail is kept beside the later truth.
            batch.changed_since = batch.changed_since or self.now
            mail.was = mail.was or (NAMES[mail.state], mail.reason, mail.errors)
        mail.state, mail.changed_at = to, self.now
        if chunk.is_finished:
            self._finish_chunk(chunk, was_finished=was_finished)

    def _finish_chunk(self, chunk: Chunk, *, was_finished: bool) -> None:
        if not chunk.has_dead:
            self.to_trim.discard(chunk.id)
        elif chunk.batch:
            self.to_trim.add(chunk.id)
        if not was_finished:
            chunk.deadline = None
            last = max(self.now, chunk.expires) + HOUR if chunk.batch else self.now
            chunk.kept_until = last + self.keep
            if chunk.batch:
                self._finish_batch(self.batches[chunk.batch])

    def _finish_batch(self, batch: Batch) -> None:
        if batch.sealed is not None and batch.is_finished and batch.final_at is None:
            batch.final_at = self.now
            batch.kept_until = max(self.now, batch.expires) + self.keep


def _rows_to_claim(chunk: Chunk, limit: int, *, is_probe: bool) -> list[int]:
    """What goes in the next window; of a merged chunk, in the next request, a probe's being as small as can be."""
    alone = [row for row, mail in enumerate(chunk.mails) if mail.state == ALONE]
    queued = [row for row, mail in enumerate(chunk.mails) if mail.state == QUEUED]
    if chunk.is_merged:
        return (alone or queued)[: 1 if is_probe else None]
    return alone[:1] or queued[:limit]
