"""Promise: what must hold in every state, a sentence and a check each."""

from collections import Counter
from collections.abc import Callable

from tests.protocol.ledger import ACCEPTED, CANCELLED, EXHAUSTED, EXPIRED, NAMES, PLACE, REJECTED, UNRESOLVED
from tests.protocol.world import POSTED, World

NOT_SENT = {REJECTED, EXHAUSTED, EXPIRED, CANCELLED}


def truth(world: World) -> bool:
    return all(copies or mail.state != ACCEPTED for mail, copies in zip(world.ledger.mails, world.copies, strict=True))


def failures(world: World) -> bool:
    mails = zip(world.ledger.mails, world.copies, strict=True)
    return not any(copies and mail.state in NOT_SENT for mail, copies in mails)


def hold(world: World) -> bool:
    return world.scene.policy != "hold" or max(world.copies) <= 1


def resend(world: World) -> bool:
    return max(world.copies) <= 2


def cause(world: World) -> bool:
    mails = zip(world.ledger.mails, world.copies, strict=True)
    return all(mail.doubts > 0 for mail, copies in mails if copies > 1)


def proof(world: World) -> bool:
    return all(mail.state == ACCEPTED for mail, told in zip(world.ledger.mails, world.told, strict=True) if told)


def one_request(world: World) -> bool:
    return all(known.count(POSTED) <= 1 for known in zip(*(worker.mails for worker in world.workers), strict=True))


def one_window(world: World) -> bool:
    return all(count == 1 for count in Counter(row for each in world.ledger.windows for row in each.rows).values())


def counts(world: World) -> bool:
    recount = [0] * len(NAMES)
    for mail in world.ledger.mails:
        recount[PLACE[mail.state]] += 1
    return world.ledger.counts == recount


def extra_copies(world: World) -> bool:
    return world.ledger.extra_copies == sum(max(0, told.bit_count() - 1) for told in world.told)


def report(world: World) -> bool:
    ledger = world.ledger
    is_old = ledger.report is not None and ledger.report != tuple(ledger.counts[3:])
    return ledger.reports <= 1 and (ledger.changed_since or not is_old)


def innocence(world: World) -> bool:
    if world.scene.poison is None:
        return True
    return all(mail.state != UNRESOLVED for row, mail in enumerate(world.ledger.mails) if row != world.scene.poison)


#: In the order in which they are looked at.
CHECKS: dict[str, Callable[[World], bool]] = {
    check.__name__: check
    for check in (
        *(truth, failures, hold, resend, cause, proof, one_request, one_window),
        *(counts, extra_copies, report, innocence),
    )
}
#: "loss" is looked for when all states are known; a step itself breaks "handed_out", "justice", "heard" or "report".
SENTENCES = {
    "loss": "every mail can still be finished by the fleet alone, and every batch reported",
    "truth": "what the ledger calls accepted, SendGrid has accepted",
    "failures": "SendGrid has accepted nothing that the ledger calls rejected, exhausted, expired or cancelled",
    "hold": "under hold SendGrid accepts a mail at most once",
    "resend": "under resend SendGrid accepts a mail at most twice",
    "cause": "it accepts it twice only if the first was in doubt",
    "proof": "a mail of whose acceptance the ledger was told is accepted",
    "one_request": "a mail has at most one request under way",
    "one_window": "a mail is in at most one open window, once",
    "counts": "the counts of a batch equal a recount",
    "extra_copies": "each extra copy that the ledger was told of is counted, once",
    "report": "a batch has one report, of finished mails, and `changed_since` tells when it is not the truth any more",
    "innocence": "a mail does not end unresolved because others have killed their workers",
    "handed_out": "a claim hands out only mails that are being sent",
    "justice": "nobody is judged dead because Redis was away",
    "heard": "what a window says of the doubt that it has left itself is heard",
    "in_time": "nothing is claimed after its deadline",
}
