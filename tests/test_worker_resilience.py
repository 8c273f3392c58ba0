"""A worker outlives its Redis: a restart, a kill, silence or closed connections cost it the time they last, no more."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from postroom.app import app
from postroom.names import Lane
from tests.servers import ROOT, Program, RedisServer, eventually, running

THREADS = 8

#: Tasks that tell of themselves in a file, so that they are seen while Redis is away.
TASKS = f"""
import os, threading, time
from celery import bootsteps, signals
from celery.exceptions import Ignore
from postroom.app import app

diary = os.open(os.path.join(os.path.dirname(__file__), "diary"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
everybody = threading.Barrier({THREADS})

def write(*words):
    os.write(diary, (" ".join(words) + "\\n").encode())

@app.task(name="work")
def work(name, seconds):
    write("start", name)
    time.sleep(seconds)
    write("end", name)
    return 1

@app.task(name="ignored")
def ignored(name, seconds):
    work(name, seconds)
    raise Ignore

@app.task(name="meet")
def meet():
    try:
        everybody.wait(timeout=10)
    except threading.BrokenBarrierError:
        write("alone")
    else:
        write("met")

class Pool(bootsteps.StartStopStep):
    requires = ("celery.worker.components:Pool",)

    def stop(self, worker):
        write("pool stops")

app.steps["worker"].add(Pool)

@signals.worker_shutdown.connect(weak=False)
def shut_down(**_):
    write("shutdown")
"""


class Crew(Program):
    """A worker with Postroom's configuration, pool and caretaker, and tasks that only take time."""

    def __init__(self, directory: Path, redis_server: RedisServer) -> None:
        (directory / "crew.py").write_text(TASKS)
        self.diary_path = directory / "diary"
        self.diary_path.touch()
        self._redis = redis_server
        command = [sys.executable, "-m", "celery", "-A", "crew", "worker", "--loglevel", "INFO"]
        environment = {
            "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}",
            "POSTROOM_REDIS_URL": redis_server.url,
            "POSTROOM_THREADS": str(THREADS),
            "SENDGRID_API_KEY": "SG.test",
        }
        super().__init__("crew", command, directory / "crew.log", environment)

    def is_ready(self) -> bool:
        return " ready." in self.log_since_start()

    def diary(self, word: str) -> list[str]:
        """Its notes that begin with a word, oldest first."""
        return [line for line in self.diary_path.read_text().splitlines() if line.startswith(word)]

    def give(self, name: str, tasks: Sequence[Sequence[Any]], lane: Lane = Lane.BULK, **options: Any) -> None:
        """Put one task into the queue for each list of arguments."""
        with app.connection_for_write(self._redis.url) as connection:
            for number, args in enumerate(tasks):
                options |= {"ignore_result": True, "group_index": number}
                app.send_task(name, args, queue=lane, connection=connection, **options)

    def give_chord_parts(self, tasks: Sequence[Sequence[Any]]) -> None:
        """Tasks whose end Celery has to write into Redis, or fail to. The chord never completes."""
        self._redis.client().set("celery-taskset-meta-chord.s", 10 * len(tasks))
        body = app.signature("work", args=["body", 0], immutable=True)
        self.give("work", tasks, group_id="chord", chord=body)

    def threads_that_meet(self) -> int:
        """How many tasks run at a time: all threads are free, and wait for each other in a task."""
        before, alone = len(self.diary("met")), len(self.diary("alone"))
        self.give("meet", [()] * THREADS)
        eventually(lambda: len(self.diary("met")) >= before + THREADS or len(self.diary("alone")) > alone, timeout=20)
        return len(self.diary("met")) - before

    def rate(self) -> float:
        """How many tasks of 0.1 s it does in a second; ten for each thread would be perfect."""
        count, ended = 5 * THREADS, len(self.diary("end"))
        self.give("ignored", [("rate", 0.1)] * count)
        start = time.monotonic()
        eventually(lambda: len(self.diary("end")) >= ended + count, timeout=30)
        return count / (time.monotonic() - start)

    def waiting(self, lane: Lane = Lane.BULK) -> int:
        """The length of a lane's queue."""
        with redis.Redis.from_url(self._redis.url) as client:
            return int(client.llen(lane))


@pytest.fixture
def crew(tmp_path: Path, own_redis_server: RedisServer) -> Iterator[Crew]:
    with running(Crew(tmp_path, own_redis_server)) as crew:
        yield crew


def all_tasks_end(crew: Crew) -> None:
    eventually(lambda: len(crew.diary("end")) == len(crew.diary("start")), describe="all running tasks end")


def work_goes_on(crew: Crew) -> None:
    started = len(crew.diary("start part"))
    eventually(lambda: len(crew.diary("start part")) > started + THREADS, timeout=5, describe="work goes on")


def ended_in_good_order(server: RedisServer, crew: Crew) -> None:
    server.stop()
    all_tasks_end(crew)
    server.start()


def killed(server: RedisServer, crew: Crew) -> None:
    server.kill()
    all_tasks_end(crew)
    server.start()


def silent(server: RedisServer, crew: Crew) -> None:
    """Until the first thread has given up what it had to tell Redis; that is 10 s."""
    server.pause()
    eventually(lambda: "could not be reported" in crew.log(), timeout=30)
    server.resume()


def closing_connections(server: RedisServer, crew: Crew) -> None:
    for _ in range(3):
        server.client().client_kill_filter(_type="normal", skipme=True)
        server.client().client_kill_filter(_type="pubsub")
        work_goes_on(crew)


@pytest.mark.parametrize("outage", [ended_in_good_order, killed, silent, closing_connections])
def test_a_worker_goes_on_by_itself_when_redis_was(
    outage: Callable[[RedisServer, Crew], None], crew: Crew, own_redis_server: RedisServer
) -> None:
    assert crew.threads_that_meet() == THREADS
    rate_before = crew.rate()
    pid = crew.pid
    crew.give_chord_parts([(f"part {number}", 0.1) for number in range(200)])
    eventually(lambda: len(crew.diary("start part")) >= 2 * THREADS)

    outage(own_redis_server, crew)

    work_goes_on(crew)
    eventually(lambda: crew.waiting() == 0, timeout=30)
    assert crew.threads_that_meet() == THREADS
    assert crew.rate() > 0.5 * rate_before
    assert crew.pid == pid
    assert crew.stop() == 0


def test_a_thread_that_is_free_again_takes_the_next_message_at_once(crew: Crew) -> None:
    assert crew.rate() > 4 * THREADS  # one look a second would make it THREADS


def test_urgent_messages_wait_for_the_next_free_threads_only(crew: Crew) -> None:
    crew.give("work", [("bulk", 0.2)] * (10 * THREADS))
    eventually(lambda: len(crew.diary("start bulk")) >= 2 * THREADS)

    crew.give("work", [("urgent", 0.2)] * THREADS, Lane.TRANSACTIONAL)
    last_before = len(crew.diary("start"))

    eventually(lambda: len(crew.diary("start urgent")) == THREADS)
    notes = crew.diary("start")
    last_urgent = max(place for place, note in enumerate(notes) if note == "start urgent")
    # Two were on their way from Redis to a thread.
    assert notes[last_before:last_urgent].count("start bulk") <= 2


def test_a_worker_that_looks_for_redis_ends_when_asked_to(crew: Crew, own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    eventually(lambda: crew.log().count("Cannot connect") >= 2)
    assert crew.stop() == 0


def test_even_a_second_interrupt_waits_for_running_tasks(crew: Crew) -> None:
    crew.give("work", [("long", 2)] * THREADS)
    eventually(lambda: len(crew.diary("start long")) == THREADS)

    crew.process.send_signal(signal.SIGINT)
    eventually(lambda: crew.diary("pool stops"))
    crew.process.send_signal(signal.SIGINT)

    crew.process.wait(timeout=20)
    assert crew.diary("")[-THREADS - 1 :] == ["end long"] * THREADS + ["shutdown"]
