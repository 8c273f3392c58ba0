"""A Flask app, made by a factory, with a route for each of Postroom's errors; mail is enqueued when it is imported."""

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, jsonify, request

from producers import QueueFull
from producers.flask import Postroom, answer_errors
from tests.mails import mail, mails

postroom = Postroom()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    app.config.update(config or {})
    postroom.init_app(app)
    answer_errors(app)
    app.post("/mails")(send)
    app.post("/batches")(send_all)
    app.get("/mails/<id>")(show)
    app.get("/batches/<id>/progress")(progress)
    app.get("/full")(full)
    app.get("/bug")(bug)
    return app


def send() -> Any:
    return {"id": postroom.enqueue(request.get_json(), key=request.args.get("key")), "process": os.getpid()}


def send_all() -> Any:
    bodies = list(mails(request.args.get("count", 1, int)))
    if "bad" in request.args:
        bodies[int(request.args["bad"])] = mail("nobody")
    return {"id": postroom.enqueue_batch(bodies).id}


def show(id: str) -> Any:
    return jsonify(state=postroom.status(id).state)


def progress(id: str) -> Response:
    return postroom.stream_progress(id, lasts=request.args.get("lasts", 25, float))


def full() -> None:
    raise QueueFull("Redis has 3 bytes left")


def bug() -> None:
    raise ZeroDivisionError


app = create_app()
with app.app_context():
    postroom.enqueue(mail("import@example.com"), key="import")
