"""FastAPI's door: one `AsyncPostroom` for the life of an app, answers to its errors, and live progress.

    app = FastAPI(lifespan=postroom_lifespan)
    answer_errors(app)

    @app.post("/welcome")
    async def welcome(postroom: PostroomDep):
        return {"id": await postroom.enqueue(mail)}

It is Starlette's door, with a dependency.
"""

from typing import Annotated

from fastapi import Depends

from producers.async_client import AsyncPostroom
from producers.starlette import answer_errors, postroom_lifespan, postroom_of, stream_progress

__all__ = ["PostroomDep", "answer_errors", "postroom_lifespan", "postroom_of", "stream_progress"]

#: The app's client, as a parameter of an `async def` route or of another dependency.
PostroomDep = Annotated[AsyncPostroom, Depends(postroom_of)]
