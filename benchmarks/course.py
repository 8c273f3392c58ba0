"""Course: the programs of one run, from empty servers on: Redis, a peer's workers, and the program that enqueues."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.accounting import cpu_seconds, tree
from benchmarks.roster import Peer, Way
from benchmarks.sink import Sink
from tests.servers import ROOT, Program, RedisServer, clean_environment, eventually, running


class Producer:
    """`benchmarks.producer` as a program: it warms up, waits for a word, and tells what it took."""

    def __init__(self, peer: Peer, warm: int, count: int, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [peer.python, "-m", "benchmarks.producer", peer.name, str(warm), str(count)],
            cwd=ROOT,
            env=clean_environment() | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def warm_up(self) -> None:
        self._line()

    def enqueue(self) -> dict[str, Any]:
        """Let it enqueue, and return `{cpu, seconds, p50, p99}`, all in seconds; the last two if it did so singly."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        taken: dict[str, Any] = json.loads(self._line())
        return taken

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the producer has ended with an error"
        return line


class Course(NamedTuple):
    sink: Sink
    redis: RedisServer
    #: None if the producer sends by itself.
    workers: Program | None
    producer: Producer

    @property
    def sender(self) -> int:
        """The process that sends, or whose descendants do."""
        return self.workers.pid if self.workers else self.producer.pid

    def cpu_seconds(self) -> dict[str, float]:
        pids = {"sender": self.sender, "redis": self.redis.pid, "sink": self.sink.pid}
        return {name: cpu_seconds(pid) for name, pid in pids.items()}

    def used_memory(self) -> int:
        with self.redis.client() as client:
            return int(client.info("memory")["used_memory"])

    def stop_workers(self) -> None:
        """Stop them in their tracks, wherever they are in their work."""
        self._signal(signal.SIGSTOP)

    def resume_workers(self) -> None:
        self._signal(signal.SIGCONT)

    def wait_until_quiet(self) -> None:
        """Until the sender has used less than 2 % of a core for half a second."""
        seen = [cpu_seconds(self.sender)]

        def quiet() -> bool:
            time.sleep(0.5)
            seen.append(cpu_seconds(self.sender))
            return seen[-1] - seen[-2] <= 0.01

        eventually(quiet, timeout=15, describe="the workers have nothing to do")

    def _signal(self, number: int) -> None:
        """To the workers and all that they have started, whatever group they are in."""
        for pid in tree(self.workers.pid) if self.workers else ():
            os.kill(pid, number)


@contextmanager
def laid_out(peer: Peer, way: Way, sink: Sink, warm: int, count: int) -> Iterator[Course]:
    """Start it all, and have `warm` mails sent."""
    with TemporaryDirectory() as place, ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(Path(place))))
        environment = _environment(redis, sink, way)
        workers = None
        if peer.worker:
            command = [word.format(**environment) for word in peer.command]
            workers = stack.enter_context(running(Program(peer.name, command, Path(place) / "log", environment)))
        sink.forget()
        producer = Producer(peer, warm, count, environment)
        stack.callback(producer.close)
        producer.warm_up()
        assert sink.wait(warm, timeout=60), f"{peer.title} did not warm up:\n{workers.log_tail() if workers else ''}"
        yield Course(sink, redis, workers, producer)


def _environment(redis: RedisServer, sink: Sink, way: Way) -> dict[str, str]:
    url = {Way.PLAIN: sink.url, Way.TLS: sink.url_tls, Way.SLOW: sink.url_slow_tls}[way]
    return sink.trust.environment() | {
        "REDIS_URL": redis.url,
        "SENDGRID_URL": url,
        "SENDGRID_API_KEY": "SG.benchmark",
        "POSTROOM_REDIS_URL": redis.url,
        "POSTROOM_SENDGRID_URL": url,
    }
