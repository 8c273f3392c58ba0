"""Cancel racing with send: whoever cancels a mail gets a definite answer, and the answer is true.

Singles, batches, and single mails of batches are enqueued and cancelled from another thread up to 250 ms later, some
twice at once, while real workers send them.
"""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

from postroom import ids
from postroom.names import State
from postroom.settings import Settings
from producers import Cancellation, Postroom
from tests.chaos.races.aftermath import Aftermath, quiet
from tests.chaos.races.run import Run
from tests.mails import mail
from tests.stack import running_stack

PROCESSES, THREADS = 2, 16

#: Rows of a chunk: small, so that a batch has many.
CHUNK = 4
WORKER = {
    "POSTROOM_THREADS": "6",
    "POSTROOM_WINDOW": "2",
    "POSTROOM_BACKOFF_BASE": "0.3",
    "POSTROOM_BACKOFF_CAP": "1",
    "POSTROOM_REQUEST_DEADLINE": "10",
    "POSTROOM_GRACE": "20",
    "POSTROOM_CHUNK_MAILS": str(CHUNK),
    "POSTROOM_PRODUCER_TIMEOUT": "10",
}


class End(NamedTuple):
    """How a mail ends that nobody cancels: its state, and its log entries under resend and under hold."""

    state: State
    resend: int
    hold: int


#: By the word that its address begins with, and how often it is drawn.
ENDS: dict[str, tuple[End, int]] = {
    "ann": (End(State.ACCEPTED, 1, 1), 30),
    "latency-0.02": (End(State.ACCEPTED, 1, 1), 30),
    "latency-0.15": (End(State.ACCEPTED, 1, 1), 20),
    "500x1": (End(State.ACCEPTED, 1, 1), 8),
    "429-0.1x1": (End(State.ACCEPTED, 1, 1), 0.1),
    "reject": (End(State.REJECTED, 0, 0), 8),
    "accept-reset": (End(State.UNRESOLVED, 2, 1), 4),
}


class Race(NamedTuple):
    """`what`: "single", "batch", or "row", one mail of a batch. `places` is how many cancel it at the same moment.

    `wait` is from the enqueue, or `once_begun` from when the first mail of the batch is on its way.
    """

    number: int
    what: str
    words: tuple[str, ...]
    policy: str
    scheduled_in: float | None
    wait: float
    once_begun: bool
    places: int

    def bodies(self) -> list[dict[str, object]]:
        return [mail(f"{word}+{self.number}.{row}@sandbox.test") for row, word in enumerate(self.words)]

    def end(self, row: int) -> tuple[State, int]:
        end = ENDS[self.words[row]][0]
        return end.state, getattr(end, self.policy)


class Ran(NamedTuple):
    """What was enqueued, and what each cancel of it answered; `target` is the id that was cancelled."""

    race: Race
    id: str
    target: str
    answers: list[Cancellation]


def plan(random: Random, number: int, words: Sequence[str], weights: Sequence[float]) -> Race:
    what = random.choices(("single", "batch", "row"), (75, 15, 10))[0]
    size = 1 if what == "single" else random.randint(0 if what == "batch" else 1, 6 * CHUNK)
    scheduled_in = random.uniform(0.01, 1.5) if random.random() < 0.05 else None
    wait = random.choice((0.0, random.uniform(0, 0.01), random.uniform(0, 0.05), random.uniform(0, 0.25)))
    return Race(
        number,
        what,
        tuple(random.choices(words, weights, k=size)),
        random.choice(("resend", "hold")),
        scheduled_in,
        wait + (scheduled_in or 0) * random.random(),
        what != "single" and size > 0 and random.random() < 0.6,
        random.choice((1, 1, 1, 2)),
    )


def race(postroom: Postroom, cancellers: ThreadPoolExecutor, race: Race) -> Ran:
    send_at = None if race.scheduled_in is None else time.time() + race.scheduled_in
    if race.what == "single":
        id = target = postroom.enqueue(race.bodies()[0], on_doubt=race.policy, send_at=send_at)
    else:
        id = target = postroom.enqueue_batch(race.bodies(), on_doubt=race.policy, send_at=send_at).id
    if race.what == "row":
        target = row_id(id, race.number % len(race.words))
    if race.once_begun:
        let_begin(postroom, id)
    time.sleep(race.wait)
    cancels = [cancellers.submit(postroom.cancel, target) for _ in range(race.places)]
    answers = [cancel.result() for cancel in cancels]
    if race.what != "single":
        let_finish(postroom, id)
    return Ran(race, id, target, answers)


def let_begin(postroom: Postroom, batch: str) -> None:
    give_up = time.monotonic() + 3
    while (now := postroom.progress(batch)).queued == now.total and time.monotonic() < give_up:
        time.sleep(0.005)


def let_finish(postroom: Postroom, batch: str) -> None:
    """Wait a little for the rest of a batch, so that no backlog grows in which every cancel comes in time."""
    with suppress(TimeoutError):
        postroom.wait(batch, timeout=1)


def row_id(batch: str, row: int) -> str:
    return ids.mail_id(ids.chunk_id(batch, row - row % CHUNK), row % CHUNK)


def run_races(settings: Settings, races: Sequence[Race]) -> list[Ran]:
    """The part of one process."""
    with (
        Postroom(settings) as postroom,
        ThreadPoolExecutor(THREADS) as enqueuers,
        ThreadPoolExecutor(2 * THREADS) as cancellers,
    ):
        return list(enqueuers.map(lambda each: race(postroom, cancellers, each), races))


def run(directory: Path, times: int, seed: int, *, with_doubt: bool = True) -> Run:
    """`times` races; without `with_doubt` it is over sooner, for nobody waits for the end of a grace."""
    found = Run("races.cancel", times=times, seed=seed, window=int(WORKER["POSTROOM_WINDOW"]), workers=1)
    random = Random(seed)
    words = [word for word in ENDS if with_doubt or ENDS[word][0].state is not State.UNRESOLVED]
    weights = [ENDS[word][1] for word in words]
    races = [plan(random, number, words, weights) for number in range(times)]
    with running_stack(directory, **WORKER) as stack:
        processes = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(PROCESSES, mp_context=processes) as producers:
            parts = [producers.submit(run_races, stack.settings, races[part::PROCESSES]) for part in range(PROCESSES)]
            ran = [each for part in parts for each in part.result()]
        aftermath = quiet(stack.redis, stack.sandbox, patience=90)
    judge(found, ran, aftermath)
    return found


def judge(found: Run, ran: Sequence[Ran], aftermath: Aftermath) -> None:
    found.expect(aftermath.unfinished == 0, "every mail is finished when all is quiet", aftermath.unfinished)
    enqueued = {id for each in ran for id in mails_of(each)}
    strangers = aftermath.sent.keys() - enqueued
    found.expect(not strangers, "only what was enqueued is sent", strangers)
    for each in ran:
        for row, id in enumerate(mails_of(each)):
            judge_mail(found, each, row, id, aftermath)
        judge_answers(found, each, aftermath)
        if each.race.what != "single":
            aftermath.check_batch(found, each.id)


def mails_of(ran: Ran) -> list[str]:
    return [ran.id] if ran.race.what == "single" else [row_id(ran.id, row) for row in range(len(ran.race.words))]


def judge_mail(found: Run, ran: Ran, row: int, id: str, aftermath: Aftermath) -> None:
    """It is cancelled and was never sent; or it ended as if nobody had cancelled it."""
    state, sent = aftermath.states.get(id), aftermath.sent[id]
    found.figures[f"mails_{state}"] += 1
    expected = (State.CANCELLED, 0) if state is State.CANCELLED else ran.race.end(row)
    found.expect(
        (state, sent) == expected, "a mail is cancelled and never sent, or ends by itself", (ran, id, state, sent)
    )


def judge_answers(found: Run, ran: Ran, aftermath: Aftermath) -> None:
    """Every mail gets a definite answer; "cancelled" stays true, and "too late" means that it was not cancelled."""
    targets = [id for id in mails_of(ran) if ran.target in (id, ran.id)]
    cancelled = sum(aftermath.states.get(id) is State.CANCELLED for id in targets)
    for answer in ran.answers:
        found.figures["cancels"] += 1
        found.figures[kind(answer)] += 1
        definite = answer.cancelled + answer.too_late == len(targets)
        found.expect(definite, "each mail gets one definite answer", ran)
        found.expect(answer.cancelled <= cancelled, "what was called cancelled stays so", (ran, cancelled))
    claimed = sum(answer.cancelled for answer in ran.answers)
    found.expect(cancelled <= claimed, "what was called too late is not cancelled", (ran, cancelled))
    untouched = [id for id in mails_of(ran) if id not in targets]
    found.expect(
        all(aftermath.states.get(id) is not State.CANCELLED for id in untouched), "only the target is cancelled", ran
    )


def kind(answer: Cancellation) -> str:
    if answer.cancelled and answer.too_late:
        return "answers_partly"
    return "answers_cancelled" if answer.cancelled else "answers_too_late" if answer.too_late else "answers_empty"
