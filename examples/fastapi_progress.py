"""A batch and its live progress with FastAPI. Run it with `uvicorn fastapi_progress:app`, and open its page."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse

from producers.fastapi import PostroomDep, answer_errors, postroom_lifespan, stream_progress

app = FastAPI(lifespan=postroom_lifespan)
answer_errors(app)


def letter(number):
    return {
        "personalizations": [{"to": [{"email": f"reader{number}@example.com"}]}],
        "from": {"email": "news@example.com"},
        "subject": f"News for reader {number}",
        "content": [{"type": "text/plain", "value": "There are some."}],
    }


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("progress.html"))


@app.post("/newsletter", status_code=202)
async def send(postroom: PostroomDep, readers: int = 1000):
    batch = await postroom.enqueue_batch(letter(number) for number in range(readers))
    return {"id": batch.id}


@app.get("/newsletter/{id}/progress")
async def progress(request: Request, id: str):
    return await stream_progress(request, id)
