"""The ledger against its model: whatever happens, in whatever order, both say the same.

Two runs: `ci` is the same each time and takes about a minute; HYPOTHESIS_PROFILE=deep in the environment makes it a
long random one.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.ledger_protocol import run
from tests.servers import RedisServer

settings.register_profile(
    "ledger", deadline=None, suppress_health_check=list(HealthCheck), print_blob=False, report_multiple_bugs=False
)
COMMON = settings.get_profile("ledger")
PROFILES = {
    "ci": settings(COMMON, max_examples=200, stateful_step_count=40, derandomize=True, database=None),
    "deep": settings(COMMON, max_examples=5_000, stateful_step_count=80),
}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")


@pytest.fixture
def quick_redis(own_redis_server: RedisServer) -> str:
    """A Redis that does not wait for its disk: nobody kills it here."""
    own_redis_server.client().config_set("appendfsync", "no")
    return own_redis_server.url


@pytest.mark.timeout(0 if PROFILE == "deep" else 300)
def test_the_ledger_keeps_its_protocol(quick_redis: str) -> None:
    run(quick_redis, PROFILES[PROFILE])
