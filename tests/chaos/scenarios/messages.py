"""Messages: a scenario in which something is done to the wake-ups that wait in the lanes."""

from tests.chaos.load import Mix
from tests.chaos.run import Run
from tests.chaos.tamper import Tamperer

#: Seconds of it in a round. A wake-up that gets lost again and again is repeated at growing intervals.
ROUND = 20.0


def wake_ups(run: Run) -> None:
    while run.left("tampered"):
        with run.round(Mix(batch_mails=(100, 300)), rate=400, size=2) as arena:
            arena.watch.judges = False  # what is put in is a wake-up, too
            tamperer = Tamperer(arena.redis.client(), run.nemesis(arena).chance)
            arena.sandbox.faults([{"fault": "latency", "latency": 0.2}])
            arena.producing.start()
            for _ in arena.steps(ROUND):
                tamperer.tamper(8)
                if run.enough("tampered", tamperer.total):
                    break
            run.count("tampered", tamperer.total)
            for kind, count in tamperer.counts.items():
                run.count(kind, count)
