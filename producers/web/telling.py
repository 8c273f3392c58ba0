"""Telling: what those who watch a batch are told, as server-sent events. Pure: no clock, no I/O.

| event | data | |
| --- | --- | --- |
| `progress` | the batch's counts, a JSON object | at once, and when they have changed |
| `away` | `{"detail": …}` | Redis does not answer; `progress` goes on when it does |
| `complete` | the counts | every mail is finished, and the stream ends |
| `gone` | `{"detail": …}` | the batch is not known any more, and the stream ends |

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from postroom.errors import QueueUnavailable, UnknownId
from producers.results import Progress
from producers.web.refusal import AWAY

#: A stream without news has a sign of life so often (seconds): proxies cut what is silent, most of them after 60 s, and
#: that a client has left shows only when something is written to it.
HEARTBEAT = 5.0
#: A stream ends after so long (seconds), and an `EventSource` opens another one by itself. So no server waits for
#: longer when it is to end, and Gunicorn, which kills a silent worker after 30 s, has no reason to.
LASTS = 25.0
#: An `EventSource` comes back after so long (milliseconds).
COMES_BACK = 1000
#: The id of the last event. An `EventSource` that comes back with it has nothing more to hear: 204 tells it so.
LAST_ID = "complete"

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # nginx would collect the events otherwise.
    "X-Accel-Buffering": "no",
}

_OPENING = f"retry: {COMES_BACK}\n\n".encode()
_SIGN_OF_LIFE = b":\n\n"


class Event(StrEnum):
    PROGRESS = "progress"
    AWAY = "away"
    COMPLETE = "complete"
    GONE = "gone"


#: What a look at a batch may come to.
Seen = Progress | UnknownId | QueueUnavailable

LAST = (Event.COMPLETE, Event.GONE)


class Sight(NamedTuple):
    """What a look at a batch has shown, and its text for all who watch."""

    event: Event
    text: bytes
    detail: str = ""


def document(progress: Progress) -> dict[str, Any]:
    """A batch's counts as a JSON object."""
    sums = {"finished": progress.finished, "failed": progress.failed, "is_final": progress.is_final}
    return {**msgspec.to_builtins(progress), **sums}


def sight_of(seen: Seen) -> Sight:
    match seen:
        case UnknownId():
            return Sight(Event.GONE, _text(Event.GONE, {"detail": str(seen)}))
        case QueueUnavailable():
            return Sight(Event.AWAY, _text(Event.AWAY, {"detail": AWAY}), seen.detail)
        case Progress(is_final=True):
            return Sight(Event.COMPLETE, f"id: {LAST_ID}\n".encode() + _text(Event.COMPLETE, document(seen)))
        case Progress():
            return Sight(Event.PROGRESS, _text(Event.PROGRESS, document(seen)))


def _text(event: Event, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(data))


class Telling:
    """What one stream says, from look to look. `now` is in seconds, of any clock that does not go back."""

    def __init__(self, now: float, *, lasts: float = LASTS, heartbeat: float = HEARTBEAT) -> None:
        self._ends_at = now + lasts
        self._heartbeat = heartbeat
        self._told_at = now
        self._last = b""
        self.ended = False

    def tell(self, sight: Sight, now: float) -> bytes:
        """What to say now, maybe nothing. Once `ended`, it was the last."""
        news = sight.text if sight.text != self._last else b""
        if not news and now - self._told_at >= self._heartbeat:
            news = _SIGN_OF_LIFE
        said = news if self._last else _OPENING + news
        if said:
            self._told_at = now
        self._last = sight.text
        self.ended = sight.event in LAST or now >= self._ends_at
        return said
