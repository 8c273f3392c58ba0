"""Scenarios: what is done to a fleet while mail goes through it. Each goes on until it has been done often enough."""

from typing import NamedTuple

from tests.chaos.run import Play
from tests.chaos.scenarios import batches, fleets, messages, network, outages, stores


class Scenario(NamedTuple):
    """`times` is how much of it, unless asked otherwise; `unit` is what is counted."""

    play: Play
    times: int
    unit: str
    line: str


SCENARIOS: dict[str, Scenario] = {
    "kills": Scenario(fleets.kills, 2000, "kills", "workers and producers are killed, at named points and at random"),
    "points": Scenario(fleets.points, 50, "hits", "the same, until each named point was hit so often"),
    "takeovers": Scenario(fleets.takeovers, 200, "kills", "workers at work are killed one at a time, for the time"),
    "zombies": Scenario(fleets.zombies, 200, "stops", "workers are stopped for longer than an owner's life, and go on"),
    "deploys": Scenario(fleets.deploys, 200, "ends", "workers are replaced by SIGTERM; nothing may come into doubt"),
    "clocks": Scenario(fleets.clocks, 200, "kills", "workers' and producers' clocks are an hour ahead or behind"),
    "redis_kills": Scenario(stores.redis_kills, 200, "kills", "Valkey is killed, and started again within 2 s"),
    "power_loss": Scenario(
        stores.power_loss, 100, "losses", "Valkey loses what it had not acknowledged, from any byte"
    ),
    "memory_full": Scenario(stores.memory_full, 20, "times", "Valkey is short of memory, and later has enough"),
    "tcp_cuts": Scenario(network.tcp_cuts, 5000, "cuts", "connections are cut, at rest or half-way, and stalled"),
    "wake_ups": Scenario(messages.wake_ups, 5000, "messages", "wake-ups are deleted, doubled, reordered, or garbled"),
    "poison": Scenario(batches.poison, 2, "batches", "one of 1,000 mails kills each worker that starts to send it"),
    "everything": Scenario(batches.everything, 10_000, "mails", "a batch meets latency, 429, 5xx, resets and kills"),
    "outage": Scenario(outages.outage, 1, "outages", "SendGrid refuses, answers 503, then 429, then is well again"),
}
