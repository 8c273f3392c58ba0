"""Starlette's door: one `AsyncPostroom` for the life of an app, answers to its errors, and live progress.

    app = Starlette(lifespan=postroom_lifespan, routes=[...])
    answer_errors(app)

FastAPI's door, `producers.fastapi`, is the same with a dependency.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from postroom.errors import PostroomError
from postroom.settings import Settings
from producers.async_client import AsyncPostroom
from producers.web.refusal import ANSWERED, refusal_of
from producers.web.telling import HEADERS, LAST_ID, LASTS
from producers.web.watching import AsyncWatching

__all__ = ["answer_errors", "postroom_lifespan", "postroom_of", "stream_progress"]


@asynccontextmanager
async def postroom_lifespan(_app: Starlette, settings: Settings | None = None) -> AsyncIterator[dict[str, Any]]:
    """An `AsyncPostroom` for the life of an app: `lifespan=postroom_lifespan`. It starts also while Redis is away.

    `settings` defaults to what the environment says. In a lifespan of the app's own:

        async with postroom_lifespan(app) as state:
            yield {**state, "database": database}
    """
    async with AsyncPostroom(settings) as postroom:
        yield {"postroom": postroom, "postroom_watching": AsyncWatching(postroom)}


def postroom_of(connection: HTTPConnection) -> AsyncPostroom:
    """The app's client, in a request or a WebSocket of it; also in an app that is mounted on it."""
    postroom: AsyncPostroom = _of_lifespan(connection, "postroom")
    return postroom


async def stream_progress(request: Request, batch_id: str, *, lasts: float = LASTS) -> Response:
    """A batch's progress as server-sent events, until it is complete; `producers.web.telling` lists them.

    The stream ends after `lasts` seconds at the latest, and an `EventSource` goes on with another one by itself.
    Raises `UnknownId` and `QueueUnavailable` before it begins.
    """
    if request.headers.get("last-event-id") == LAST_ID:
        return Response(status_code=204)
    watching: AsyncWatching = _of_lifespan(request, "postroom_watching")
    return StreamingResponse(await watching.stream(batch_id, lasts=lasts), headers=HEADERS)


def answer_errors(app: Starlette) -> None:
    """Have Postroom's errors answered with what they are: 404, 409, 422, or 503 with `Retry-After`, in JSON."""
    for error in ANSWERED:
        app.add_exception_handler(error, _answer)


async def _answer(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PostroomError)
    refusal = refusal_of(error)
    return JSONResponse(refusal.document, refusal.status, refusal.headers)


def _of_lifespan(connection: HTTPConnection, name: str) -> Any:
    try:
        return getattr(connection.state, name)
    except AttributeError:
        raise RuntimeError(
            "Postroom is not open: the app needs `lifespan=postroom_lifespan`, or a lifespan that yields what this one "
            "does; and a test needs `with TestClient(app) as client`"
        ) from None
