"""Application: the gateway as an ASGI app."""

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroom.settings import Settings
from producers.async_client import AsyncPostroom
from producers.gateway import health, pages
from producers.gateway.answers import Refused, refused
from producers.gateway.batches import Batches
from producers.gateway.body import Body
from producers.gateway.door import Door, Endpoint
from producers.gateway.journal import Journal
from producers.gateway.keyring import KeyRing
from producers.gateway.mail_send import MailSend
from producers.gateway.mails import Mails
from producers.webhook.door import MOST_BYTES
from producers.webhook.door import PATH as WEBHOOK
from producers.webhook.door import routes as webhook_routes

MAIL_SEND = "/v3/mail/send"


def application(settings: Settings, journal: Journal, read_seconds: float) -> ASGIApp:
    """The app, for a server of any kind that speaks ASGI. A request must be here within `read_seconds`."""
    postroom, keys = AsyncPostroom(settings), KeyRing(settings)
    door, mail_send = Door(keys, journal, read_seconds), MailSend(postroom)
    own, events = _own_routes(door, mail_send, postroom), webhook_routes(postroom, settings, journal.write)
    others = Starlette(
        routes=[*own, *events, *health.routes(keys), *pages.routes()], exception_handlers=_handlers(journal)
    )
    others.router.redirect_slashes = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Like SendGrid, take `//v3/…` for `/v3/…`: so clients send it whose base URL ends in a slash."""
        if scope["type"] != "http":
            return await others(scope, receive, send)
        scope["path"] = "/" + scope["path"].lstrip("/")
        if scope["path"] == MAIL_SEND and scope["method"] == "POST":
            # Most requests are of this kind, and it is quicker without Starlette's requests and responses.
            return await (await door.answer("mail", scope, receive, mail_send)).send(send)
        if scope["path"] == WEBHOOK:
            receive = _bounded(Body(receive, dict(scope["headers"]), read_seconds), receive)
        return await others(scope, receive, send)

    return app


def _own_routes(door: Door, mail_send: Endpoint, postroom: AsyncPostroom) -> list[Route]:
    mails, batches = Mails(postroom), Batches(postroom)

    def route(path: str, method: str, what: str, endpoint: Endpoint) -> Route:
        async def respond(request: Request) -> Response:
            return (await door.answer(what, request.scope, request.receive, endpoint)).response()

        return Route(path, respond, methods=[method])

    return [
        route(MAIL_SEND, "POST", "mail", mail_send),
        route("/v1/mails/{id}", "GET", "status", mails.status),
        route("/v1/mails/{id}/cancel", "POST", "cancel", mails.cancel),
        route("/v1/batches", "POST", "batch", batches.create),
        route("/v1/batches/{id}", "GET", "progress", batches.progress),
        route("/v1/batches/{id}/report", "GET", "report", batches.report),
        route("/v1/batches/{id}/cancel", "POST", "cancel", batches.cancel),
    ]


def _bounded(body: Body, receive: Receive) -> Receive:
    """For the webhook's endpoint: the body comes at once, unzipped, within its limit and in time."""
    is_read = False

    async def received() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": await body.whole(MOST_BYTES), "more_body": False}

    return received


def _handlers(journal: Journal) -> Any:
    """What is refused before there is an endpoint for it, or while it reads the body."""

    async def respond(_request: Request, error: Exception) -> Response:
        refused = error if isinstance(error, Refused) else _no_such_thing(error)
        journal.write("refused", status=refused.answer.status, reason=refused.reason)
        return refused.answer.response()

    return {HTTPException: respond, Refused: respond}


def _no_such_thing(error: Exception) -> Refused:
    """An unknown path or method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        text, help = "method not allowed", "The header Allow says which methods there are."
    else:
        text, help = "not found", "Of SendGrid's API there is POST /v3/mail/send here; /docs shows the rest."
    headers = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    return refused(error.status_code, "no_such_thing", text, help, headers=headers)
