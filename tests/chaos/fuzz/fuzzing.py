"""Fuzzing: how many tries each door gets, and what came of them."""

from pathlib import Path
from random import Random
from typing import Any, Protocol

from postroom.settings import Settings
from producers import Postroom
from tests.chaos.fuzz.arguments import Arguments
from tests.chaos.fuzz.bodies import Bodies
from tests.chaos.fuzz.files import Files
from tests.chaos.fuzz.findings import Findings
from tests.chaos.fuzz.steps import Steps
from tests.chaos.races.run import Run
from tests.ledger_driver import Driver
from tests.servers import RedisServer, running


class Door(Protocol):
    """Each try says what it came to: "taken", "answered", "refused" or "failed"."""

    def try_one(self, random: Random) -> str: ...


#: Of a hundred tries.
SHARES = {"bodies": 40, "files": 25, "arguments": 15, "steps": 20}


def run(directory: Path, times: int, seed: int) -> Run:
    found = Run("fuzz", times=times, seed=seed)
    findings = Findings()
    for name, share in SHARES.items():
        random = Random(f"{seed} {name}")
        with running(RedisServer(directory)) as redis, Postroom(_settings(redis)) as postroom:
            client = redis.client()
            client.config_set("appendfsync", "no")  # nobody kills it here
            with Driver(redis.url) as driver:
                door = _door(name, postroom, client, driver, findings)
                for tried in range(times * share // 100):
                    if tried % 1000 == 999 and name == "bodies":
                        client.flushall()
                    found.figures[f"{name}_{door.try_one(random)}"] += 1
            client.flushall()
    for finding in findings.told():
        found.expect(False, "unclear, or worse", finding)
    return found


def _settings(redis: RedisServer) -> Settings:
    return Settings.from_environment({"POSTROOM_REDIS_URL": redis.url, "POSTROOM_PRODUCER_TIMEOUT": "10"})


def _door(name: str, postroom: Postroom, client: Any, driver: Driver, findings: Findings) -> Door:
    if name == "bodies":
        return Bodies(postroom, client, findings)
    if name == "files":
        return Files(findings)
    return Arguments(postroom, findings) if name == "arguments" else Steps(driver, findings)
