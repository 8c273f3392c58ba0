"""Aftermath: what ledger and acceptance log say once all is quiet. It reads the ledger's keys without its code."""

import time
from collections import Counter, defaultdict

from postroom.answers import STATES
from postroom.names import FINISHED, State
from tests.chaos.races.run import Run
from tests.ledger_snapshot import Snapshot
from tests.servers import RedisServer, SandboxServer
from tests.stack import copies


class Aftermath:
    """`states` of all mails by id, `sent` with the log entries of each, and `batches` with their mails' ids."""

    def __init__(self, redis: RedisServer, sandbox: SandboxServer) -> None:
        with redis.client(socket_timeout=60) as client:
            self.snapshot = Snapshot.of(client)
        self.sent: Counter[str] = copies(sandbox)
        self.states: dict[str, State] = {}
        self.batches: defaultdict[str, list[str]] = defaultdict(list)
        for chunk, stored in self.snapshot.chunks.items():
            self._take(chunk, stored.states)

    def _take(self, chunk: str, letters: str) -> None:
        batch, dot, _ = chunk.partition(".")
        for place, letter in enumerate(letters):
            id = f"{chunk}.{place}" if dot else chunk
            self.states[id] = STATES[letter]
            if dot:
                self.batches[batch].append(id)

    @property
    def unfinished(self) -> int:
        return sum(state not in FINISHED for state in self.states.values())

    def check_batch(self, run: Run, batch: str) -> None:
        """The counts of a batch are a recount of its mails, it is final, and its report says the same."""
        record = self.snapshot.batches.get(batch, {})
        recount = Counter(str(self.states[id]) for id in self.batches.get(batch, ()))
        counts = Counter({str(state): int(record.get(state, 0)) for state in State})
        run.expect(+counts == recount, "a batch's counts equal a recount", (batch, +counts, recount))
        run.expect(
            int(record.get("total", -1)) == recount.total(),
            "a batch has its total",
            (batch, record.get("total"), recount),
        )
        run.expect("final_at" in record, "a batch ends", (batch, +counts))
        run.expect("reported_at" in record, "a batch reports", (batch, +counts))

    @property
    def left(self) -> int:
        """Mails to be finished, and sealed batches to be reported."""
        batches = self.snapshot.batches.values()
        return self.unfinished + sum("sealed" in batch and "reported_at" not in batch for batch in batches)


def quiet(redis: RedisServer, sandbox: SandboxServer, patience: float) -> Aftermath:
    """The aftermath, as soon as nothing is left to do; or when for `patience` seconds nothing of it was done."""
    least, give_up = None, 0.0
    while True:
        aftermath = Aftermath(redis, sandbox)
        if least is None or aftermath.left < least:
            least, give_up = aftermath.left, time.monotonic() + patience
        if aftermath.left == 0 or time.monotonic() > give_up:
            return aftermath
        time.sleep(1)
