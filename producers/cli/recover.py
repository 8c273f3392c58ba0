"""`postroom recover`: to be run when Redis was restored from a copy, or has lost what it had acknowledged."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from postroom.errors import QueueUnavailable
from postroom.settings import Settings
from producers.cli.consent import ask, yes_option
from producers.cli.counting import counting
from producers.cli.failure import CommandFailed
from producers.cli.fleet import Fleet
from producers.cli.interruption import Interrupted, Interruption
from producers.cli.operating import open_operator
from producers.cli.options import json_option
from producers.cli.output import GOOD, WARNING, Output
from producers.cli.standstill import why_stopped

if TYPE_CHECKING:
    from postroom.answers import Recovered

PLAN = """\
All mails that are not finished, and whose time has come, are put in doubt, for they may have been sent since the copy
was made. When the grace (POSTROOM_GRACE) is over, those with the policy `resend` are sent once more; those with `hold`
end unresolved. While this goes on, nothing is sent; after it, sending goes on."""

#: Until it has come to its end.
UNFINISHED = "The fleet stays stopped until `postroom recover` has come to its end; run it again."


class Total(msgspec.Struct):
    """What a recovery has seen and done: chunks, mails put in doubt, chunks of unsealed batches."""

    chunks: int = 0
    mails: int = 0
    unsealed_chunks: int = 0

    def add(self, page: "Recovered") -> None:
        self.chunks += page.chunks
        self.mails += page.mails
        self.unsealed_chunks += page.unsealed


@click.command(name="recover")
@yes_option
@json_option
@click.pass_obj
def command(out: Output, /, *, yes: bool) -> int:
    """Put all that is not finished in doubt, after Redis was restored, emptied, or failed over with a loss.

    A worker that notices such a loss stops the whole fleet, and says so. Before a fleet is started on a restored copy,
    run it too: new workers can't notice. It may be run again; only when it has come to its end does sending go on.
    """
    settings = Settings.from_environment()
    _tell(out, settings)
    ask("Go on?", yes=yes)
    total = Total()
    with open_operator(settings) as operator:
        _recover(out, operator.recover(), total)
    _show(out, total)
    return 0


def _tell(out: Output, settings: Settings) -> None:
    """What is so, and what will be done."""
    with Fleet(settings) as fleet:
        why = why_stopped(fleet.ask(fleet.ledger.stopped()))
        alive = len(fleet.alive())
    if not out.as_json:
        out.note(f"The fleet is {why or 'not stopped: no worker has noticed a loss'}. {alive} workers are alive.")
        out.note(PLAN)


def _recover(out: Output, pages: "Iterator[Recovered]", total: Total) -> None:
    """Raises `CommandFailed` when it is interrupted, or Redis goes away."""
    with Interruption(abrupt=False) as interruption, counting(out) as tell:
        try:
            for page in pages:
                total.add(page)
                tell(total.chunks, f"{total.chunks:,} chunks seen, {total.mails:,} mails put in doubt")
                if page.cursor != "0":
                    interruption.check()
        except Interrupted as interrupted:
            raise _unfinished("interrupted", "Stopped.", total, interrupted.code) from None
        except QueueUnavailable as error:
            raise _unfinished("queue_unavailable", f"Redis is not reachable ({error.detail}).", total) from None


def _unfinished(word: str, message: str, total: Total, code: int = 1) -> CommandFailed:
    return CommandFailed(word, message, code=code, advice=UNFINISHED, **msgspec.to_builtins(total))


def _show(out: Output, total: Total) -> None:
    out.document(total)
    out.say((f"{total.mails:,} mails were put in doubt", WARNING if total.mails else GOOD), "; sending goes on.")
    if total.mails:
        out.say("  → See them: postroom doubt list. Those of which you know: postroom doubt resolve ID --accepted")
    if total.unsealed_chunks:
        out.say(
            (f"{total.unsealed_chunks:,} chunks are of batches that are not complete", WARNING),
            "; they are left as they are, and nothing of them is sent.",
        )
        out.say("  → If the producer calls again with the same key, the batch goes on; else it is dropped after a day.")
