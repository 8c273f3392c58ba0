"""The same key enqueued at once by many: one id, one mail, one log entry; another mail under it is a `KeyConflict`.

The contenders are threads of several processes, and coroutines of one more. A barrier lets them go at the same moment.
"""

import asyncio
import multiprocessing
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from postroom.names import State
from postroom.settings import Settings
from producers import AsyncPostroom, KeyConflict, Postroom, QueueUnavailable
from tests.chaos.races.aftermath import Aftermath, quiet
from tests.chaos.races.run import Run
from tests.mails import mail
from tests.stack import running_stack

#: Processes with so many threads each, and coroutines of one process.
PROCESSES, THREADS, COROUTINES = 2, 2, 3
CONTENDERS = PROCESSES * THREADS + COROUTINES

CHUNK = 4
ENVIRONMENT = {
    "POSTROOM_THREADS": "4",
    "POSTROOM_CHUNK_MAILS": str(CHUNK),
    "POSTROOM_PRODUCER_TIMEOUT": "10",
}
#: Seconds that a contender waits for the others.
PATIENCE = 120
#: How often a call is made that is asked to come again, and seconds between.
TRIES, PAUSE = 20, 0.1
AGAIN = "to come again"


class Entry(NamedTuple):
    """What one contender enqueues: a single (`rows` is None) or a batch of so many mails to "name.row"."""

    name: str
    rows: int | None

    def bodies(self, number: int) -> Iterator[dict[str, Any]]:
        return (mail(to) for to in self.addresses(number))

    def addresses(self, number: int) -> list[str]:
        rows = 1 if self.rows is None else self.rows
        return [f"{self.name}.{number}.{row}@example.com" for row in range(rows)]


class Race(NamedTuple):
    number: int
    entries: tuple[Entry, ...]

    @property
    def key(self) -> str:
        return f"key-{self.number}"


class Answer(NamedTuple):
    """`what`: "enqueued", "conflict" (`id` is whom the key belongs to), AGAIN, or the error in words."""

    number: int
    entry: Entry
    what: str
    id: str


def plan(random: Random, number: int) -> Race:
    """All the same; or some of them another mail, a batch that is longer, or a single in place of a batch."""
    rows = random.choice((None, None, None, random.randint(0, 5 * CHUNK)))
    ours = Entry("ann", rows)
    others = [ours] if rows == 0 else [ours, Entry("bob", rows)]
    if rows is not None:
        others += [Entry("ann", rows + random.choice((1, CHUNK, 2 * CHUNK))), Entry("ann", None)]
    other = random.choice(others) if random.random() < 0.5 else ours
    return Race(number, tuple(random.choice((ours, other)) for _ in range(CONTENDERS)))


def contend(postroom: Postroom, race: Race, place: int) -> Answer:
    """Enqueue, and as `QueueUnavailable` asks for, again."""
    for _ in range(TRIES):
        answer = enqueue(postroom, race, race.entries[place])
        if answer.what != AGAIN:
            break
        time.sleep(PAUSE)
    return answer


async def contend_async(postroom: AsyncPostroom, race: Race, place: int) -> Answer:
    for _ in range(TRIES):
        answer = await enqueue_async(postroom, race, race.entries[place])
        if answer.what != AGAIN:
            break
        await asyncio.sleep(PAUSE)
    return answer


def enqueue(postroom: Postroom, race: Race, entry: Entry) -> Answer:
    try:
        if entry.rows is None:
            id = postroom.enqueue(next(entry.bodies(race.number)), key=race.key, lane="bulk")
        else:
            id = postroom.enqueue_batch(entry.bodies(race.number), key=race.key).id
    except Exception as error:  # noqa: BLE001  # whatever it is, it is judged
        return failed(race, entry, error)
    return Answer(race.number, entry, "enqueued", id)


async def enqueue_async(postroom: AsyncPostroom, race: Race, entry: Entry) -> Answer:
    try:
        if entry.rows is None:
            id = await postroom.enqueue(next(entry.bodies(race.number)), key=race.key, lane="bulk")
        else:
            id = (await postroom.enqueue_batch(entry.bodies(race.number), key=race.key)).id
    except Exception as error:  # noqa: BLE001  # whatever it is, it is judged
        return failed(race, entry, error)
    return Answer(race.number, entry, "enqueued", id)


def failed(race: Race, entry: Entry, error: Exception) -> Answer:
    if isinstance(error, KeyConflict):
        return Answer(race.number, entry, "conflict", error.id)
    if isinstance(error, QueueUnavailable):
        return Answer(race.number, entry, AGAIN, error.id)
    return Answer(race.number, entry, f"{type(error).__name__}: {error}", "")


def run_threads(settings: Settings, races: Sequence[Race], barrier: threading.Barrier, first: int) -> list[Answer]:
    """The part of a process with threads, whose places begin at `first`."""
    with Postroom(settings) as postroom, ThreadPoolExecutor(THREADS) as threads:

        def all_races(place: int) -> list[Answer]:
            answers = []
            for race in races:
                barrier.wait(PATIENCE)
                answers.append(contend(postroom, race, place))
            return answers

        return [each for part in threads.map(all_races, range(first, first + THREADS)) for each in part]


def run_coroutines(settings: Settings, races: Sequence[Race], barrier: threading.Barrier, first: int) -> list[Answer]:
    """The part of a process with an event loop, whose places begin at `first`."""

    async def all_races() -> list[Answer]:
        answers: list[Answer] = []
        async with AsyncPostroom(settings) as postroom:
            for race in races:
                await asyncio.to_thread(barrier.wait, PATIENCE)
                places = range(first, first + COROUTINES)
                answers += await asyncio.gather(*(contend_async(postroom, race, place) for place in places))
        return answers

    return asyncio.run(all_races())


def run(directory: Path, times: int, seed: int) -> Run:
    found = Run("races.same_key", times=times, seed=seed, contenders=CONTENDERS, workers=1)
    random = Random(seed)
    races = [plan(random, number) for number in range(times)]
    with running_stack(directory, **ENVIRONMENT) as stack:
        answers = all_answers(stack.settings, races)
        aftermath = quiet(stack.redis, stack.sandbox, patience=60)
        recipients = {id: each["recipients"] for each in stack.sandbox.accepted() for id in each["postroom_ids"]}
    judge(found, races, answers, aftermath, recipients)
    return found


def all_answers(settings: Settings, races: Sequence[Race]) -> list[Answer]:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(PROCESSES + 1) as pool:
        barrier = manager.Barrier(PROCESSES * THREADS + 1)
        threaded = range(0, PROCESSES * THREADS, THREADS)
        parts = [pool.apply_async(run_threads, (settings, races, barrier, first)) for first in threaded]
        parts.append(pool.apply_async(run_coroutines, (settings, races, barrier, PROCESSES * THREADS)))
        return [answer for part in parts for answer in part.get()]


def judge(
    found: Run,
    races: Sequence[Race],
    answers: Sequence[Answer],
    aftermath: Aftermath,
    recipients: dict[str, list[str]],
) -> None:
    by_race: defaultdict[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_race[answer.number].append(answer)
    owned = set()
    for race in races:
        owned |= judge_race(found, race, by_race[race.number], aftermath, recipients)
    found.expect(aftermath.unfinished == 0, "every mail is finished when all is quiet", aftermath.unfinished)
    found.expect(aftermath.states.keys() == owned, "one mail a key", aftermath.states.keys() ^ owned)
    found.expect(aftermath.sent.keys() == owned, "one log entry a mail", aftermath.sent.keys() ^ owned)


def judge_race(
    found: Run, race: Race, answers: Sequence[Answer], aftermath: Aftermath, recipients: dict[str, list[str]]
) -> set[str]:
    """The mails that the key stands for, by the answers."""
    for answer in answers:
        is_clear = answer.what in ("enqueued", "conflict")
        found.figures["calls_" + (answer.what if is_clear else "failed")] += 1
        found.expect(is_clear, "it is enqueued or a conflict", (race.number, answer))
    winners = {answer.entry for answer in answers if answer.what == "enqueued"}
    ids = {answer.id for answer in answers if answer.what in ("enqueued", "conflict")}
    if not found.expect(len(ids) == 1, "all are told the same id", answers) or not found.expect(
        len(winners) == 1, "one mail wins", answers
    ):
        return {id for each in ids for id in mails_of(each, aftermath)}
    (id,), (winner,) = ids, winners
    for answer in answers:
        told = answer.what if answer.entry != winner or answer.what == "enqueued" else "conflict with itself"
        found.expect(
            told == ("enqueued" if answer.entry == winner else "conflict"),
            "a batch is no conflict with itself" if winner.rows is not None else "a mail is no conflict with itself",
            (race.number, answer),
        )
    mails = mails_of(id, aftermath)
    found.figures["races_" + ("batch" if winner.rows is not None else "single")] += 1
    got = sorted(address for each in mails for address in recipients.get(each, ()))
    found.expect(got == sorted(winner.addresses(race.number)), "what was enqueued is sent", (race.number, winner, got))
    for each in mails:
        found.expect(aftermath.sent[each] == 1, "one log entry", (race.number, each, aftermath.sent[each]))
        found.expect(aftermath.states[each] is State.ACCEPTED, "accepted", (race.number, each))
    if winner.rows is not None:
        aftermath.check_batch(found, id)
    return set(mails)


def mails_of(id: str, aftermath: Aftermath) -> list[str]:
    if id in aftermath.snapshot.batches:
        return aftermath.batches.get(id, [])
    return [id] if id in aftermath.states else []
