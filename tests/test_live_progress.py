"""Live progress: what a stream says, and when; and that watching neither floods Redis nor holds an event loop."""

import asyncio
from contextlib import aclosing

import pytest

from postroom.errors import QueueUnavailable, UnknownId
from postroom.settings import Settings
from producers import AsyncPostroom, Postroom
from producers.results import Progress
from producers.web.telling import HEARTBEAT, LASTS, Sight, Telling, sight_of
from producers.web.watching import MOST_BATCHES, AsyncWatching, Watching, _Glances
from tests.mails import mails
from tests.servers import RedisServer
from tests.ticker import ticking
from tests.web import Event, events_of, looks


def batch(accepted: int = 0, rejected: int = 0, final_at: float | None = None) -> Progress:
    """One of ten mails."""
    counts = dict.fromkeys(("sending", "in_doubt", "exhausted", "expired", "cancelled", "unresolved"), 0)
    counts |= {"queued": 10 - accepted - rejected, "accepted": accepted, "rejected": rejected}
    return Progress("a" * 20, 10, **counts, sealed=True, resends=0, extra_copies=0, final_at=final_at)


AWAY = sight_of(QueueUnavailable("", may_be_enqueued=False, detail="Error 111 connecting to 10.0.0.5:6379"))
GONE = sight_of(UnknownId("a" * 20))


def heard(text: bytes) -> list[Event]:
    return list(events_of(iter(text.decode().split("\n"))))


def names(telling: Telling, *sights: tuple[float, Sight]) -> list[list[str]]:
    """What is heard at each look: at which time, and what it has shown."""
    return [[event.name for event in heard(telling.tell(sight, now))] for now, sight in sights]


def test_a_stream_begins_with_when_to_come_back_and_where_the_batch_stands() -> None:
    said = Telling(0).tell(sight_of(batch(accepted=3, rejected=1)), 0)
    assert said.startswith(b"retry: 1000\n\nevent: progress\ndata: {")
    (event,) = heard(said)
    assert event.id is None
    assert {name: event.data[name] for name in ("total", "queued", "accepted", "rejected")} == {
        "total": 10,
        "queued": 6,
        "accepted": 3,
        "rejected": 1,
    }
    assert (event.data["finished"], event.data["failed"], event.data["is_final"]) == (4, 1, False)


def test_what_has_not_changed_is_not_told_again_but_the_stream_gives_signs_of_life() -> None:
    same = sight_of(batch(accepted=3))
    looks = [(0, same), (1, same), (HEARTBEAT, same), (HEARTBEAT + 1, same), (2 * HEARTBEAT, same)]
    assert names(Telling(0), *looks) == [["progress"], [], [""], [], [""]]
    assert names(Telling(0), (0, same), (1, sight_of(batch(accepted=4)))) == [["progress"], ["progress"]]


def test_a_complete_batch_ends_the_stream() -> None:
    telling = Telling(0)
    telling.tell(sight_of(batch()), 0)
    assert not telling.ended
    (event,) = heard(telling.tell(sight_of(batch(accepted=10, final_at=5.0)), 1))
    assert (event.name, event.id, event.data["final_at"], telling.ended) == ("complete", "complete", 5.0, True)


def test_a_redis_that_is_away_is_told_once_and_that_it_is_back_at_once() -> None:
    telling, same = Telling(0), sight_of(batch(accepted=3))
    heard = names(telling, (0, same), (1, AWAY), (2, AWAY), (3, same))
    assert heard == [["progress"], ["away"], [], ["progress"]]
    assert not telling.ended
    assert b"10.0.0.5" not in AWAY.text


def test_a_batch_that_is_gone_ends_the_stream() -> None:
    telling = Telling(0)
    assert names(telling, (0, sight_of(batch())), (1, GONE)) == [["progress"], ["gone"]]
    assert telling.ended


def test_a_stream_has_an_end_before_servers_and_proxies_lose_patience() -> None:
    telling = Telling(100)
    telling.tell(sight_of(batch()), 100)
    telling.tell(sight_of(batch(accepted=1)), 100 + LASTS - 1)
    assert not telling.ended
    telling.tell(sight_of(batch(accepted=2)), 100 + LASTS)
    assert telling.ended
    assert LASTS < 30


def test_only_so_many_batches_are_kept_in_mind() -> None:
    glances = _Glances(lambda: None)
    first = glances.of("first")
    assert glances.of("first") is first
    for number in range(MOST_BATCHES):
        glances.of(str(number))
    assert glances.of("first") is not first


def test_watchers_in_threads_share_a_look_until_it_is_old(redis_server: RedisServer, redis_url: str) -> None:
    now = 0.0
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        id = postroom.enqueue_batch(mails(1)).id
        watching = Watching(postroom, clock=lambda: now)
        before = looks(redis_server)
        for _ in range(10):
            next(watching.stream(id))
        assert looks(redis_server) == before + 1
        now = 0.5
        next(watching.stream(id))
        assert looks(redis_server) == before + 2
        with pytest.raises(UnknownId):
            watching.stream("unknown")


@pytest.mark.alone
async def test_a_hundred_streams_do_not_hold_the_event_loop(redis_server: RedisServer, redis_url: str) -> None:
    async with AsyncPostroom(Settings(redis_url=redis_url)) as postroom:
        id = (await postroom.enqueue_batch(mails(1))).id
        watching = AsyncWatching(postroom)
        streams = [await watching.stream(id, lasts=1.6) for _ in range(100)]
        before = looks(redis_server)
        async with ticking() as holds:
            said = await asyncio.gather(*[anext(stream) for stream in streams])
            ends = await asyncio.gather(*[anext(stream, None) for stream in streams])
        assert max(hold.busy for hold in holds) < 0.010
        assert len(set(said)) == 1
        assert set(ends) == {None}
        assert looks(redis_server) - before <= 6


async def test_a_watcher_who_leaves_in_the_middle_of_a_look_leaves_it_to_the_next(redis_url: str) -> None:
    async with AsyncPostroom(Settings(redis_url=redis_url)) as postroom:
        id = (await postroom.enqueue_batch(mails(1))).id
        watching = AsyncWatching(postroom)
        first, second = (asyncio.create_task(watching.stream(id)) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        async with aclosing(await second) as stream:
            (event,) = heard(await anext(stream))
            assert event.data["batch_id"] == id
        assert first.cancelled()
