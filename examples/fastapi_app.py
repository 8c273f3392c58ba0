"""Mail from FastAPI. Run it with `uvicorn fastapi_app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel

from producers.fastapi import PostroomDep, answer_errors, postroom_lifespan

app = FastAPI(lifespan=postroom_lifespan)
answer_errors(app)


class Welcome(BaseModel):
    address: str


@app.post("/welcome", status_code=202)
async def welcome(wanted: Welcome, postroom: PostroomDep):
    mail = {
        "personalizations": [{"to": [{"email": wanted.address}]}],
        "from": {"email": "hello@example.com"},
        "subject": "Welcome",
        "content": [{"type": "text/plain", "value": "It is good to have you here."}],
    }
    # With a key it is one mail for each address, however often it is asked for.
    return {"id": await postroom.enqueue(mail, key=f"welcome {wanted.address}")}


@app.get("/mails/{id}")
async def show(id: str, postroom: PostroomDep):
    return {"id": id, "state": (await postroom.status(id)).state}
