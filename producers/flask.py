"""Flask's door: an extension with one `Postroom` for each app, answers to its errors, and live progress.

    postroom = Postroom()

    def create_app():
        app = Flask(__name__)
        postroom.init_app(app)
        answer_errors(app)
        return app

A view then calls `postroom.enqueue(mail)`.
"""

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from flask import Flask, Response, current_app, jsonify, request

from postroom.errors import ConfigurationError, PostroomError
from postroom.settings import Settings, variable_of
from producers.client import Postroom as Client
from producers.web.refusal import ANSWERED, refusal_of
from producers.web.telling import HEADERS, LAST_ID, LASTS
from producers.web.watching import Watching

__all__ = ["Postroom", "answer_errors"]

#: The settings by their names in the environment and in an app's `config`.
NAMES = {variable_of(name): name for name in Settings.__struct_fields__}

# A type checker sees all the calls of the client; `__getattr__` has them.
if TYPE_CHECKING:
    _Calls = Client
else:
    _Calls = object


class _Open(NamedTuple):
    """What an app has of Postroom."""

    client: Client
    watching: Watching


class Postroom(_Calls):
    """The extension. It has the calls of `producers.Postroom`, and makes them with the client of the current app.

    An app's settings are those of the environment, and before them those in its `config`, under the same names:
    `POSTROOM_REDIS_URL` and so on; None and "" count as not there. A client is closed when its app is gone, or the
    process ends.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an app a client. Raises `ConfigurationError`, which names the setting."""
        client = Client(_settings(app))
        app.extensions["postroom"] = _Open(client, Watching(client))
        weakref.finalize(app, client.close)

    @property
    def client(self) -> Client:
        """The current app's client, also for threads that have no app."""
        return _of_current_app().client

    def stream_progress(self, batch_id: str, *, lasts: float = LASTS) -> Response:
        """A batch's progress as server-sent events, until it is complete; `producers.web.telling` lists them.

        The stream ends after `lasts` seconds at the latest, and an `EventSource` goes on with another one by itself.
        Meanwhile it takes a thread of the server. Raises `UnknownId` and `QueueUnavailable` before it begins.
        """
        if request.headers.get("Last-Event-ID") == LAST_ID:
            return Response(status=204)
        return Response(_of_current_app().watching.stream(batch_id, lasts=lasts), headers=HEADERS)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self.client, name)


def answer_errors(app: Flask) -> None:
    """Have Postroom's errors answered with what they are: 404, 409, 422, or 503 with `Retry-After`, in JSON."""
    for error in ANSWERED:
        app.register_error_handler(error, _answer)


def _answer(error: PostroomError) -> tuple[Response, int, dict[str, str]]:
    refusal = refusal_of(error)
    return jsonify(refusal.document), refusal.status, refusal.headers


def _of_current_app() -> _Open:
    try:
        found: _Open = current_app.extensions["postroom"]
    except KeyError:
        raise RuntimeError(f"the app {current_app.name} has no Postroom: call `postroom.init_app(app)`") from None
    return found


def _settings(app: Flask) -> Settings:
    """The environment's, and before them the app's own."""
    own = {name: value for name, value in app.config.items() if name.startswith("POSTROOM_")}
    strangers = sorted(own.keys() - NAMES.keys())
    if strangers:
        raise ConfigurationError(f"{strangers[0]}, in the app's config, is not a setting of Postroom")
    given = {NAMES[variable]: value for variable, value in own.items() if value not in (None, "")}
    return Settings.of(**msgspec.structs.asdict(Settings.from_environment()) | given)
