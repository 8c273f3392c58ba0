"""A FastAPI app with a lifespan of its own, a mounted app, and a route for each of Postroom's errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from producers import QueueFull
from producers.fastapi import PostroomDep, answer_errors, postroom_lifespan, postroom_of, stream_progress
from tests.mails import mail, mails


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with postroom_lifespan(app) as state:
        yield {**state, "greeting": "hello"}


async def mounted(request: Request) -> Response:
    return JSONResponse({"id": await postroom_of(request).enqueue(mail("mounted@example.com"))})


app = FastAPI(lifespan=lifespan)
answer_errors(app)
app.mount("/mounted", Starlette(routes=[Route("/", mounted)]))


@app.get("/")
async def greet(request: Request) -> Any:
    return request.state.greeting


@app.post("/mails")
async def send(body: dict[str, Any], postroom: PostroomDep, key: str | None = None) -> Any:
    return {"id": await postroom.enqueue(body, key=key)}


@app.post("/batches")
async def send_all(postroom: PostroomDep, count: int = 1, bad: int | None = None) -> Any:
    bodies = list(mails(count))
    if bad is not None:
        bodies[bad] = mail("nobody")
    return {"id": (await postroom.enqueue_batch(bodies)).id}


@app.get("/mails/{id}")
async def show(id: str, postroom: PostroomDep) -> Any:
    return {"state": (await postroom.status(id)).state}


@app.get("/batches/{id}/progress")
async def progress(request: Request, id: str, lasts: float = 25) -> Response:
    return await stream_progress(request, id, lasts=lasts)


@app.get("/full")
async def full() -> None:
    raise QueueFull("Redis has 3 bytes left")


@app.get("/bug")
async def bug() -> None:
    raise ZeroDivisionError
