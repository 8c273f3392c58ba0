"""Zygote: a process that has imported all that workers and producers need, and forks them.

A start costs 0.05 s of CPU. The zygote is told what to start by lines of JSON on its standard input, `{"role",
"arguments", "environment", "log"}`, and answers each with `{"started": pid}`. When a child has ended it says `{"ended":
pid, "status": code}`, where a negative code is the signal. Each child is a process of its own in a session of its own.
At the end of the input, all children are killed.
"""

import gc
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.chaos import clock, diary, failpoints, poison, victim
from tests.chaos.death import die_with_parent

app = victim.app


def run_worker(arguments: Sequence[str]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    app.worker_main(["worker", *arguments])


def run_producer(arguments: Sequence[str]) -> None:
    from tests.chaos import producer

    producer.main(arguments)


OF_CHILDREN = (
    "celery.apps.worker",
    "celery.bin.worker",
    "celery.concurrency.thread",
    "kombu.transport.redis",
    "tests.chaos.producer",
    "worker.consumer",
    "worker.pool",
    "worker.startup",
)
ROLES: dict[str, Callable[[Sequence[str]], None]] = {"worker": run_worker, "producer": run_producer}


def warm_up() -> None:
    """Import now what each child would import."""
    for name in OF_CHILDREN:
        import_module(name)
    app.loader.import_default_modules()
    app.finalize()
    failpoints.weave_producer()
    gc.freeze()


class Zygote:
    """`_children` are the ones that have not ended."""

    def __init__(self) -> None:
        self._children: set[int] = set()
        self._woken, wakes = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wakes, False)
        # A child lets it through when it knows what to do about it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

    def run(self) -> None:
        say({"ready": os.getpid()})
        while True:
            readable, _, _ = select.select([0, self._woken], [], [])
            if self._woken in readable:
                os.read(self._woken, 4096)
                self._reap()
            if 0 in readable:
                line = sys.stdin.readline()
                if not line:
                    return self._kill_all()
                self._start(json.loads(line))

    def _start(self, wanted: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            become(wanted)
        self._children.add(pid)
        say({"started": pid})

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            say({"ended": pid, "status": os.waitstatus_to_exitcode(status)})

    def _kill_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)


def say(message: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def become(wanted: dict[str, Any]) -> None:
    """Be the child, to its end."""
    status = 1
    try:
        die_with_parent()
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _redirect(Path(wanted["log"]))
        os.environ.update(wanted["environment"])
        clock.move(os.environ)
        failpoints.arm(os.environ)
        diary.keep(os.environ)
        poison.take(os.environ)
        ROLES[wanted["role"]](wanted["arguments"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # whatever it is, the child must not become a second zygote
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number, source in ((0, null), (1, file), (2, file)):
        os.dup2(source, number)


if __name__ == "__main__":
    die_with_parent()
    warm_up()
    Zygote().run()
