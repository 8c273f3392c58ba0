"""Postroom's transport alone: ready bytes posted in windows, no queue and no ledger. What libcurl's safe use costs."""

import json
from collections.abc import Sequence
from math import inf
from typing import Any

from postroom.names import Lane
from postroom.settings import Settings
from worker.endpoint import Endpoint
from worker.transport import Request, Transport

settings = Settings.from_environment()
transport = Transport(
    Endpoint.of(settings, Lane.BULK),
    request_deadline=settings.request_deadline,
    connections=settings.window,
)


def prepare(mails: Sequence[dict[str, Any]]) -> list[bytes]:
    """Ready bytes; this is not measured."""
    return [json.dumps(mail).encode() for mail in mails]


def enqueue_all(bodies: Sequence[bytes]) -> None:
    for start in range(0, len(bodies), settings.window):
        window = bodies[start : start + settings.window]
        for group in transport.post(Request(None, body, 1, inf) for body in window):
            for _, reply in group:
                assert reply.status == 202, reply
