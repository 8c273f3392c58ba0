"""Mail and batches as text: how their states and counts are shown."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from postroom.errors import Fault
from postroom.names import FINISHED, State
from producers.cli.failure import in_words
from producers.cli.output import BAD, GOOD, QUIET, WARNING, Output, Part

if TYPE_CHECKING:
    from postroom.answers import Failure, MailStatus
    from postroom.delivery import Deliveries
    from producers.results import Progress

#: The most failures that are listed as text; `postroom report ID --json` has 1,000.
MOST_LISTED = 20

#: Finished without being accepted, and nobody wanted it so.
DEAD = (State.REJECTED, State.EXHAUSTED, State.EXPIRED, State.UNRESOLVED)
UNDER_WAY = (State.QUEUED, State.SENDING, State.IN_DOUBT)


def style_of(state: str) -> str:
    if state == State.ACCEPTED:
        return GOOD
    if state in UNDER_WAY:
        return WARNING if state == State.IN_DOUBT else QUIET
    return BAD


def why(reason: str | None, errors: Iterable[dict[str, Any]]) -> str:
    """SendGrid's own words where there are some, else the reason."""
    words = "; ".join(str(error.get("message")) for error in errors if error.get("message"))
    if words and reason:
        return f"{words} ({reason})"
    return words or reason or ""


def show_mail(out: Output, status: "MailStatus") -> None:
    """Where one mail stands."""
    out.document(status)
    out.say(status.id, "  ", (str(status.state), style_of(status.state)))
    if explanation := why(status.reason, status.errors):
        out.say("  why      ", explanation)
    if status.receipt:
        out.say("  receipt  ", status.receipt)
    if status.attempt:
        out.say("  attempt  ", str(status.attempt))
    if status.doubts:
        out.say("  doubts   ", str(status.doubts))
    out.say("  since    ", at(status.updated_at))
    for end in status.past:
        was: Part = (str(end.state), style_of(end.state))
        out.say("  before   ", was, f" ({end.reason})" if end.reason else "", f", until {at(end.at / 1000)}")
    for each in status.deliveries:
        out.say("  to       ", f"{each.recipient}  {each.state}", f" ({each.reason})" if each.reason else "")


def show_progress(out: Output, progress: "Progress") -> None:
    """How far a batch is."""
    out.document(progress)
    done = f"final since {at(progress.final_at)}" if progress.final_at else "under way"
    out.say(progress.batch_id, f"  {progress.finished} of {progress.total} mails finished, {done}")
    for state in State:
        show_count(out, state, getattr(progress, state))
    show_deliveries(out, progress.deliveries)


def show_deliveries(out: Output, deliveries: "Deliveries") -> None:
    """What SendGrid's events have told, if they have told anything."""
    counts = {name: getattr(deliveries, name) for name in deliveries.__struct_fields__}
    if any(counts.values()):
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        out.say("Recipients, by SendGrid's events: ", told)


def show_count(out: Output, state: str, count: int) -> None:
    out.say(f"{count:>10}  ", (state, style_of(state) if count else QUIET))


def show_counts(out: Output, batch_id: str, total: int, counts: dict[str, int]) -> None:
    """What a batch has come to."""
    out.say("Batch ", (batch_id, "bold"), f" of {total} mails")
    for state in FINISHED:
        show_count(out, state, counts[state])
    if left := total - sum(counts.values()):
        out.say(f"{left:>10}  ", ("still under way", WARNING))


def show_advice(out: Output, progress: "Progress") -> None:
    """What its counts do not tell of a batch, and what can be done about it."""
    if not progress.sealed:
        out.say(("It is not complete", WARNING), ": its producer still stores it, or has died. Nothing of it is sent.")
    if progress.resends or progress.extra_copies:
        out.say(
            f"{progress.resends} were sent once more after a doubt; {progress.extra_copies} extra copies have shown."
        )
    if progress.in_doubt:
        out.say(("  → ", QUIET), "Mails in doubt: postroom doubt list")
    if any(getattr(progress, state) for state in DEAD):
        out.say(("  → ", QUIET), f"When the cause is mended: postroom dead retry --all --batch {progress.batch_id}")


def show_failures(out: Output, failures: Iterable[tuple["Failure", str]], batch_id: str) -> None:
    """The first failures, each with its place: its row, or the line of a file."""
    listed: list[tuple[Part, ...]] = []
    more = False
    for failure, place in failures:
        if len(listed) == MOST_LISTED:
            more = True
            break
        state: Part = (str(failure.state), style_of(failure.state))
        listed.append((place, failure.id, state, why(failure.reason, failure.errors)))
    if listed:
        out.table(("where", "id", "state", "why"), listed)
    if more:
        out.say(f"These are the first {MOST_LISTED}; `postroom report {batch_id} --json` lists up to 1,000.")


def by_row(failures: Iterable["Failure"]) -> Iterator[tuple["Failure", str]]:
    """Failures with their place as the ledger knows it."""
    for failure in failures:
        yield failure, f"row {failure.row}"


def at(seconds: float | None) -> str:
    """A time of the Unix clock, in the local time zone."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def faults_as_text(line: int, row: int, faults: Iterable[Fault]) -> str:
    return f"line {line}, row {row}: {in_words(tuple(faults)) or 'ok'}"
