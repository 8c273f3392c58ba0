"""The chaos suite's short form: every named point is hit, each kind of fault happens a few times, all is well."""

import signal
from pathlib import Path

import pytest

from tests.chaos import failpoints
from tests.chaos.failpoints import PRODUCER_POINTS, WORKER_POINTS
from tests.chaos.run import Run
from tests.chaos.scenarios import SCENARIOS
from tests.servers import SandboxServer, Worker, running

SEED = "short"


def play(scenario: str, times: int, directory: Path) -> Run:
    run = Run(scenario, SEED, times, minutes=2, directory=directory)
    SCENARIOS[scenario].play(run)
    return run


def test_a_worker_started_by_celery_dies_at_its_fail_point(
    tmp_path: Path, redis_url: str, sandbox_server: SandboxServer
) -> None:
    environment = {"POSTROOM_REDIS_URL": redis_url, "POSTROOM_SENDGRID_URL": sandbox_server.url}
    traps = {failpoints.KILL: "after_sweep:2", failpoints.HITS: str(tmp_path / "hits")}
    victim = Worker("victim", tmp_path, [], environment | traps)
    victim.command[victim.command.index("-A") + 1] = "tests.chaos.victim"
    with running(victim):
        victim.process.wait(timeout=20)
        assert victim.process.returncode == -signal.SIGKILL
        assert (tmp_path / "hits").read_text().split()[1:] == ["after_sweep", str(victim.pid)]


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_repeated_when_processes_die_at_any_named_point(tmp_path: Path) -> None:
    run = play("points", 1, tmp_path)
    assert run.figures.violations == []
    assert set(run.figures.hits) >= {*WORKER_POINTS, *PRODUCER_POINTS}


@pytest.mark.parametrize(
    ("scenario", "times", "event"),
    [
        ("redis_kills", 4, "redis kills"),
        ("power_loss", 4, "power losses that lost something"),
        ("tcp_cuts", 100, "cuts"),
        ("wake_ups", 150, "tampered"),
    ],
)
def test_nothing_is_lost_or_repeated_under(scenario: str, times: int, event: str, tmp_path: Path) -> None:
    run = play(scenario, times, tmp_path)
    assert run.figures.violations == []
    assert run.figures.events[event] > 0
    assert run.figures.mails > 100
