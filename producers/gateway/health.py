"""Health: whether the gateway is alive, and whether it can take mail. Nobody needs a key to ask."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from producers.gateway.answers import json
from producers.gateway.keyring import KeyRing


class Alive(msgspec.Struct, frozen=True):
    """It answers."""

    alive: bool = True


class Ready(msgspec.Struct, frozen=True):
    """Whether Redis answers."""

    redis: bool


def routes(keys: KeyRing) -> list[Route]:
    async def alive(_request: Request) -> Response:
        return json(200, Alive()).response()

    async def ready(_request: Request) -> Response:
        is_there = await keys.is_there()
        return json(200 if is_there else 503, Ready(is_there)).response()

    return [Route("/healthz", alive, methods=["GET"]), Route("/readyz", ready, methods=["GET"])]
