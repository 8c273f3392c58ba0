"""Roster: who is measured, with how many mails, and how workers are started."""

import sys
from enum import StrEnum
from typing import NamedTuple, Self

from tests.servers import ROOT

#: The peers' own environment; Postroom runs in the harness' one.
PEERS_BIN = ROOT / ".venv" / "bench" / "bin"


class Way(StrEnum):
    """How SendGrid is reached."""

    PLAIN = "plain"
    TLS = "tls"
    #: Over TLS, and each reply takes 100 ms.
    SLOW = "slow"


class Peer(NamedTuple):
    #: The name of its module.
    name: str
    title: str
    #: How many mails take a few seconds, by the way to SendGrid; a way that is not there is not measured.
    mails: dict[Way, int]
    #: The command that starts its workers; empty if the program that enqueues also sends.
    worker: tuple[str, ...] = ()
    ours: bool = False
    #: One task, message or job for each mail: what most people write.
    one_by_one: bool = False

    @property
    def python(self) -> str:
        return sys.executable if self.ours else str(PEERS_BIN / "python")

    @property
    def command(self) -> list[str]:
        """To start the workers; a peer's programs are looked for in the peers' environment."""
        if self.ours:
            return [self.python, "-m", *self.worker]
        return [str(PEERS_BIN / self.worker[0]), *self.worker[1:]]

    def scaled(self, scale: float) -> Self:
        """The same peer with that many times the mails."""
        return self._replace(mails={way: max(50, round(count * scale)) for way, count in self.mails.items()})


def _ways(plain: int, tls: int, slow: int) -> dict[Way, int]:
    return {Way.PLAIN: plain, Way.TLS: tls, Way.SLOW: slow}


#: As README.md says: one process, with 8 threads.
_POSTROOM = ("celery", "-A", "worker", "worker", "--loglevel", "WARNING")
_CELERY = ("celery", "-A")
_CELERY_WORKER = ("worker", "--loglevel", "WARNING", "--concurrency", "2")

PEERS = [
    Peer("postroom_batch", "Postroom, a batch", _ways(40_000, 40_000, 4_000), _POSTROOM, ours=True),
    Peer("postroom_singles", "Postroom, singles", _ways(8_000, 8_000, 2_000), _POSTROOM, ours=True),
    Peer("postroom_singles_async", "Postroom, singles, asyncio", _ways(8_000, 8_000, 2_000), _POSTROOM, ours=True),
    Peer("postroom_transport", "Postroom's transport: no queue", _ways(60_000, 60_000, 4_000), ours=True),
    Peer("bare_libcurl", "bare libcurl: no queue", _ways(60_000, 60_000, 4_000)),
    Peer(
        "celery_chunked",
        "Celery, chunks by hand, aiohttp",
        _ways(12_000, 12_000, 2_000),
        (*_CELERY, "benchmarks.peers.celery_chunked", *_CELERY_WORKER),
    ),
    Peer(
        "celery_single",
        "Celery, stock client",
        _ways(2_000, 250, 120),
        (*_CELERY, "benchmarks.peers.celery_single", *_CELERY_WORKER),
        one_by_one=True,
    ),
    Peer(
        "dramatiq_single",
        "dramatiq, stock client",
        _ways(2_500, 250, 250),
        ("dramatiq", "benchmarks.peers.dramatiq_single"),
        one_by_one=True,
    ),
    Peer(
        "rq_single",
        "rq, stock client",
        _ways(250, 150, 100),
        ("rq", "worker-pool", "--num-workers", "2", "--url", "{REDIS_URL}", "default"),
        one_by_one=True,
    ),
    Peer(
        "saq_single",
        "saq, aiohttp",
        _ways(4_000, 4_000, 1_500),
        ("saq", "benchmarks.peers.saq_single.settings", "--workers", "2"),
        one_by_one=True,
    ),
    Peer(
        "taskiq_single",
        "taskiq, aiohttp",
        _ways(4_000, 4_000, 2_000),
        ("taskiq", "worker", "benchmarks.peers.taskiq_single:broker", "--workers", "2"),
        one_by_one=True,
    ),
    Peer("asyncio_executor", "asyncio's executor, stock client", _ways(3_000, 250, 250)),
]
