"""Answers: rounds in which SendGrid misbehaves, and nobody is killed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from postroom.names import State
from producers import Postroom
from tests.chaos import producer
from tests.chaos.broken.hasty import HastyArena
from tests.chaos.load import Mix
from tests.chaos.run import Run

STORM: list[dict[str, Any]] = [
    {"fault": "status", "status": 500, "match": "-7@"},
    {"fault": "status", "status": 500, "match": "5-0@"},
    {"fault": "rejected", "probability": 0.1},
    {"fault": "accept_then_reset", "probability": 0.12},
    {"fault": "accept_then_close", "probability": 0.12},
    {"fault": "accept_then_status", "status": 502, "probability": 0.1},
    {"fault": "no_receipt", "probability": 0.03},
    {"fault": "hang", "probability": 0.02},
    {"fault": "status", "status": 500, "probability": 0.1},
    {"fault": "latency", "latency": 0.03},
]
QUICK = {"POSTROOM_BACKOFF_BASE": "0.2", "POSTROOM_BACKOFF_CAP": "1"}


def storm(run: Run) -> None:
    mix = Mix(batch_mails=(8, 40), large=0, scheduled=0.1, short_lived=0.1)
    with run.round(mix, jobs=run.times, size=3, POSTROOM_MAX_ATTEMPTS="4", **QUICK) as arena:
        arena.sandbox.faults(STORM)
        arena.producing.start()
        arena.wait_for_producer()


def redirects(run: Run) -> None:
    with run.round(Mix(scheduled=0), jobs=run.times, size=2, **QUICK) as arena, elsewhere() as address:
        arena.sandbox.faults([{"fault": "status", "status": 302, "location": address, "probability": 0.3}])
        arena.producing.start()
        arena.wait_for_producer()


@contextmanager
def elsewhere() -> Iterator[str]:
    """The address of a server that answers a GET, as libcurl makes of a POST, with 202 and a receipt."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(202)
            self.send_header("X-Message-Id", "elsewhere-0000000000000")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


#: What SendGrid says for so many seconds.
REFUSALS: list[tuple[float, list[dict[str, Any]]]] = [
    (5, [{"fault": "limited", "reset_after": 1}]),
    (5, [{"fault": "status", "status": 401}]),
    (8, [{"fault": "status", "status": 503}]),
]


def refusals(run: Run) -> None:
    """Nothing of it is the mails' fault: each is sent once in the end, with the one attempt that it has."""
    with run.round(Mix(scheduled=0), rate=40, jobs=run.times, size=2, POSTROOM_MAX_ATTEMPTS="1", **QUICK) as arena:
        arena.sandbox.faults(REFUSALS[0][1])
        arena.producing.start()
        for seconds, faults in REFUSALS:
            arena.sandbox.faults(faults)
            arena.go_on(seconds)
        arena.sandbox.faults([])
    for mail in run.evidence.sent_mails:
        if mail.state != State.ACCEPTED or run.evidence.copies[mail.id] != 1:
            run.violation(f"for no fault of its own, {mail.id} is {mail.state} ({mail.reason})")


def silence(run: Run) -> None:
    with run.round(Mix(batch_mails=(8, 20), large=0, scheduled=0), jobs=run.times, size=1) as arena:
        arena.sandbox.faults([{"fault": "hang", "at_most": 40}])
        arena.producing.start()
        arena.wait_for_producer()


def slow(run: Run) -> None:
    mix = Mix(batch_mails=(8, 30), large=0, scheduled=0)
    settings = {"POSTROOM_REQUEST_DEADLINE": "12", "POSTROOM_GRACE": "22"}
    with run.round(mix, jobs=run.times, size=3, **settings) as arena:
        arena.sandbox.faults([{"fault": "latency", "latency": 6.5}])
        arena.producing.start()
        arena.wait_for_producer()
        arena.go_on(14)
        nobody_doubts(run, arena)
        chords_report(run, arena)


def nobody_doubts(run: Run, arena: HastyArena) -> None:
    """Whose workers live, and whose requests are answered, is in no doubt."""
    if doubts := int(arena.redis.client().hget("postroom:stats", "doubts") or 0):
        run.violation(f"doubted: {doubts} mails were in doubt, though no worker died and SendGrid answered")


def chords_report(run: Run, arena: HastyArena) -> None:
    """A report is 10 s late when a caretaker has to see to it."""
    while arena.watch.left():
        arena.go_on(1)
    if late := int(arena.redis.client().hget("postroom:stats", "reported_by_caretaker") or 0):
        run.violation(f"reported late: {late} reports by a caretaker, though no chord was broken")


def cancels(run: Run) -> None:
    """First all is in doubt; when it is to be sent once more, the account is paused, and all is cancelled."""
    with run.round(Mix(batch_mails=(5, 20), large=0, hold=0.2), jobs=run.times, size=2, rate=12) as arena:
        arena.sandbox.faults([{"fault": "accept_then_reset"}])
        arena.producing.start()
        arena.go_on(5)
        arena.sandbox.faults([{"fault": "limited", "reset_after": 14}])
        with Postroom(arena.settings) as postroom:
            for _ in range(9):
                arena.go_on(1.5)
                for returned in producer.read(arena.producing.path):
                    run.count("cancelled", postroom.cancel(returned.id).cancelled)
        arena.sandbox.faults([])
