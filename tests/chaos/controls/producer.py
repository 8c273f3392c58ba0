"""Producer: calls `.delay()` for single mails and chords until it is told to end, and notes what was taken.

A line of the file named by CONTROL_TAKEN is `mail ID` or `batch ID ID…`. A call that failed is not noted: what it may
have enqueued all the same counts neither as lost nor as repeated.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tests.chaos.controls.plain import send_batch, send_email
from tests.mails import mail

#: Mails of a batch, and singles between two batches.
BATCH, SINGLES = 10, 20
#: Seconds between two calls.
PACE = 0.04

ended = threading.Event()


def marked(id: str) -> dict[str, Any]:
    """A mail that the sandbox's log tells by its id."""
    return {**mail(f"{id}@example.com"), "custom_args": {"postroom_id": id}}


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with Path(os.environ["CONTROL_TAKEN"]).open("a") as taken:
        number = 0
        while not ended.wait(PACE):
            try:
                line = one_call(number)
            except (OperationalError, RedisError, OSError, RuntimeError):
                line = ""
            number += 1
            if line:
                taken.write(line + "\n")
                taken.flush()
    return 0


def one_call(number: int) -> str:
    """Enqueue a batch or a single; returns the line that says what was taken."""
    if number % (SINGLES + 1):
        id = f"single-{number}"
        send_email.delay(marked(id))
        return f"mail {id}"
    ids = [f"row-{number}-{row}" for row in range(BATCH)]
    send_batch(f"batch-{number}", [marked(id) for id in ids])
    return f"batch batch-{number} {' '.join(ids)}"


if __name__ == "__main__":
    sys.exit(main())
