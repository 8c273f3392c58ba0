"""Steps: what may happen next in a world."""

from collections.abc import Iterator
from typing import NamedTuple

from tests.protocol.ledger import IN_DOUBT, IS_QUEUED, WAITING
from tests.protocol.world import BEGUN, CLAIMING, HELD, HOLDING, IDLE, KNOWN, POSTED, Worker, World

#: SendGrid accepts no more copies of a mail than these: enough to break any promise, and an end to the states.
MOST_COPIES = 3


class Step(NamedTuple):
    """`does` is a method of `World`. `own`: the fleet does it by itself, or SendGrid, when all is well."""

    does: str
    args: tuple[int | str, ...]
    own: bool


def own(does: str, *args: int | str) -> Step:
    return Step(does, args, own=True)


def chance(does: str, *args: int | str) -> Step:
    return Step(does, args, own=False)


def fault(world: World, name: str, does: str, *args: int | str) -> Iterator[Step]:
    if name in world.faults:
        yield chance(does, *args)


def steps(world: World) -> Iterator[Step]:
    for number, worker in enumerate(world.workers):
        if worker.phase == HOLDING:
            yield from of_window(world, number, worker)
        elif worker.phase in (BEGUN, CLAIMING):
            yield from of_claim(world, number)
            if world.scene.wake_ups and not world.ledger.read_window(number):
                yield chance("give_back", number)
        elif world.workers.index(worker) == number:  # one idle worker is like another
            yield from of_idle(world, number)
        if worker.phase != IDLE:
            yield from of_task(world, number)
    yield from of_sweep(world)
    yield from of_time(world)
    yield from of_messages(world)


def of_idle(world: World, number: int) -> Iterator[Step]:
    if not world.scene.wake_ups:
        if world.ledger.has_claimable():
            yield from of_claim(world, number)
    elif world.ledger.wake_ups:
        yield own("begin", number)


def of_claim(world: World, number: int) -> Iterator[Step]:
    yield own("claim", number)
    yield from fault(world, "no_reply", "claim_without_reply", number)
    yield from fault(world, "kill", "kill", number, "claim")
    if world.delayed is None:
        yield from fault(world, "delay", "claim_delayed", number)


def of_window(world: World, number: int, worker: Worker) -> Iterator[Step]:
    for row, known in enumerate(worker.mails):
        if known == HELD:
            yield from of_held(world, number, row)
        elif known == POSTED and world.copies[row] < MOST_COPIES:
            yield own("answer", number, row, "accepted")
            yield from (chance("answer", number, row, each) for each in world.scene.answers if each != "accepted")
    if any(known in KNOWN for known in worker.mails):
        yield own("settle", number)
        yield from fault(world, "no_reply", "settle_without_reply", number)
        yield from fault(world, "kill", "kill", number, "settle")
        if world.delayed is None:
            yield from fault(world, "delay", "settle_delayed", number)


def of_held(world: World, number: int, row: int) -> Iterator[Step]:
    too_late = world.workers[number].late and world.rules.start_by
    if not too_late:
        yield own("post", number, row)
    yield Step("not_started", (number, row), own=too_late)


def of_task(world: World, number: int) -> Iterator[Step]:
    """What may happen to a worker in a task."""
    yield from fault(world, "kill", "kill", number, "")
    yield from fault(world, "abandon", "abandon", number)
    if world.ledger.read_window(number):
        yield from fault(world, "pause", "judge_paused", number, "worker_died")
        yield from fault(world, "pause", "judge_paused", number, "overdue")
        if world.gap and not world.rules.no_judging_after_gap:
            yield chance("judge_unheard", number)


def of_sweep(world: World) -> Iterator[Step]:
    ledger, rules = world.ledger, world.rules
    for place, window in enumerate(ledger.windows):
        is_forsaken = not 0 <= window.nonce < world.earlier
        if is_forsaken and (rules.overdue_is_judged or (window.is_dead and rules.dead_is_judged)):
            yield own("judge_forsaken", place)
    for row, mail in enumerate(ledger.mails):
        if mail.state == WAITING:
            yield own("queue_due", row)
        elif mail.state == IN_DOUBT:
            yield own("end_doubts", row)
    if ledger.expired and any(mail.state in IS_QUEUED for mail in ledger.mails):
        yield own("expire")
    if world.scene.wake_ups and rules.wake_again and ledger.is_lost():
        yield own("wake_again")
    if world.scene.batch and ledger.can_record_report():
        yield own("record_report")


def of_time(world: World) -> Iterator[Step]:
    if world.scene.expires and not world.ledger.expired:
        yield chance("deadline_over")
    if world.gap:
        yield own("all_heard")
    yield from fault(world, "away", "redis_away")
    yield from fault(world, "forget", "forget")


def of_messages(world: World) -> Iterator[Step]:
    if world.delayed is not None:
        yield chance("delayed_arrives")
    if world.ledger.wake_ups:
        yield chance("lose_wake_up")
        yield from fault(world, "double", "double_wake_up")
    for row, copies in enumerate(world.copies):
        if world.scene.evidence:
            yield from (chance("evidence", row, copy) for copy in range(1, copies + 1))
        if world.ledger.can_cancel(row):
            yield from fault(world, "cancel", "cancel", row)
