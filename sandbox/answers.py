"""Answer: one reply of the v3 API, with the error JSON that SendGrid sends."""

import http
from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.types import Send

Headers = tuple[tuple[bytes, bytes], ...]
_JSON: Headers = ((b"content-type", b"application/json"),)
_HTML: Headers = ((b"content-type", b"text/html"),)


class Answer(msgspec.Struct, frozen=True):
    """A status, a body and the headers beside Content-Length."""

    status: int
    body: bytes = b""
    headers: Headers = ()

    async def send(self, send: Send) -> None:
        headers = list(self.headers)
        if self.status != 204:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.answer = answer


def error(message: str, field: str | None = None, help: str | None = None) -> dict[str, Any]:
    """One entry of SendGrid's `errors`."""
    return {"message": message, "field": field, "help": help}


def refusal(status: int, message: str, headers: Headers = ()) -> Answer:
    """SendGrid's answer to a request that it refuses as a whole, e.g. for its key."""
    return errors(status, [error(message)], headers)


def errors(status: int, entries: Iterable[dict[str, Any]], headers: Headers = ()) -> Answer:
    """`{"errors": [{"message", "field", "help"}, …]}`."""
    return Answer(status, msgspec.json.encode({"errors": list(entries)}), _JSON + headers)


def json(status: int, value: object) -> Answer:
    """`value` as JSON."""
    return Answer(status, msgspec.json.encode(value), _JSON)


def page(status: int) -> Answer:
    """The page of the proxy in front of SendGrid, which answers when SendGrid itself does not."""
    title = f"{status} {http.HTTPStatus(status).phrase}"
    html = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, html.encode(), _HTML)
