"""A batch and its live progress with Flask. Run it with `flask --app flask_progress run`, and open its page."""

from pathlib import Path

from flask import Flask, request, send_file

from producers.flask import Postroom, answer_errors

app = Flask(__name__)
postroom = Postroom(app)
answer_errors(app)


def letter(number):
    return {
        "personalizations": [{"to": [{"email": f"reader{number}@example.com"}]}],
        "from": {"email": "news@example.com"},
        "subject": f"News for reader {number}",
        "content": [{"type": "text/plain", "value": "There are some."}],
    }


@app.get("/")
def page():
    return send_file(Path(__file__).with_name("progress.html"))


@app.post("/newsletter")
def send():
    batch = postroom.enqueue_batch(letter(number) for number in range(request.args.get("readers", 1000, int)))
    return {"id": batch.id}, 202


@app.get("/newsletter/<id>/progress")
def progress(id):
    return postroom.stream_progress(id)
