"""Webhook: posts the events of accepted mails, signed and many at a time, as SendGrid's Event Webhook does.

`PUT /api/webhook` with a `Hook` says where to, and how unreliably. `GET` tells how it goes, and the public key;
`DELETE` ends it, and what was not posted is gone. A post that is not answered with 2xx comes again.
"""

import asyncio
import base64
import heapq
import itertools
import logging
import time
from random import Random
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sandbox.events import Event, events_of
from sandbox.mails import Mail

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Part = Annotated[float, msgspec.Meta(ge=0, le=1)]

#: A post that is not answered by then has failed (seconds).
ANSWER_WITHIN = 10.0
#: A post that has failed comes again so much later (seconds), each time twice as late, up to the last.
FIRST_WAIT, LAST_WAIT = 0.25, 30.0

_log = logging.getLogger(__name__)


class Hook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where events are posted, and how unreliably."""

    url: str
    #: Seconds from a mail's acceptance to the post of its events.
    delay: Seconds = 0.0
    #: Seconds for which a post gathers events, once one is due.
    gather: Seconds = 0.1
    #: Each event comes up to so many seconds later still, by chance: so they come out of order.
    reorder: Seconds = 0.0
    #: How often each event is posted.
    times: Annotated[int, msgspec.Meta(ge=1, le=50)] = 1
    #: The chance that an event is never posted.
    loss: Part = 0.0
    #: The most events in one post.
    most: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1_000
    #: Only these events (`processed`, `delivered`, …); None: all.
    only: list[str] | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("`url` is an address like http://127.0.0.1:8000/webhooks/sendgrid")


class Webhook:
    """The events that wait, and the task that posts them. Its key pair is new in each run."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._key = generate_private_key(SECP256R1())
        self._hook: Hook | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[tuple[float, int, Event]] = []
        self._numbers = itertools.count()
        self._more = asyncio.Event()
        self._counts = {"posts": 0, "failed": 0, "events": 0, "lost": 0}

    @property
    def public_key(self) -> str:
        """As SendGrid shows it."""
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def as_json(self) -> dict[str, Any]:
        """The hook, or null; the public key; posts that went well and that failed; events posted, lost and waiting."""
        return {
            "hook": self._hook,
            "public_key": self.public_key,
            **self._counts,
            "waiting": len(self._waiting),
        }

    def set(self, hook: Hook | None) -> None:
        """Post there from now on; None ends it. What waits goes to the new address."""
        self._hook = hook
        if hook is None:
            self._waiting.clear()
            if self._task:
                self._task.cancel()
            self._task = None
        elif self._task is None:
            self._task = asyncio.create_task(self._post_all())

    def tell(self, mail: Mail) -> None:
        """Post the events of a mail that was just accepted, if anybody wants them."""
        hook = self._hook
        if hook is None:
            return
        for event in events_of(mail):
            if hook.only is not None and event["event"] not in hook.only:
                continue
            if hook.loss and self._random.random() < hook.loss:
                self._counts["lost"] += 1
                continue
            for _ in range(hook.times):
                self._push(time.monotonic() + hook.delay + self._random.uniform(0, hook.reorder), event)
        self._more.set()

    def _push(self, due: float, event: Event) -> None:
        heapq.heappush(self._waiting, (due, next(self._numbers), event))

    async def _post_all(self) -> None:
        wait = FIRST_WAIT
        while hook := await self._gathered():
            events = self._due(hook.most)
            body = msgspec.json.encode(events) + b"\r\n"
            if await self._post(hook.url, body):
                self._counts["posts"] += 1
                self._counts["events"] += len(events)
                wait = FIRST_WAIT
            else:
                self._counts["failed"] += 1
                for event in events:
                    self._push(time.monotonic() + wait, event)
                await asyncio.sleep(wait)
                wait = min(LAST_WAIT, wait * 2)

    async def _gathered(self) -> Hook | None:
        """Wait until an event is due, and for more. Returns the hook, which may be another one by then."""
        while not self._waiting or self._waiting[0][0] > time.monotonic():
            self._more.clear()
            pause = self._waiting[0][0] - time.monotonic() if self._waiting else None
            try:
                await asyncio.wait_for(self._more.wait(), pause)
            except TimeoutError:
                continue
        if self._hook:
            await asyncio.sleep(self._hook.gather)
        return self._hook

    def _due(self, most: int) -> list[Event]:
        """All that are due, at most so many."""
        now = time.monotonic()
        events: list[Event] = []
        while self._waiting and self._waiting[0][0] <= now and len(events) < most:
            events.append(heapq.heappop(self._waiting)[2])
        return events

    async def _post(self, url: str, body: bytes) -> bool:
        """Whether it was answered with 2xx."""
        timestamp = str(int(time.time()))
        signature = base64.b64encode(self._key.sign(timestamp.encode() + body, ECDSA(SHA256()))).decode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "SendGrid Event API",
            "X-Twilio-Email-Event-Webhook-Signature": signature,
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        }
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                status = await _exchange(url, headers, body)
        except (OSError, TimeoutError, ValueError) as error:
            _log.warning("the webhook was not reached: %s", error)
            return False
        return 200 <= status < 300


async def _exchange(url: str, headers: dict[str, str], body: bytes) -> int:
    """Post `body` on a connection of its own; the status of the answer. Raises `OSError`, `ValueError`."""
    parts = urlsplit(url)
    assert parts.hostname
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = {"Host": f"{parts.hostname}:{port}", **headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=is_tls or None)
    try:
        writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        await writer.drain()
        return int((await reader.readline()).split()[1])
    except IndexError:
        raise ValueError("no HTTP answer") from None
    finally:
        writer.close()
