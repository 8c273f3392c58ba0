"""Pace: a fleet keeps to its limits, changes them while it runs, and lets urgent mail through."""

import time
from collections.abc import Callable

import pytest

from postroom.settings import Settings
from producers import Operator, Postroom, State
from tests.claims import Claims
from tests.command_line import postroom as command
from tests.mails import mail, mails
from tests.servers import SandboxServer, Worker, eventually

StartWorker = Callable[..., Worker]


def test_a_fleet_keeps_to_its_rate(redis_url: str, sandbox_server: SandboxServer, worker_process: StartWorker) -> None:
    for _ in range(2):
        worker_process("--concurrency", "4", POSTROOM_RATE="200/s")
    with Postroom(Settings(redis_url=redis_url)) as postroom, Claims(redis_url) as claims:
        report = postroom.enqueue_batch(mails(800)).wait(60)

    assert report.counts["accepted"] == len(claims.times) == 800
    assert claims.most_in_a_second() <= 200 + 20
    assert max(claims.times) - min(claims.times) >= 780 / 200 - 0.1


def test_a_limit_is_set_while_the_fleet_runs(
    redis_url: str, sandbox_server: SandboxServer, worker_process: StartWorker
) -> None:
    worker_process("--concurrency", "4")
    operator = Operator(Settings(redis_url=redis_url))
    with Postroom(Settings(redis_url=redis_url)) as postroom, operator:
        operator.set_pace("bulk", "20/s")
        batch = postroom.enqueue_batch(mails(2000))
        eventually(lambda: batch.progress().accepted >= 20, describe="the batch is under way")
        assert batch.progress().accepted < 500
        operator.set_pace("bulk", None)
        assert batch.wait(30).counts["accepted"] == 2000


def test_urgent_mail_passes_a_campaign_that_waits_for_its_pace(
    redis_url: str, sandbox_server: SandboxServer, worker_process: StartWorker
) -> None:
    worker_process("--concurrency", "2", POSTROOM_RATE="100/s")
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        batch = postroom.enqueue_batch(mails(1000))
        eventually(lambda: batch.progress().accepted > 0, describe="bulk is under way")
        urgent = [postroom.enqueue(mail(f"urgent{number}@example.com")) for number in range(20)]
        for id in urgent:
            eventually(lambda id=id: postroom.status(id).state == State.ACCEPTED, 5, "urgent mail is sent")
        assert batch.progress().accepted < 900
        batch.cancel()


def test_bulk_gives_way_after_the_window_that_it_is_sending(
    redis_url: str, sandbox_server: SandboxServer, worker_process: StartWorker
) -> None:
    """With one thread, and a turn that has just begun, urgent mail waits for a window of 4 and not for a whole turn."""
    sandbox_server.faults([{"fault": "latency", "latency": 0.2, "match": "reader"}])
    worker_process("--concurrency", "1", POSTROOM_WINDOW="4")
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        batch = postroom.enqueue_batch(mails(400))
        eventually(lambda: batch.progress().accepted > 0, describe="bulk is under way")
        urgent = [postroom.enqueue(mail(f"urgent{number}@example.com")) for number in range(5)]
        eventually(lambda: postroom.status(urgent[-1]).state == State.ACCEPTED, 5, "urgent mail is sent")
        batch.cancel()
    order = [entry["recipients"][0] for entry in sandbox_server.accepted()]
    first = next(place for place, to in enumerate(order) if to.startswith("urgent"))
    assert all(to.startswith("urgent") for to in order[first : first + 5])


def test_after_a_429_no_request_comes_before_the_reset(
    redis_url: str, sandbox_server: SandboxServer, worker_process: StartWorker
) -> None:
    for _ in range(2):
        worker_process("--concurrency", "4", POSTROOM_RATE_BULK="100/s")
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        batch = postroom.enqueue_batch(mails(400))
        eventually(lambda: batch.progress().accepted > 50, describe="bulk is under way")
        sandbox_server.faults([{"fault": "limited", "reset_after": 3.0, "at_most": 1}])
        limited_at = time.time()
        report = batch.wait(60)

    assert report.counts["accepted"] == 400
    times = [entry["time"] for entry in sandbox_server.accepted()]
    gap_start, gap_end = max(zip(sorted(times), sorted(times)[1:], strict=False), key=lambda pair: pair[1] - pair[0])
    assert gap_start < limited_at + 1
    assert gap_end >= limited_at + 2.9


# The command.


def test_the_pace_is_shown_and_set_by_the_command(redis_url: str) -> None:
    shown = command("pace", "bulk", "600/min", "--json", POSTROOM_REDIS_URL=redis_url, POSTROOM_RATE="200/s")
    assert shown.code == 0
    assert shown.document["lanes"][1] == {"name": "bulk", "rate": 10.0, "by_hand": True, "recent": 0.0, "slow": None}
    assert shown.document["accounts"] == [
        {"name": "default", "rate": 200.0, "by_hand": False, "recent": 0.0, "slow": None}
    ]
    assert "10/s" in command("pace", POSTROOM_REDIS_URL=redis_url).out
    command("pace", "bulk", "none", POSTROOM_REDIS_URL=redis_url)
    again = command("pace", "bulk", "default", "--json", POSTROOM_REDIS_URL=redis_url, POSTROOM_RATE_BULK="5/s")
    assert again.document["lanes"][1]["rate"] == 5.0
    assert not again.document["lanes"][1]["by_hand"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("bulk", "fast"), "'fast' is no rate: 200/s"),
        (("bulk",), "Say which limit: postroom pace bulk 200/s"),
        (("letters", "1/s"), "'all', 'transactional', 'bulk'"),
        (("bulk", "0/s"), "more than 0"),
    ],
)
def test_a_wrong_limit_is_refused_with_what_to_say_instead(redis_url: str, words: tuple[str, ...], says: str) -> None:
    ran = command("pace", *words, POSTROOM_REDIS_URL=redis_url)
    assert ran.code == 2
    assert says in ran.err


def test_the_operator_refuses_what_has_no_pace(redis_url: str) -> None:
    with Operator(Settings(redis_url=redis_url)) as operator:
        with pytest.raises(ValueError, match="all, transactional, bulk"):
            operator.set_pace("letters", "1/s")
        with pytest.raises(ValueError, match="is no rate"):
            operator.set_pace("bulk", "fast")
