"""Answer: one reply of the gateway; errors in the JSON that SendGrid sends."""

from collections.abc import Iterable

import msgspec
from starlette.responses import Response
from starlette.types import Send

from postroom.errors import Fault
from postroom.mail import help_of

JSON = (b"content-type", b"application/json")

Headers = tuple[tuple[bytes, bytes], ...]


class Answer(msgspec.Struct, frozen=True):
    """A status, a body, and the headers beside Content-Length."""

    status: int
    body: bytes = b""
    headers: Headers = ()

    async def send(self, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(self.body)), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})

    def response(self) -> Response:
        """The same for Starlette."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        return Response(self.body, self.status, headers)


class Refused(Exception):
    """The request is answered with an error. `reason` is a word for the journal."""

    def __init__(self, answer: Answer, reason: str) -> None:
        super().__init__(answer, reason)
        self.answer = answer
        self.reason = reason


class Error(msgspec.Struct, frozen=True):
    """One entry of SendGrid's `errors`.

    `field` is the path of a field of the mail, or the name of a header or an option. `help` is an address at SendGrid,
    or what to do. `row` is the place of the mail in its batch.
    """

    message: str
    field: str | None = None
    help: str | None = None
    row: int | msgspec.UnsetType = msgspec.UNSET


class Errors(msgspec.Struct, frozen=True):
    errors: list[Error]


def json(status: int, value: object) -> Answer:
    return Answer(status, msgspec.json.encode(value), (JSON,))


def errors(status: int, found: Iterable[Error], headers: Headers = ()) -> Answer:
    """`{"errors": [{"message", "field", "help"}, …]}`."""
    return Answer(status, msgspec.json.encode(Errors(list(found))), (JSON, *headers))


def error(status: int, message: str, help: str, *, field: str | None = None, headers: Headers = ()) -> Answer:
    """One error; `help` says what to do."""
    return errors(status, [Error(message, field, help)], headers)


def refused(
    status: int, reason: str, message: str, help: str, *, field: str | None = None, headers: Headers = ()
) -> Refused:
    """The same as an exception."""
    return Refused(error(status, message, help, field=field, headers=headers), reason)


def faults(found: Iterable[Fault], row: int | None = None) -> Answer:
    """The faults of a mail, as SendGrid answers them; `row` is the mail's place in a batch."""
    place = msgspec.UNSET if row is None else row
    listed = [Error(fault.message, fault.field or None, help_of(fault.field, fault.message), place) for fault in found]
    return errors(415 if listed[0].message == "Invalid UTF8 in request" else 400, listed)
