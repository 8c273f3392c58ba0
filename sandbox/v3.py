"""The v3 API beside `mail/send`: batch ids and scheduled sends."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.answers import Answer, Refused, refusal
from sandbox.keys import Keys
from sandbox.schedule import Schedule

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(keys: Keys, schedule: Schedule) -> list[Route]:
    """The routes, each behind the check of the key."""

    def route(path: str, method: str, answer: Callable[[str, bytes], Answer]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                keys.check(dict(request.scope["headers"]))
                return response(answer(request.path_params.get("batch_id", ""), await request.body()))
            except Refused as refused:
                return response(refused.answer)

        return Route(path, endpoint, methods=[method])

    sends, one = "/v3/user/scheduled_sends", "/v3/user/scheduled_sends/{batch_id}"
    return [
        route("/v3/mail/batch", "POST", lambda _id, _body: schedule.new_batch()),
        route("/v3/mail/batch/{batch_id}", "GET", lambda batch_id, _body: schedule.batch(batch_id)),
        route(sends, "GET", lambda _id, _body: schedule.stopped()),
        route(sends, "POST", lambda _id, body: schedule.stop(body)),
        route(one, "GET", lambda batch_id, _body: schedule.stopped(batch_id)),
        route(one, "PATCH", schedule.change),
        route(one, "DELETE", lambda batch_id, _body: schedule.resume(batch_id)),
    ]


async def no_such_thing(request: Request, error: Exception) -> Response:
    """What an unknown path or method gets: SendGrid's JSON within its API, else a line of text."""
    assert isinstance(error, HTTPException)
    if request.url.path.startswith("/v3/"):
        return response(refusal(error.status_code, "method not allowed" if error.status_code == 405 else "not found"))
    return PlainTextResponse(error.detail, error.status_code, error.headers)


def response(answer: Answer) -> Response:
    """An answer, as Starlette sends it."""
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, headers)
