"""`postroom demo`: sends ten mails through a whole stack on this machine, and checks what became of them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from postroom import ids
from postroom.names import State
from producers.cli import waiting
from producers.cli.failure import CommandFailed
from producers.cli.interruption import Interrupted, Interruption
from producers.cli.local.demo_mails import PEOPLE, demo_mails
from producers.cli.mails import style_of, why
from producers.cli.opening import open_postroom
from producers.cli.options import json_option
from producers.cli.output import BAD, GOOD, QUIET, Output, Part
from producers.cli.progress import display

if TYPE_CHECKING:
    from postroom.answers import MailStatus
    from producers.cli.local.stack import Stack

#: Seconds that the batch may take: many times what it does.
PATIENCE = 60.0
#: A demo must not wait as long as a real worker would.
SETTINGS = {"POSTROOM_BACKOFF_BASE": "0.2"}
#: Between two looks at the parts, seconds.
LOOK = 0.5


class Findings(NamedTuple):
    """What became of the mails, in their order, and how often the sandbox's log has each."""

    batch_id: str
    mails: list["MailStatus"]
    logged: Counter[str]

    @property
    def accepted(self) -> list[str]:
        return [mail.id for mail in self.mails if mail.state is State.ACCEPTED]

    @property
    def are_as_expected(self) -> bool:
        counts = Counter(mail.state for mail in self.mails)
        return counts == {State.ACCEPTED: 9, State.REJECTED: 1} and self.log_agrees

    @property
    def log_agrees(self) -> bool:
        """Whether the log has exactly the accepted mails, once each."""
        return self.logged == Counter(self.accepted)


@click.command(name="demo")
@click.option("--keep", is_flag=True, help="Keep it all running afterwards, until Ctrl-C: the inbox stays open.")
@json_option
@click.pass_obj
def command(out: Output, /, keep: bool) -> int:
    """Send ten mails through Redis, a worker and a local SendGrid, all started for it on this machine.

    One is refused, one is answered 503 twice before it is taken. Exits with 0 if nine were accepted and one rejected,
    and the log of the local SendGrid has exactly those nine, once each.
    """
    from producers.cli.local.stack import Stack  # noqa: PLC0415  # it loads Redis' client

    with Interruption(abrupt=False) as interruption:
        out.say(("Starting", "bold"), " Redis, a local SendGrid and a worker …")
        try:
            with Stack(interruption, settings=SETTINGS) as stack:
                findings = _send(out, stack, interruption)
                _show(out, findings)
                if keep:
                    out.say("The inbox: ", (stack.sandbox_url, "bold"), " (until Ctrl-C)")
                    _keep(stack, interruption)
        except Interrupted as interrupted:
            raise CommandFailed(
                "interrupted",
                "The demo was stopped; nothing of it is left running.",
                code=interrupted.code,
                advice="Start it again: postroom demo",
            ) from None
    if not keep:
        out.say(("All of it is stopped again. ", QUIET), "With the inbox left open: postroom demo --keep")
        out.say("To try it with mail of your own: postroom up")
    return 0 if findings.are_as_expected else 1


def _send(out: Output, stack: "Stack", interruption: Interruption) -> Findings:
    out.say(("✓ ", GOOD), f"Redis at {stack.redis_url}, SendGrid's stand-in at {stack.sandbox_url}, one worker")
    with open_postroom(stack.settings) as postroom:
        batch = postroom.enqueue_batch(demo_mails())
        out.say(("✓ ", GOOD), f"{len(PEOPLE)} mails are enqueued as batch {batch.id}")
        with display(out) as shown:
            subject = waiting.batch(postroom, batch.id, shown)
            try:
                waiting.Waiting(subject, stack.settings, shown, interruption).until_over(PATIENCE)
            except CommandFailed:
                interruption.check()
                stack.check()
                raise
        chunk = ids.chunk_id(batch.id, 0)
        mails = [postroom.status(ids.mail_id(chunk, place)) for place in range(len(PEOPLE))]
    return Findings(batch.id, mails, Counter(_logged(stack.acceptance_log)))


def _logged(log: Path) -> Iterator[str]:
    """The ids of the mails that the sandbox has accepted."""
    for line in log.read_bytes().splitlines():
        yield from msgspec.json.decode(line)["postroom_ids"]


def _show(out: Output, findings: Findings) -> None:
    out.document(
        {
            "ok": findings.are_as_expected,
            "batch_id": findings.batch_id,
            "accepted": len(findings.accepted),
            "rejected": sum(mail.state is State.REJECTED for mail in findings.mails),
            "log_agrees": findings.log_agrees,
            "mails": findings.mails,
        }
    )
    out.table(("to", "state", "attempts", "receipt, or SendGrid's words"), map(_row, PEOPLE, findings.mails))
    if findings.log_agrees:
        out.say(("✓ ", GOOD), f"The local SendGrid's log has these {len(findings.accepted)} accepted mails, once each")
    else:
        out.say(("✗ ", BAD), f"The local SendGrid's log has other mails: {dict(findings.logged)}")


def _row(person: tuple[str, str], mail: "MailStatus") -> tuple[Part, ...]:
    state: Part = (str(mail.state), style_of(mail.state))
    return person[1], state, str(mail.attempt), mail.receipt or why(mail.reason, mail.errors)


def _keep(stack: "Stack", interruption: Interruption) -> None:
    try:
        while True:
            interruption.pause(LOOK)
            stack.check()
    except Interrupted:
        return
