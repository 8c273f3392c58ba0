"""Mail from FastAPI. Run it with `uvicorn fastapi_app:app`."""

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from producers import AsyncPostroom, InvalidMail, QueueUnavailable, UnknownId

app = FastAPI()
postroom = AsyncPostroom()


class Welcome(BaseModel):
    address: str


@app.post("/welcome", status_code=202)
async def welcome(wanted: Welcome):
    mail = {
        "personalizations": [{"to": [{"email": wanted.address}]}],
        "from": {"email": "hello@example.com"},
        "subject": "Welcome",
        "content": [{"type": "text/plain", "value": "It is good to have you here."}],
    }
    try:
        # With a key it is one mail for each address, however often it is asked for.
        return {"id": await postroom.enqueue(mail, key=f"welcome {wanted.address}")}
    except InvalidMail as error:
        raise HTTPException(422, str(error)) from None
    except QueueUnavailable:
        raise HTTPException(503, "No mail can be sent right now. Please try again.") from None


@app.get("/mails/{id}")
async def show(id: str):
    try:
        return {"id": id, "state": (await postroom.status(id)).state}
    except UnknownId as error:
        raise HTTPException(404, str(error)) from None
