"""Lanes: how long an urgent mail takes from the call of `enqueue` to SendGrid, while a campaign goes out.

`python -m benchmarks.lanes`: no campaign, one at half of what the worker can send at most, and one as fast as it
can; with one worker for both lanes and with one for each; SendGrid answering at once,
and after 100 ms. The urgent mails come at random times. The end is when the last byte of the request has arrived.
"""

import random
import time
from itertools import product
from typing import Any, NamedTuple

from benchmarks.enqueue import percentile
from benchmarks.lanes_servers import QUEUES, running_servers
from benchmarks.mails import mails
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from postroom.settings import Settings
from producers import Postroom
from tests.servers import eventually

#: Urgent mails a second.
URGENT_RATE = 40
#: Mails in the batch by which the highest rate is measured.
SATURATION_MAILS = 30_000
WARM_UP = 50
#: The campaign would last for so many times the measurement, at the highest rate measured; others may slow the machine.
ENOUGH = 2.5
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
LOADS = {"none": 0.0, "half": 0.5, "full": 1.0}


class Setting(NamedTuple):
    latency: float
    workers: str
    load: str

    def __str__(self) -> str:
        return f"sink {self.latency:g} s, {self.workers}, campaign {self.load}"


def saturation(latency: float) -> float:
    """Bulk mails a second that one worker sends at most, from the middle of a batch that is stored before."""
    with running_servers(latency, "one worker") as servers:
        servers.store_campaign(SATURATION_MAILS)
        fifth, fourth_fifth = [servers.total_at(SATURATION_MAILS * share) for share in (0.2, 0.8)]
        return SATURATION_MAILS * 0.6 / (fourth_fifth - fifth)


def window_seconds(latency: float, saturation: float) -> float:
    """How long a thread takes for a window of bulk mail: with all busy, each sends its share of the highest rate."""
    settings = Settings()
    return max(latency, settings.window * settings.threads / saturation)


def send_urgent(postroom: Postroom, count: int) -> dict[str, tuple[float, float]]:
    """Enqueue at random times; when each call began and ended."""
    calls = {}
    for mail in mails(count):
        time.sleep(random.expovariate(URGENT_RATE))
        began = time.time()
        id = postroom.enqueue(mail)
        calls[id] = (began, time.time())
    return calls


def measure(setting: Setting, saturation: float, urgent: int) -> dict[str, Any]:
    rate = LOADS[setting.load] * saturation
    with running_servers(setting.latency, setting.workers, rate if setting.load == "half" else None) as servers:
        send_urgent(servers.postroom, WARM_UP)
        campaign = servers.store_campaign(round(rate * ENOUGH * urgent / URGENT_RATE))
        before, started = servers.sink.total(), time.monotonic()
        calls = send_urgent(servers.postroom, urgent)
        bulk_rate = (servers.sink.total() - before - urgent) / (time.monotonic() - started)
        if rate and servers.postroom.progress(campaign).is_final:
            raise AssertionError("the campaign was over before the last urgent mail")
        eventually(lambda: calls.keys() <= servers.sink.arrivals().keys(), timeout=60, describe="all have arrived")
        arrived = servers.sink.arrivals()
    taken = [(arrived[id] - began) * 1000 for id, (began, _) in calls.items()]
    calling = [(ended - began) * 1000 for began, ended in calls.values()]
    return {
        **setting._asdict(),
        "bulk_per_second": round(bulk_rate),
        "saturation": round(saturation),
        "window_ms": round(window_seconds(setting.latency, saturation) * 1000, 1),
        **{f"{name}_ms": round(percentile(taken, share), 1) for name, share in SHARES.items()},
        **{f"enqueue_{name}_ms": round(percentile(calling, SHARES[name]), 1) for name in ("p50", "p99")},
    }


def row(found: dict[str, Any]) -> list[str]:
    setting = f"{found['latency'] * 1000:g} ms", found["load"], found["workers"], f"{found['bulk_per_second']:,}"
    return [*setting, *(f"{found[f'{name}_ms']:.1f}" for name in SHARES)]


def target(found: dict[str, Any]) -> Target:
    """With one worker, an urgent mail may have to wait for a window of the campaign."""
    alone = found["workers"] == "one a lane"
    limit = 50 if alone else 50 + found["window_ms"]
    return Target(
        what=f"urgent mail beside half of saturation, {found['workers']}, sink after {found['latency'] * 1000:g} ms",
        wanted=f"p99 ≤ {limit:.0f} ms" + ("" if alone else " (50 + one bulk window)"),
        found=f"{found['p99_ms']:.1f} ms",
        reached=found["p99_ms"] <= limit,
    )


def finding(all_found: list[dict[str, Any]], urgent: int) -> Finding:
    return Finding(
        title="Urgent mail beside a campaign",
        place=20,
        text=f"{urgent} urgent mails in each setting, at random times, {URGENT_RATE} a second on average: milliseconds "
        "from the call of `enqueue` until the last byte of the request is there. The campaign is one batch, and goes "
        "out at half of what a worker sends at most (`half`, by `POSTROOM_RATE_BULK`), or as fast as it can (`full`).",
        tables=[
            Table(columns=["sink", "campaign", "workers", "bulk/s", *SHARES], rows=[row(found) for found in all_found])
        ],
        targets=[target(found) for found in all_found if found["load"] == "half"],
        data=all_found,
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--mails", type=int, default=600, help="urgent ones, in each setting")
    arguments.add_argument("--latencies", type=float, nargs="*", default=[0.0, 0.1], help="seconds that the sink takes")
    arguments.add_argument("--loads", nargs="*", default=list(LOADS), choices=LOADS)
    options = arguments.parse_args()
    highest = {latency: saturation(latency) for latency in through(options.latencies, "saturation at {:g} s".format)}
    settings = [Setting(*each) for each in product(options.latencies, QUEUES, options.loads)]
    found = [
        measure(setting, highest[setting.latency], options.mails) for setting in through(settings, Setting.__str__)
    ]
    hand_over("lanes", finding(found, options.mails), options)


if __name__ == "__main__":
    main()
