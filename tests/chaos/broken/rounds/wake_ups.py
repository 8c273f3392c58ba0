"""Wake-ups: rounds in which they are forged, lost, doubled or many; and those in which mail is enqueued again."""

import signal
from collections.abc import Callable
from pathlib import Path

import redis

from postroom import wakeup
from postroom.names import Lane, OnDoubt
from producers import Postroom
from tests.chaos.load import Mix
from tests.chaos.races import cancel
from tests.chaos.races import same_key as same_key_race
from tests.chaos.races.run import Run as RaceRun
from tests.chaos.run import Run
from tests.mails import mail, mails

SLOW = [{"fault": "latency", "latency": 0.3}]


def forged(run: Run) -> None:
    """Wake-ups for chunks that are not sealed, not due, or whatever else; and for the reports of their batches.

    The producer is stopped again and again, in the middle of a batch if it happens to be.
    """
    mix = Mix(batches=0.8, batch_mails=(60, 200), large=0, scheduled=0.4)
    with run.round(mix, size=2, rate=300, jobs=40) as arena:
        chance = run.nemesis(arena).chance
        client = arena.redis.client(decode_responses=True)
        arena.sandbox.faults([{"fault": "latency", "latency": 0.1}])
        arena.producing.start()
        for _ in arena.steps(25):
            pid = next(filter(arena.producing.owns, arena.processes.running), None)
            if run.enough("wake-ups", run.figures.events["forged"]) or pid is None:
                break
            if client.zcard("postroom:unsealed") == 0 and chance.random() < 0.8:
                continue
            arena.processes.signal(pid, signal.SIGSTOP)
            run.count("forged", forge(client, chance.sample))
            arena.go_on(0.3)
            arena.processes.signal(pid, signal.SIGCONT)


def forge(client: "redis.Redis", sample: Callable[[list[str], int], list[str]]) -> int:
    """A wake-up for each of the first chunks of what is unsealed or not due, and of some others."""
    too_early = set(client.zrange("postroom:unsealed", 0, -1)) | set(client.zrange("postroom:announce", 0, -1))
    batches = {key.split(":")[2] for key in client.scan_iter("postroom:batch:*", count=1000)}
    others = sorted(batches - too_early)
    count = 0
    for batch in [*too_early, *sample(others, min(3, len(others)))]:
        template = wakeup.deliver_template(Lane.TRANSACTIONAL, batch)
        for row in client.lrange(f"postroom:batch:{batch}:chunks", 0, 3):
            client.lpush(Lane.TRANSACTIONAL, filled(template, f"{batch}.{row}", row))
            count += 1
        client.lpush(Lane.TRANSACTIONAL, filled(wakeup.report_template(Lane.TRANSACTIONAL), batch, "0"))
    return count


def filled(template: str, id: str, row: str) -> str:
    return template.replace(wakeup.ID, id).replace(wakeup.AT, "0").replace(f'"{wakeup.ROW}"', row)


def lost(run: Run) -> None:
    """For some seconds after everything is enqueued, no wake-up reaches anybody."""
    mix = Mix(batches=0.4, batch_mails=(10, 40), large=0, scheduled=0)
    with run.round(mix, size=2, rate=600, jobs=60) as arena:
        client = arena.redis.client()
        arena.sandbox.faults([{"fault": "latency", "latency": 0.5}])
        arena.producing.start()
        arena.wait_for_producer()
        for _ in arena.steps(run.times):
            run.count("lost", client.llen("transactional") + client.llen("bulk"))
            client.delete("transactional", "bulk")
        run.count("left to do", len(list(client.scan_iter("postroom:payload:*", count=1000))))


DOUBLE = """
local done = 0
for _, lane in ipairs({ 'transactional', 'bulk' }) do
  for _, message in ipairs(redis.call('LRANGE', lane, 0, -1)) do
    local id = lane .. (message:match('"delivery_tag": ?"([^"]+)"') or message)
    if redis.call('SADD', 'chaos:doubled', id) == 1 then
      redis.call('LPUSH', lane, message)
      redis.call('RPUSH', lane, message)
      done = done + 1
    end
  end
end
return done
"""


def doubled(run: Run) -> None:
    mix = Mix(batches=0.7, batch_mails=(10, 60), large=0, scheduled=0.1)
    with run.round(mix, size=2, rate=150) as arena:
        arena.watch.judges = False
        client = arena.redis.client()
        arena.sandbox.faults(SLOW)
        arena.producing.start()
        for _ in arena.steps(run.times):
            run.count("doubled", client.eval(DOUBLE, 0))
        arena.producing.end()
        for _ in arena.steps(run.times / 2):
            run.count("doubled", client.eval(DOUBLE, 0))


def flood(run: Run) -> None:
    with run.round(Mix(batches=0, large=0, scheduled=0), size=1, rate=600, jobs=run.times) as arena:
        arena.sandbox.faults(SLOW)
        arena.producing.start()
        arena.wait_for_producer()


def again(run: Run) -> None:
    """What is enqueued again, by an id or by a key, has been sent by then."""
    with run.round(Mix(), size=2, jobs=1) as arena:
        with Postroom(arena.settings) as postroom:
            names = [f"again{number}" for number in range(run.times)]
            ids = [postroom.enqueue(mail(f"{name}@example.com"), on_doubt=OnDoubt.HOLD) for name in names]
            for name in names[:5]:
                postroom.enqueue_batch(mails(30, f"row-of-{name}-"), key=name)
            arena.go_on(3)
            for name, id in zip(names, ids, strict=True):
                postroom.enqueue(mail(f"{name}@example.com"), id=id, on_doubt=OnDoubt.HOLD)
            for name in names[:5]:
                postroom.enqueue_batch(mails(30, f"row-of-{name}-"), key=name)
            arena.go_on(3)
        arena.producing.start()


def same_key(run: Run) -> None:
    _race(run, lambda directory: same_key_race.run(directory, run.times, 1))


def cancel_races(run: Run) -> None:
    _race(run, lambda directory: cancel.run(directory, run.times, 1, with_doubt=False))


def _race(run: Run, race: Callable[[Path], RaceRun]) -> None:
    directory = Path(run.directory) / run.scenario
    directory.mkdir(parents=True)
    for sentence in race(directory).broken:
        run.violation(sentence)
