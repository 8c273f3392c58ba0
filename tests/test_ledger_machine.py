"""The ledger against its model: whatever happens, in whatever order, both say the same.

There are two profiles. `ci` takes the same steps each time, for half a minute; `HYPOTHESIS_PROFILE=deep` in the
environment takes others each time, for a quarter of an hour.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from postroom.script import SCRIPTS
from tests.ledger_protocol import run
from tests.servers import RedisServer

COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
CI = settings(COMMON, max_examples=300, stateful_step_count=50, derandomize=True, database=None)
PROFILES = {"ci": CI, "deep": settings(COMMON, max_examples=2_000, stateful_step_count=80)}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")

#: Faults in the scripts: what each of them is, the right text, and the wrong one.
FAULTS = [
    ("finished mails are claimed", "if chunk and is_claimable(state_of(chunk, 0)) then", "if chunk then"),
    (
        "mails are counted twice",
        "redis.call('HINCRBY', key, name, change)",
        "redis.call('HINCRBY', key, name, 2 * change)",
    ),
    ("a mail is sent three times", "or note.doubts > 1 then", "or note.doubts > 2 then"),
    ("a window is taken from its owner", "elseif mine and state == SENDING then", "elseif state == SENDING then"),
    ("given back, never sent again", "redis.call('ZADD', index, 'NX', now, chunk.id) == 1", "false"),
    ("what a dead worker held counts as being sent", "chunk.live = math.max(0, chunk.live - 1)", ""),
    ("what is claimed is not paid for", "bucket.level - tokens", "bucket.level"),
    ("the last request that is allowed is not the last", "if said.used_up and", "if false and"),
    ("a lost drain is not pushed again", "  wake_singles(lane, oldest)\n", ""),
]


@pytest.fixture
def quick_redis(own_redis_server: RedisServer) -> str:
    """A Redis that does not wait for its disk: nobody kills it here."""
    own_redis_server.client().config_set("appendfsync", "no")
    return own_redis_server.url


@pytest.mark.timeout(0 if PROFILE == "deep" else 300)
def test_the_ledger_keeps_its_protocol(quick_redis: str) -> None:
    run(quick_redis, PROFILES[PROFILE])


@pytest.mark.parametrize(("right", "wrong"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_fault_in_the_ledger_would_be_found(quick_redis: str, right: str, wrong: str) -> None:
    assert any(right in script.text for script in SCRIPTS.values())

    with pytest.raises(AssertionError):
        run(quick_redis, settings(CI, phases=[Phase.generate]), edit=lambda _, text: text.replace(right, wrong))
