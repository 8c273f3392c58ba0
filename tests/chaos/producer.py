"""Producer: a process that enqueues a load, job after job, and notes what `enqueue` has returned.

A note is one line of JSON, `Returned`, written once the call is back. Killed at any time and started again with the
same file, it goes on with the first job that has none. SIGTERM ends it after the job that is under way.
"""

import argparse
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from celery import signature

from postroom.errors import QueueFull, QueueUnavailable
from producers import Postroom
from tests.chaos.clock import true_time
from tests.chaos.journal import Journal
from tests.chaos.load import TEMPLATE, Job, Mix, job

#: The queue of what is to be done after a report. Nobody takes anything out of it.
AFTER = "after"
#: Between two tries of a call that failed, seconds.
PAUSE = 0.1


class Returned(msgspec.Struct, frozen=True):
    """A job that `enqueue`, `enqueue_batch` or `enqueue_merge` has returned from. `mails` is 0 for a single."""

    job: int
    id: str
    mails: int
    policy: str
    expires_in: float
    send_at: float | None
    time: float
    #: Whether something is to be done after the report of the batch.
    then: bool = False
    #: Refusals before it went well.
    full: int = 0
    unavailable: int = 0


def read(path: Path) -> list[Returned]:
    if not path.exists():
        return []
    whole_lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Returned) for line in whole_lines]


class Starts:
    """When each job was first begun: what `send_at` is counted from, also by a later process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        self._times = {int(number): float(moment) for number, moment in (line.split(" ") for line in lines)}
        self._journal = Journal(path)

    def of(self, number: int) -> float:
        if number not in self._times:
            self._times[number] = true_time()
            self._journal.write(f"{number} {self._times[number]:.3f}")
        return round(self._times[number], 3)


class Producer:
    """`rate` is in mails a second."""

    def __init__(self, postroom: Postroom, path: Path, seed: str, mix: Mix, rate: float) -> None:
        self._postroom = postroom
        self._path = path
        self._seed = seed
        self._mix = mix
        self._rate = rate
        self._starts = Starts(path.with_suffix(".starts"))
        self.ending = threading.Event()

    def run(self, last: int) -> None:
        """Do the jobs that are not done, up to `last`."""
        done = {returned.job for returned in read(self._path)}
        journal = Journal(self._path)
        due = time.monotonic()
        for number in range(last):
            if number in done:
                continue
            if self.ending.is_set():
                return
            wanted = job(self._seed, number, self._mix)
            self.ending.wait(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic() - 1) + (wanted.mails or 1) / self._rate
            journal.write(msgspec.json.encode(self._do(wanted)).decode())

    def _do(self, wanted: Job) -> Returned:
        send_at = self._starts.of(wanted.number) + wanted.delay if wanted.delay else None
        full = unavailable = 0
        while True:
            try:
                id = self._enqueue(wanted, send_at)
            except QueueFull:
                full += 1
            except QueueUnavailable:
                unavailable += 1
            else:
                return Returned(
                    job=wanted.number,
                    id=id,
                    mails=wanted.mails,
                    policy=wanted.policy,
                    expires_in=wanted.expires_in,
                    send_at=send_at,
                    time=true_time(),
                    then=wanted.then,
                    full=full,
                    unavailable=unavailable,
                )
            time.sleep(PAUSE)

    def _enqueue(self, wanted: Job, send_at: float | None) -> str:
        options = {
            "key": wanted.key,
            "lane": wanted.lane,
            "on_doubt": wanted.policy,
            "expires_in": wanted.expires_in,
            "send_at": send_at,
        }
        if wanted.mails:
            then = signature("chaos.after", queue=AFTER) if wanted.then else None
            if per_request := wanted.per_request:
                recipients = wanted.recipients()
                return self._postroom.enqueue_merge(
                    TEMPLATE, recipients, per_request=per_request, then=then, **options
                ).id
            return self._postroom.enqueue_batch(wanted.bodies(), then=then, **options).id
        return self._postroom.enqueue(next(wanted.bodies()), **options)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--mix", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--jobs", type=int, required=True)
    options = parser.parse_args(arguments)
    mix = msgspec.json.decode(options.mix, type=Mix)
    with Postroom() as postroom:
        producer = Producer(postroom, options.file, options.seed, mix, options.rate)
        signal.signal(signal.SIGTERM, lambda *_: producer.ending.set())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        producer.run(options.jobs)
