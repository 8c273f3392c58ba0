"""Agreement: whether what the ledger has stored is what its model says, in every key and index."""

from collections import Counter
from typing import Any

from postroom.answers import STATES
from postroom.names import FINISHED as FINISHED_STATES
from postroom.names import State
from tests.ledger_model import ACCEPTED, ALONE, IN_DOUBT, SENDING, WAITING, Model
from tests.ledger_snapshot import Snapshot

LANES = ("transactional", "bulk")


def agree(snapshot: Snapshot, model: Model) -> None:
    """Fails at the first thing that they do not agree on."""
    mails(snapshot, model)
    batches(snapshot, model)
    windows(snapshot, model)
    work_left(snapshot, model)
    wake_ups_left(snapshot, model)
    records_end(snapshot, model)
    content_ends(snapshot, model)
    assert snapshot.accounts.get("default", {}) == _account(model)
    assert snapshot.scores("owners") == model.owners
    assert snapshot.stats == +model.stats


def mails(snapshot: Snapshot, model: Model) -> None:
    """Every mail is in exactly one state, and its record tells how it came there."""
    assert {id: chunk.states for id, chunk in snapshot.chunks.items()} == {
        id: chunk.states for id, chunk in model.chunks.items()
    }
    for chunk, row, mail in model.mails():
        stored = snapshot.mail(chunk.id, row)
        assert (stored.attempts, stored.receipt) == (mail.attempts, mail.receipt), mail
        assert stored.changed_at == (mail.changed_at and mail.changed_at // 1000), mail
        assert _told(stored.note) == (mail.doubts, mail.died, mail.reason, mail.was), mail


def batches(snapshot: Snapshot, model: Model) -> None:
    """The counts of each batch are a recount of its mails."""
    assert snapshot.batches.keys() == model.batches.keys()
    for batch in model.batches.values():
        record = snapshot.batches[batch.id]
        counts = {str(state): int(record[state]) for state in State if int(record.get(state, 0))}
        letters = "".join(snapshot.chunks[chunk.id].states for chunk in batch.chunks)
        assert counts == (Counter(str(STATES[letter]) for letter in letters) if batch.sealed else {})
        assert int(record["total"]) == batch.total
        assert int(record.get("final_at", 0)) == (batch.final_at or 0)
        assert int(record.get("reported_at", 0)) == (batch.reported_at or 0)
        assert int(record.get("changed_since", 0)) == (batch.changed_since or 0)
        is_over = sum(counts.get(state, 0) for state in FINISHED_STATES) == batch.total
        assert not (batch.sealed and is_over) or batch.final_at is not None


def windows(snapshot: Snapshot, model: Model) -> None:
    """No mail is claimed twice at once, and whatever is sending is in somebody's window."""
    assert snapshot.windows == {
        nonce: (window.groups, window.is_probe, window.until) for nonce, window in model.windows.items()
    }
    assert snapshot.scores("overdue") == {nonce: window.until for nonce, window in model.windows.items()}
    holders = Counter(
        (id, row) for window in model.windows.values() for id, rows in window.groups.items() for row in rows
    )
    for chunk, row, mail in model.mails():
        assert holders[chunk.id, row] <= 1, f"{mail.id} is claimed twice at once"
        assert mail.state != SENDING or holders[chunk.id, row], f"{mail.id} is sending, and nobody sends it"
        assert not holders[chunk.id, row] or mail.state in (SENDING, ACCEPTED), f"{mail.id} is claimed and {mail.state}"
    for id, stored in snapshot.chunks.items():
        assert stored.live == sum(id in window.groups for window in model.windows.values())


def work_left(snapshot: Snapshot, model: Model) -> None:
    """Whatever is left to do stands in the index that leads there."""
    due, deadlines = snapshot.scores("due"), snapshot.scores("deadlines")
    for chunk, _, mail in model.mails():
        assert mail.state != WAITING or due[mail.id] == mail.due
        assert chunk.is_finished or deadlines.get(chunk.id) == chunk.deadline
    doubts = {mail.id: mail.grace_ends for _, _, mail in model.mails() if mail.state == IN_DOUBT}
    assert snapshot.scores("doubts") == doubts
    for lane in LANES:
        assert snapshot.items(f"lane:{lane}:singles") == model.singles[lane]
        assert snapshot.items(f"lane:{lane}:alone") == model.alone[lane]
    for chunk in model.chunks.values():
        if chunk.batch is None and chunk.is_claimable:
            assert chunk.id in (model.alone if chunk.states == ALONE else model.singles)[chunk.lane]
    all_batches = model.batches.values()
    assert snapshot.scores("unsealed") == {batch.id: batch.touched_at for batch in all_batches if not batch.sealed}
    assert snapshot.scores("announce") == {batch.id: batch.announce_at for batch in all_batches if batch.announce_at}
    dead = {chunk.id for chunk in model.chunks.values() if chunk.has_dead}
    assert dead <= snapshot.scores("dead").keys(), "a dead letter can't be found"
    unreported = {batch.id: batch.final_at for batch in all_batches if batch.final_at and not batch.reported_at}
    assert snapshot.scores("unreported") == unreported
    assert snapshot.scores("then") == {batch.id: batch.then_at for batch in all_batches if batch.then_at is not None}


def wake_ups_left(snapshot: Snapshot, model: Model) -> None:
    """A chunk that waits for a wake-up is announced again if that is lost, and none is announced before its time."""
    announced = snapshot.scores("announced:bulk") | snapshot.scores("announced:transactional")
    for chunk in model.chunks.values():
        if chunk.batch is not None:
            batch = model.batches[chunk.batch]
            assert chunk.id in announced or not (batch.is_announced and chunk.is_claimable), f"{chunk.id} is forgotten"
            assert chunk.id not in announced or (batch.sealed and batch.send_at <= model.now), f"{chunk.id} comes early"


def records_end(snapshot: Snapshot, model: Model) -> None:
    """What is not finished stays for ever; what is finished goes some day, with its key."""
    for chunk in model.chunks.values():
        assert snapshot.ends(f"chunk:{chunk.id}") == chunk.kept_until
        for kind in ("records", "notes"):
            assert snapshot.ends(f"{kind}:{chunk.id}") in (chunk.kept_until, "gone")
    for batch in model.batches.values():
        assert snapshot.ends(f"batch:{batch.id}") == batch.kept_until
        assert snapshot.ends(f"batch:{batch.id}:chunks") == (batch.kept_until if batch.chunks else "gone")
    for key, (id, _) in model.keys.items():
        owner = model.batches.get(id) or model.chunks[id]
        assert snapshot.ends(f"key:{key}") == owner.kept_until
    assert snapshot.names("key") == model.keys.keys()
    for kind in ("chunk", "payload", "records", "notes"):
        assert snapshot.names(kind) <= model.chunks.keys()


def content_ends(snapshot: Snapshot, model: Model) -> None:
    """Content is there until its mail is finished; then it goes, at once if nobody will send it again."""
    for chunk in model.chunks.values():
        ends = snapshot.ends(f"payload:{chunk.id}")
        if not chunk.is_finished:
            assert ends is None
        elif not chunk.has_dead:
            assert ends == "gone"
        else:
            assert ends not in (None, "gone")


def _told(note: dict[str, Any]) -> tuple[int, int, str, tuple[str, str, str] | None]:
    was = note.get("was")
    before = was and (was["state"], was.get("reason") or "", was.get("errors") or "")
    return note.get("doubts", 0), note.get("died", 0), note.get("reason") or "", before


def _account(model: Model) -> dict[str, str]:
    account = model.account("default")
    known = {
        "kind": account.kind,
        "reason": account.kind and account.reason,
        "until": account.until or None,
        "interval": account.interval or None,
        "probe": account.probe,
        "probe_until": account.probe and account.probe_until,
        "failures": account.failures or None,
    }
    return {name: str(value) for name, value in known.items() if value is not None}
