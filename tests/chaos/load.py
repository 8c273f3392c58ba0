"""Load: what producers enqueue, job by job. All of it follows from a seed, so that a killed producer can go on."""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from postroom.names import Lane, OnDoubt
from tests.mails import mail

#: libcurl asks for a body in parts of 64 KiB.
LARGE_BYTES = 200_000


class Mix(NamedTuple):
    """How a load is made up. The parts are probabilities."""

    batches: float = 0.4
    #: A batch has so many mails, from the fewest to the most.
    batch_mails: tuple[int, int] = (1, 60)
    large: float = 0.02
    hold: float = 0.5
    #: Sent later, by up to 5 seconds.
    scheduled: float = 0.05
    #: Have a few seconds to live, so that some expire.
    short_lived: float = 0.0
    #: Batches with something to be done after their report.
    then: float = 0.3
    #: To an address that makes the sandbox misbehave.
    faulty: float = 0.0
    #: Batches that are merges, of up to so many recipients a request.
    merged: float = 0.0
    most_a_request: int = 8


#: What the recipients of a merge get.
TEMPLATE: dict[str, Any] = {
    "from": {"email": "shop@example.com"},
    "content": [{"type": "text/plain", "value": "Hello, here it is: -text-"}],
}

#: How the sandbox may misbehave. It never accepts what it answers with 4xx, 500 or 503.
FAULTY = (
    "reject",
    "sender",
    "500x1",
    "503x1",
    "502x1",
    "resetx1",
    "hangx1",
    "accept-502x1",
    "accept-resetx1",
    "accept-closex1",
    "accept-hangx1",
    "no-receiptx1",
    "truncatedx1",
    "latency-0.5",
)


class Job(NamedTuple):
    """One call of a producer. `mails` is 0 for a single."""

    number: int
    key: str
    mails: int
    lane: Lane
    policy: OnDoubt
    expires_in: float
    #: Seconds from when it is enqueued; 0 for at once.
    delay: float
    then: bool
    #: Recipients a request of a merge; 0 for no merge.
    per_request: int
    seed: str
    mix: Mix

    def recipients(self) -> Iterator[dict[str, Any]]:
        """The same, as recipients of `TEMPLATE`."""
        for body in self.bodies():
            (personalization,) = body["personalizations"]
            text = body["content"][0]["value"]
            yield {**personalization, "subject": body["subject"], "substitutions": {"-text-": text[:9000]}}

    def bodies(self) -> Iterator[dict[str, Any]]:
        """The same ones each time."""
        chance = random.Random(self.seed)
        for row in range(self.mails or 1):
            yield _body(f"m{self.number}-{row}", chance, self.mix)


def job(seed: str, number: int, mix: Mix) -> Job:
    """The job of this number."""
    own = f"{seed}/{number}"
    chance = random.Random(own)
    is_batch = chance.random() < mix.batches
    short = chance.random() < mix.short_lived
    return Job(
        number=number,
        key=f"job {own}",
        mails=chance.randint(*mix.batch_mails) if is_batch else 0,
        lane=chance.choice((Lane.TRANSACTIONAL, Lane.BULK)),
        policy=OnDoubt.HOLD if chance.random() < mix.hold else OnDoubt.RESEND,
        expires_in=chance.uniform(1, 8) if short else 3600.0,
        delay=chance.uniform(1, 5) if chance.random() < mix.scheduled else 0.0,
        then=is_batch and chance.random() < mix.then,
        per_request=chance.randint(1, mix.most_a_request) if is_batch and chance.random() < mix.merged else 0,
        seed=own,
        mix=mix,
    )


def _body(name: str, chance: random.Random, mix: Mix) -> dict[str, Any]:
    domain = "@example.com"
    if chance.random() < mix.faulty:
        name, domain = f"{chance.choice(FAULTY)}+{name}", "@sandbox.test"
    size = LARGE_BYTES if chance.random() < mix.large else 100
    return mail(name + domain, subject=name, text=chance.randbytes(size // 2).hex())
