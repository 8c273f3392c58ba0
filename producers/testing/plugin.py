"""Plugin: what pytest loads. It points the environment at the session's Redis, guards enqueues, and has the fixtures.

For a suite that uses no fixture of it, this is all that changes: a client that reads the environment finds a port where
nobody answers, and one in this process is refused with an explanation. `-p no:postroom` leaves all as it was.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from producers.testing.bench import Bench
from producers.testing.guard import NO_FIXTURE, Guard
from producers.testing.program import NotStarted

if TYPE_CHECKING:
    from postroom.settings import Settings
    from producers.testing.outbox import Outbox
    from producers.testing.sandbox import Sandbox
    from producers.testing.servers import Servers

OWN_REDIS = "postroom_redis_url"

_bench = pytest.StashKey[Bench]()
_guard = pytest.StashKey[Guard]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(OWN_REDIS, "Postroom: a Redis for tests, in place of one that is started for them. It is emptied!")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Set the environment before any of the user's files is imported, and before other plugins' import some."""
    bench = Bench(early_config.getini(OWN_REDIS))
    early_config.stash[_bench] = bench
    early_config.stash[_guard] = Guard(bench)
    early_config.add_cleanup(early_config.stash[_guard].leave)
    early_config.add_cleanup(bench.close)
    bench.set_environment()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.config.stash[_guard].stand()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """A fixture may have been the first to import the client."""
    item.config.stash[_guard].stand()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Explain a refused connection, of a program that this process has started, say."""
    report = yield
    port = item.config.stash[_bench].redis_port.number
    said = (report.longreprtext, report.caplog, report.capstdout, report.capstderr) if report.failed else ()
    if "outbox" not in getattr(item, "fixturenames", ()) and any(f":{port}" in text for text in said):
        report.sections.append(("Postroom", NO_FIXTURE))
    return report


@contextmanager
def _explained() -> Iterator[None]:
    """Why a server is not there, without where in this package that was found."""
    try:
        yield
    except NotStarted as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def _postroom_servers(pytestconfig: pytest.Config) -> "Iterator[Servers]":
    from producers.testing.servers import Servers  # noqa: PLC0415  # pytest starts faster without Redis' client

    with _explained(), Servers(pytestconfig.stash[_bench]) as servers:
        yield servers


@pytest.fixture(scope="session")
def _postroom_sandbox(_postroom_servers: "Servers") -> "Sandbox":
    with _explained():
        return _postroom_servers.start_sandbox()


@pytest.fixture(scope="session")
def _postroom_worker(_postroom_servers: "Servers", _postroom_sandbox: "Sandbox") -> None:
    with _explained():
        _postroom_servers.start_worker()


@pytest.fixture(scope="session")
def postroom_settings(_postroom_servers: "Servers") -> "Settings":
    """Settings that lead to the session's Redis and sandbox, for a client that does not read the environment."""
    return _postroom_servers.settings


@pytest.fixture
def outbox(pytestconfig: pytest.Config, _postroom_servers: "Servers") -> "Iterator[Outbox]":
    """What this test has enqueued, as a list, with `assert_enqueued` and `assert_nothing_enqueued`. Nothing is sent."""
    from producers.testing.outbox import Outbox  # noqa: PLC0415

    guard = pytestconfig.stash[_guard]
    guard.stand()
    _postroom_servers.empty()
    guard.has_outbox = True
    try:
        yield Outbox(_postroom_servers)
    finally:
        guard.has_outbox = False


@pytest.fixture
def sandbox(_postroom_sandbox: "Sandbox") -> "Sandbox":
    """The local SendGrid: `mails` that it has accepted, and `fail(503)` and its like."""
    _postroom_sandbox.reset()
    return _postroom_sandbox


@pytest.fixture
def postroom_eager(
    pytestconfig: pytest.Config,
    outbox: "Outbox",  # noqa: ARG001  # it is emptied
    sandbox: "Sandbox",  # noqa: ARG001  # and reset
    _postroom_servers: "Servers",
    _postroom_worker: None,
) -> Iterator[None]:
    """An enqueue of this process returns when a worker has sent its mail to the sandbox, or SendGrid has refused it."""
    from producers.testing.eager import Eager  # noqa: PLC0415

    guard = pytestconfig.stash[_guard]
    _postroom_servers.release_worker()
    guard.finish = Eager(_postroom_servers).finish
    try:
        yield
    finally:
        guard.finish = None
        _postroom_servers.hold_worker()
