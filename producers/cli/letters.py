"""Letters as text: how dead letters, and mails in doubt, are shown."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from postroom import ids
from postroom.errors import UnknownId
from postroom.names import State
from producers.cli.failure import CommandFailed
from producers.cli.mails import at, show_mail, style_of, why
from producers.cli.output import GOOD, QUIET, WARNING, Output, Part

if TYPE_CHECKING:
    from postroom.answers import DeadLetter, Doubt, MailStatus

#: What can be done about a mail, by its state.
NEXT = {
    State.IN_DOUBT: "postroom doubt resolve {id} --accepted, or --not-accepted, if you know.",
    State.UNRESOLVED: "postroom doubt resolve {id} --accepted, or --not-accepted; or send it all the same: "
    "postroom dead retry {id} --may-repeat",
    State.REJECTED: "When the cause is mended: postroom dead retry {id}",
    State.EXHAUSTED: "postroom dead retry {id}",
    State.EXPIRED: "If it is still of use: postroom dead retry {id}",
}


def mail_id(id: str) -> str:
    """The id, if it can be a mail's: a chunk's looks alike. Raises `UnknownId`."""
    if not ids.is_id(id) or id.count(".") == 1:
        raise UnknownId(id)
    return id


def no_mail(id: str) -> CommandFailed:
    """What is said of an id that is no mail's."""
    return CommandFailed(
        "unknown_id",
        f"No mail has the id {id!r}; finished ones are kept for 7 days.",
        advice="If it is a batch's id: postroom dead list --batch ID lists its dead letters.",
        id=id,
    )


def show_letters(out: Output, letters: "Sequence[DeadLetter]", *, truncated: bool) -> None:
    """A list of dead letters."""
    out.document({"dead": letters, "truncated": truncated})
    if not letters:
        out.say(("No dead letters.", GOOD))
        return
    out.table(("id", "state", "since", "attempts", "content", "why"), map(_row, letters))
    if truncated:
        out.say((f"These are the first {len(letters)}; --limit lists more.", WARNING))


def _row(letter: "DeadLetter") -> tuple[Part, ...]:
    return (
        letter.id,
        (str(letter.state), style_of(letter.state)),
        at(letter.updated_at),
        str(letter.attempt),
        "kept" if letter.has_content else ("gone", QUIET),
        why(letter.reason, letter.errors),
    )


def show_letter(out: Output, status: "MailStatus", content: bytes | None, *, asked: bool) -> None:
    """A mail, and if it is `asked` for, its content."""
    if out.as_json:
        document = msgspec.to_builtins(status)
        out.document({**document, "content": content and json.loads(content)} if asked else document)
        return
    show_mail(out, status)
    for error in status.errors:
        out.say("  error    ", _one_error(error))
    if asked:
        _show_content(out, content)
    if advice := NEXT.get(status.state):
        out.say(("  → ", QUIET), advice.format(id=status.id))


def _one_error(error: dict[str, Any]) -> str:
    """What SendGrid says of one fault, with all that it tells."""
    return ", ".join(f"{name}: {value}" for name, value in error.items() if value)


def _show_content(out: Output, content: bytes | None) -> None:
    if content is None:
        out.say(("The content is gone: purged, or older than POSTROOM_KEEP_FAILED_DAYS.", WARNING))
        return
    for line in json.dumps(json.loads(content), indent=2, ensure_ascii=False).splitlines():
        out.say(line)


def show_doubts(out: Output, doubts: "Sequence[Doubt]", unresolved: int, *, truncated: bool) -> None:
    """The mails in doubt, and how many are left unresolved."""
    out.document({"doubts": doubts, "truncated": truncated, "unresolved": unresolved})
    if doubts:
        out.table(("id", "since", "why", "grace ends", "then"), map(_doubt_row, doubts))
    else:
        out.say(("No mail is in doubt.", GOOD))
    if truncated:
        out.say((f"These are the first {len(doubts)}; --limit lists more.", WARNING))
    if unresolved:
        out.say((f"{unresolved:,} unresolved: ", WARNING), "postroom dead list --state unresolved")


def _doubt_row(doubt: "Doubt") -> tuple[Part, ...]:
    then = "sent once more" if doubt.then == "resend" else "unresolved"
    return doubt.id, at(doubt.updated_at), doubt.reason or "", at(doubt.ends_at), then
