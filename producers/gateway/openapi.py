"""OpenAPI: what the gateway understands and answers, as a document for programs.

What it answers is described by the types that it answers with; a mail (`mail.json`) as SendGrid's own document of
mail/send describes it, in short.
"""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

import msgspec

from postroom.answers import MailStatus
from postroom.names import OnDoubt
from producers.gateway.answers import Errors
from producers.gateway.batches import BatchReport, Taken
from producers.gateway.door import KEY_LENGTH
from producers.gateway.health import Alive, Ready
from producers.results import Cancellation, Progress
from producers.webhook import SIGNATURE, TIMESTAMP

ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body give the same id, and one mail or batch. Another body under it is a 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
OPTIONS = [
    {
        "name": "expires_in",
        "in": "query",
        "description": "Seconds; later it is not sent any more.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 316224000},
    },
    {
        "name": "send_at",
        "in": "query",
        "description": "Unix seconds; not before.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100000000000},
    },
    {
        "name": "on_doubt",
        "in": "query",
        "description": "What to do when SendGrid may or may not have accepted a mail.",
        "schema": {"type": "string", "enum": [*map(str, OnDoubt)]},
    },
]

REFUSALS = {
    400: "The request is wrong: SendGrid's errors, with the paths of fields.",
    401: "No key, or one that is unknown, expired or revoked.",
    403: "The From address is not of a domain that the key may send from.",
    404: "There is no mail or batch of this id.",
    408: "The request was not complete in time.",
    409: "The Idempotency-Key was used for something else.",
    413: "The mail is too large.",
    415: "The type or the coding of the body is none that is understood.",
    503: "Redis did not answer, or is short of memory. Retry-After says when to try again.",
}


@cache
def document() -> dict[str, Any]:
    """The document, of OpenAPI 3.1."""
    answered = [MailStatus, Progress, BatchReport, Taken, Cancellation, Errors, Alive, Ready]
    _, schemas = msgspec.json.schema_components(answered, ref_template="#/components/schemas/{name}")
    mail = msgspec.json.decode((files(__package__) / "mail.json").read_bytes())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postroom",
            "version": _version(),
            "description": "Mail in the background: SendGrid's mail/send, answered once the mail is queued, and calls "
            "of Postroom's own. Any SDK of SendGrid's sends through it, with this address in place of "
            "https://api.sendgrid.com and a token of `postroom keys add` in place of SendGrid's key. A body may be "
            "zipped (Content-Encoding: gzip).",
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted({**mail, **schemas}.items())),
        },
    }


def _paths() -> dict[str, Any]:
    mail = {"required": True, "content": {"application/json": {"schema": _ref("Mail")}}}
    lines = {
        "required": True,
        "description": "A mail in JSON on each line. It is read as it comes, so it may have any length.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
    queued = {
        "description": "The mail is queued.",
        "headers": {"X-Message-Id": {"description": "Its id.", "required": True, "schema": {"type": "string"}}},
        "links": _links("$response.header.X-Message-Id", "status", "cancel"),
    }
    batch = _json(202, Taken)
    batch[202]["links"] = _links("$response.body#/batch_id", "progress", "report", "cancelBatch")
    return {
        "/v3/mail/send": {
            "post": _operation(
                "send",
                "Queue one mail, as SendGrid takes it",
                {202: queued},
                (400, 401, 403, 408, 409, 413, 415, 503),
                parameters=[IDEMPOTENCY_KEY],
                body=mail,
            )
        },
        "/v1/mails/{id}": {
            "get": _operation("status", "Where a mail stands", _json(200, MailStatus), (401, 404, 503), parameters=[ID])
        },
        "/v1/mails/{id}/cancel": {
            "post": _operation("cancel", "Cancel a mail", _json(200, Cancellation), (401, 404, 503), parameters=[ID])
        },
        "/v1/batches": {
            "post": _operation(
                "sendBatch",
                "Queue many mails as one batch: all of them, or none",
                batch,
                (400, 401, 403, 408, 409, 413, 415, 503),
                parameters=[IDEMPOTENCY_KEY, *OPTIONS],
                body=lines,
            )
        },
        "/v1/batches/{id}": {
            "get": _operation("progress", "How far a batch is", _json(200, Progress), (401, 404, 503), parameters=[ID])
        },
        "/v1/batches/{id}/report": {
            "get": _operation(
                "report", "What became of a batch", _json(200, BatchReport), (401, 404, 503), parameters=[ID]
            )
        },
        "/v1/batches/{id}/cancel": {
            "post": _operation(
                "cancelBatch",
                "Cancel what is left of a batch",
                _json(200, Cancellation),
                (401, 404, 503),
                parameters=[ID],
            )
        },
        "/webhooks/sendgrid": {"post": _webhook()},
        "/healthz": {"get": _operation("alive", "Whether the gateway is alive", _json(200, Alive), (), is_open=True)},
        "/readyz": {
            "get": _operation(
                "ready",
                "Whether it can take mail: Redis answers",
                {**_json(200, Ready), **_json(503, Ready)},
                (),
                is_open=True,
            )
        },
    }


def _webhook() -> dict[str, Any]:
    events = {"type": "array", "items": {"type": "object"}}
    refused = {"type": "object", "properties": {"reason": {"type": "string"}, "help": {"type": "string"}}}
    operation = _operation(
        "takeEvents",
        "What SendGrid's signed Event Webhook posts",
        {204: {"description": "All of it is taken."}},
        (),
        parameters=[
            {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
            for name in (SIGNATURE, TIMESTAMP)
        ],
        body={"required": True, "content": {"application/json": {"schema": events}}},
        is_open=True,
    )
    refusals = {400: "No events.", 403: "Not signed by SendGrid.", 413: "Too large.", 503: "To be posted again."}
    for status, description in refusals.items():
        content = {"application/json": {"schema": refused}}
        operation["responses"][str(status)] = {"description": description, "content": content}
    return operation


def _operation(
    id: str,
    summary: str,
    answers: dict[int, Any],
    refusals: tuple[int, ...],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    is_open: bool = False,
) -> dict[str, Any]:
    refused = {status: {"description": REFUSALS[status], "content": _content("Errors")} for status in refusals}
    operation: dict[str, Any] = {
        "operationId": id,
        "summary": summary,
        "responses": {str(status): answer for status, answer in (answers | refused).items()},
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = body
    if is_open:
        operation["security"] = []
    return operation


def _links(id: str, *operations: str) -> dict[str, Any]:
    """What may be asked next, about what has been queued."""
    return {name: {"operationId": name, "parameters": {"id": id}} for name in operations}


def _json(status: int, type: type[msgspec.Struct]) -> dict[int, Any]:
    summary = (type.__doc__ or "").partition("\n")[0]
    return {status: {"description": summary, "content": _content(type.__name__)}}


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _version() -> str:
    try:
        return version("postroom")
    except PackageNotFoundError:
        return "0"
