"""Times: rounds about deadlines."""

from tests.chaos.load import Mix
from tests.chaos.run import Run


def expiry(run: Run) -> None:
    """All mails have seconds to live, and the account is paused for longer."""
    mix = Mix(batches=0.5, batch_mails=(1, 30), large=0, scheduled=0.1, short_lived=1)
    with run.round(mix, size=2, jobs=40, rate=200) as arena:
        arena.standstill = run.times + 10.0
        arena.sandbox.faults([{"fault": "limited", "reset_after": run.times, "at_most": 8}])
        arena.producing.start()
        arena.wait_for_producer()
