"""Fixtures: real servers for the tests, and their logs in the reports of failures."""

import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from postroom.settings import Settings
from tests.ledger_driver import Driver
from tests.servers import OPEN, ROOT, RedisServer, SandboxServer, Worker, clean_environment, running
from tests.turnstile import Turnstile

#: The same one for all processes that run tests of this tree.
TURNSTILE = Turnstile(ROOT / ".pytest_cache" / "turnstile")


def pytest_configure() -> None:
    """Run in a clean environment, and end on SIGTERM as on Ctrl-C, so that the servers are stopped.

    A shell starts what runs in the background with SIGINT ignored, which all that the tests start would inherit.
    """
    for name in set(os.environ) - set(clean_environment()):
        if not name.startswith("PYTEST_XDIST_"):
            del os.environ[name]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Have Python not go through thousands of collected tests (0.5 s) again and again while one of them runs."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test marked `alone` measures something: while it runs, the other processes of pytest-xdist run no test."""
    with TURNSTILE.alone() if item.get_closest_marker("alone") else TURNSTILE.among_others():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show in the report of a failure what the servers last said."""
    report = yield
    if report.failed:
        report.sections += [(f"end of the log of {program.name}", program.log_tail()) for program in OPEN]
    return report


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The Redis that tests share. One that is to be killed, stopped or configured: `own_redis_server`."""
    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of the shared Redis, emptied."""
    with redis_server.client() as client:
        client.flushall()
        client.script_flush()
    return redis_server.url


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for this test alone."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with running(RedisServer(directory)) as server:
        yield server


@pytest.fixture
def paced(redis_url: str) -> Iterator[Callable[..., Driver]]:
    """Drivers of the ledger on the shared Redis, with these settings: `paced(rate="200/s")`."""
    drivers: list[Driver] = []

    def make(**settings: str) -> Driver:
        drivers.append(Driver(redis_url, Settings.of(**settings)))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def sandbox_server(tmp_path: Path) -> Iterator[SandboxServer]:
    """A local SendGrid for this test alone."""
    with running(SandboxServer(tmp_path)) as server:
        yield server


@pytest.fixture
def worker_process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start workers: `worker_process("--concurrency", "2", POSTROOM_WINDOW="1")` returns one that is ready.

    The words are arguments of `celery worker`, the names are variables of its environment. It works for `redis_url` and
    sends to `sandbox_server`, unless POSTROOM_REDIS_URL and POSTROOM_SENDGRID_URL are given.
    """
    workers: list[Worker] = []

    def start(*arguments: str, **environment: str) -> Worker:
        if "POSTROOM_REDIS_URL" not in environment:
            environment["POSTROOM_REDIS_URL"] = request.getfixturevalue("redis_url")
        if "POSTROOM_SENDGRID_URL" not in environment:
            environment["POSTROOM_SENDGRID_URL"] = request.getfixturevalue("sandbox_server").url
        worker = Worker(f"worker{len(workers) + 1}", tmp_path, arguments, environment)
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.close()
