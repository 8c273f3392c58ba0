"""Pages: the OpenAPI document, and the same for people: one page that needs nothing from elsewhere."""

from html import escape
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from producers.gateway.answers import json
from producers.gateway.openapi import document

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; } code, pre, .method { font-family: ui-monospace, monospace; }
.method { display: inline-block; min-width: 4rem; } pre { overflow: auto; padding: 1rem; border: 1px solid #8886; }
table { border-collapse: collapse; } td { padding: .2rem 1rem .2rem 0; vertical-align: top; }
:root { color-scheme: light dark; }
"""


def routes() -> list[Route]:
    described = json(200, document())
    page = _page(document())

    async def as_document(_request: Request) -> Response:
        return described.response()

    async def as_page(_request: Request) -> Response:
        return HTMLResponse(page, headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    return [Route("/openapi.json", as_document, methods=["GET"]), Route("/docs", as_page, methods=["GET"])]


def _page(described: dict[str, Any]) -> str:
    calls = [
        _call(path, method, operation)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    schemas = [_schema(name, schema) for name, schema in described["components"]["schemas"].items()]
    info = described["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        "<p>For programs: <a href=openapi.json>openapi.json</a>. Every call of /v3 and /v1 needs the header "
        "<code>Authorization: Bearer TOKEN</code>.</p>"
        f"{''.join(calls)}<h1>What goes to and fro</h1>{''.join(schemas)}</html>"
    )


def _call(path: str, method: str, operation: dict[str, Any]) -> str:
    given = [(each["name"], f"{each['in']}. {each.get('description', '')}") for each in operation.get("parameters", [])]
    for type, content in operation.get("requestBody", {}).get("content", {}).items():
        given.append(("body", f"{type} {_name(content['schema'])}. {operation['requestBody'].get('description', '')}"))
    answers = [(status, _answer(answer)) for status, answer in operation["responses"].items()]
    return (
        f"<h2><span class=method>{method.upper()}</span> <code>{escape(path)}</code></h2>"
        f"<p>{escape(operation['summary'])}.</p>{_table(given)}{_table(answers)}"
    )


def _answer(answer: dict[str, Any]) -> str:
    contents = [_name(content["schema"]) for content in answer.get("content", {}).values()]
    headers = [f"{name}: {header['description']}" for name, header in answer.get("headers", {}).items()]
    return " ".join([answer["description"], *contents, *headers])


def _name(schema: dict[str, Any]) -> str:
    return f"({schema['$ref'].rpartition('/')[2]})" if "$ref" in schema else ""


def _table(rows: list[tuple[str, str]]) -> str:
    cells = (f"<tr><td><code>{escape(name)}</code><td>{escape(text)}" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return (
        f"<details id={escape(name)}><summary><code>{escape(name)}</code></summary><pre>{escape(text)}</pre></details>"
    )
