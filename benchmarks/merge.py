"""Merge: what a recipient costs in requests of up to a thousand, and that a bad one hurts nobody else.

`python -m benchmarks.merge`. A worker posts to the sandbox, whose acceptance log tells what was sent; its own processor
time counts for nobody. The worker is stopped while the batch is stored, so that Redis can be looked at with all of it
queued. For comparison, the same recipients with a request each.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.accounting import cpu_seconds
from benchmarks.mails import BAD, bad_rows
from benchmarks.program import hand_over, parser, through
from benchmarks.results import Finding, Table, Target
from benchmarks.scale import BUFFERS_GONE, per_mail, shown
from benchmarks.scale_producer import store
from postroom.settings import Settings
from producers import Postroom
from tests.servers import RedisServer, SandboxServer, Worker, running

MILLION = 1_000_000
#: A request each is so much slower that fewer have to do.
EACH = 20_000
WARM_UP = 1_000


def measure(directory: Path, how: str, count: int) -> dict[str, Any]:
    with running(RedisServer(directory)) as redis, running(SandboxServer(directory)) as sandbox:
        environment = {"POSTROOM_REDIS_URL": redis.url, "POSTROOM_SENDGRID_URL": sandbox.url}
        worker = Worker("worker", directory, [], environment)
        with running(worker), Postroom(Settings(redis_url=redis.url)) as postroom:
            postroom.wait(store(WARM_UP, environment, how).id, timeout=120)
            worker.pause()
            empty, redis_cpu, worker_cpu = redis_bytes(redis), cpu_seconds(redis.pid), cpu_seconds(worker.pid)
            started = time.monotonic()
            produced = store(count, environment, how)
            stored = time.monotonic()
            queued = redis_bytes(redis)
            sending = time.monotonic()
            worker.resume()
            report = postroom.wait(produced.id, timeout=7200)
            sent = time.monotonic()
            accepted = [line for line in sandbox.accepted() if line["postroom_ids"][0].startswith(produced.id)]
            bad = bad_rows(count)
            copies = Counter(row_of(id) for line in accepted for id in line["postroom_ids"])
            return {
                "good": count - len(bad),
                "sent_once": sum(times == 1 for row, times in copies.items() if row not in bad),
                "bad": len(bad),
                "bad_sent": sum(times for row, times in copies.items() if row in bad),
                "bad_reported": len(bad & {failure.row for failure in report.failed}),
                "failed": report.total - report.counts["accepted"],
                "how": how,
                "recipients": count,
                "requests": len(accepted),
                "store_seconds": round(stored - started, 1),
                "send_seconds": round(sent - sending, 1),
                "producer_us": per_mail(produced.cpu_seconds, count),
                "worker_us": per_mail(cpu_seconds(worker.pid) - worker_cpu, count),
                "redis_us": per_mail(cpu_seconds(redis.pid) - redis_cpu, count),
                "redis_bytes_queued": round((queued - empty) / count, 1),
                "redis_bytes_after": round((redis_bytes(redis) - empty) / count, 1),
                "producer_peak_mb": round(produced.peak_mb, 1),
            }


def redis_bytes(redis: RedisServer) -> int:
    time.sleep(BUFFERS_GONE)
    with redis.client() as client:
        return int(client.info("memory")["used_memory"])


def row_of(id: str) -> int:
    _, first_row, place = id.split(".")
    return int(first_row) + int(place)


COLUMNS = {
    "": "how",
    "recipients": "recipients",
    "requests": "requests",
    "stored, s": "store_seconds",
    "sent, s": "send_seconds",
    "producer": "producer_us",
    "worker": "worker_us",
    "Redis": "redis_us",
    "bytes queued": "redis_bytes_queued",
    "bytes after": "redis_bytes_after",
    "producer's peak, MB": "producer_peak_mb",
}


def finding(found: list[dict[str, Any]]) -> Finding:
    merged = max((one for one in found if one["how"] == "merged"), key=lambda one: one["recipients"])
    return Finding(
        title="Merging",
        place=45,
        text="One mail to many recipients, merged into requests of up to a thousand, and with a request each. "
        f"Processor time per recipient in µs. {BAD} recipients are bad: SendGrid refuses their requests, each in turn, "
        "and the others of the request are sent in the next one.",
        tables=[
            Table(
                columns=list(COLUMNS),
                rows=[[one["how"], *(shown(one[name]) for name in list(COLUMNS.values())[1:])] for one in found],
            )
        ],
        targets=[
            Target(
                what=f"{merged['recipients']:,} recipients, {BAD} of them bad, in the acceptance log",
                wanted="each but the bad once",
                found=f"{merged['sent_once']:,} once, {merged['bad_reported']} reported, {merged['failed']} in all",
                reached=merged["sent_once"] == merged["good"]
                and merged["bad_reported"] == merged["failed"] == merged["bad"]
                and merged["bad_sent"] == 0,
            )
        ],
        data=found,
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--recipients", type=int, default=MILLION, help="merged (default: a million)")
    arguments.add_argument("--each", type=int, default=EACH, help=f"with a request each (default: {EACH:,})")
    options = arguments.parse_args()
    found = []
    runs = [("merged", options.recipients), ("each", options.each)]
    for how, count in through(runs, lambda run: f"{run[1]:,} recipients, {run[0]}"):
        with tempfile.TemporaryDirectory() as directory:
            found.append(measure(Path(directory), how, count))
    hand_over("merge", finding(found), options)


if __name__ == "__main__":
    main()
