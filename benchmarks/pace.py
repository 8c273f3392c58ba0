"""A limit, kept by four workers: `python -m benchmarks.pace [--rate 200] [--seconds 60]`.

Claims are counted by Redis' own clock (its `MONITOR` shows each window). After that time SendGrid answers one request
with a 429, and names a time; what comes before it is counted at SendGrid.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.mails import mails
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from postroom.settings import Settings
from producers import Postroom
from tests.claims import Claims
from tests.servers import RedisServer, SandboxServer, Worker, eventually, running
from tests.stack import ask, ledger

WORKERS = 4
#: Seconds that SendGrid asks to wait; and after the 429, what was under way may still arrive so long (seconds).
RESET, UNDER_WAY = 5.0, 0.25
#: The part of a second whose mails may come at once (`BURST` in postroom/lua/pace.lua).
BURST = 0.1


def measure(directory: Path, rate: int, seconds: float) -> dict[str, Any]:
    (directory / "redis").mkdir()
    with ExitStack() as stack:
        redis = stack.enter_context(running(RedisServer(directory / "redis")))
        sandbox = stack.enter_context(running(SandboxServer(directory)))
        postroom = stack.enter_context(Postroom(Settings(redis_url=redis.url)))
        postroom.enqueue_batch(mails(round(rate * (seconds + 30))))
        claims = stack.enter_context(Claims(redis.url))
        environment = {
            "POSTROOM_REDIS_URL": redis.url,
            "POSTROOM_SENDGRID_URL": sandbox.url,
            "POSTROOM_RATE": f"{rate}/s",
        }
        for number in range(WORKERS):
            stack.enter_context(running(Worker(f"worker{number}", directory, [], environment)))
        start = claims.times[0] + 1  # the first workers are under way
        eventually(lambda: claims.times[-1] >= start + seconds, timeout=seconds + 60)
        counted = [at for at in claims.times if start <= at < start + seconds]
        return {
            "rate": rate,
            "seconds": seconds,
            "most_in_a_second": claims.most_in_a_second(),
            "average": round(len(counted) / seconds, 2),
            **_limited(redis, sandbox, claims),
        }


def _limited(redis: RedisServer, sandbox: SandboxServer, claims: Claims) -> dict[str, Any]:
    """Have one request answered with a 429, and see what comes before the time that it names."""
    sandbox.faults([{"fault": "limited", "reset_after": RESET, "at_most": 1}])
    pause = eventually(lambda: ask(redis.url, ledger().account("default")), describe="a pause")
    noticed, reset = time.time(), int(pause["until"]) / 1000
    eventually(lambda: claims.times[-1] > reset, RESET + 10, "the fleet goes on")
    time.sleep(1)
    arrived = [entry["time"] for entry in sandbox.accepted()]
    return {
        "claims_during_the_pause": sum(noticed < at < reset for at in claims.times),
        "arrivals_during_the_pause": sum(noticed + UNDER_WAY < at < reset for at in arrived),
        "first_arrival_after_reset": round(min(at for at in arrived if at > reset) - reset, 3),
    }


def finding(figures: dict[str, Any]) -> Finding:
    rate, most = figures["rate"], figures["most_in_a_second"]
    burst = round(rate * BURST)
    off = abs(figures["average"] / rate - 1)
    early = figures["claims_during_the_pause"] + figures["arrivals_during_the_pause"]
    return Finding(
        title="A limit for the fleet",
        place=30,
        text=f"{WORKERS} worker processes, `POSTROOM_RATE={rate}/s`, {figures['seconds']:g} s; then one reply of 429, "
        f"with a reset {RESET:g} s later. Claims by Redis' clock, arrivals by the acceptance log.",
        tables=[
            Table(
                columns=["most in any second", "average a second", "claims in the pause", "arrivals in the pause"],
                rows=[
                    [
                        str(most),
                        f"{figures['average']:.1f}",
                        str(figures["claims_during_the_pause"]),
                        str(figures["arrivals_during_the_pause"]),
                    ]
                ],
            )
        ],
        targets=[
            Target(
                what="claims in any one second",
                wanted=f"at most {rate} + {burst}",
                found=str(most),
                reached=most <= rate + burst,
            ),
            Target(what="average of a limit", wanted="within 2 %", found=f"{off:.1%} off", reached=off <= 0.02),
            Target(what="requests between a 429 and its reset", wanted="0", found=str(early), reached=early == 0),
        ],
        data=figures,
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rate", type=int, default=200, help="mails a second")
    arguments.add_argument("--seconds", type=float, default=60)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        (figures,) = [
            measure(Path(directory), options.rate, each) for each in through([options.seconds], "{:g} s".format)
        ]
    hand_over("pace", finding(figures), options)


if __name__ == "__main__":
    main()
