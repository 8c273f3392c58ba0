"""The operator's commands: dead letters, doubts and recovery, as somebody uses them who has been woken at night."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from postroom.names import State
from producers import Postroom, Settings
from tests.casualties import Casualties, casualties
from tests.command_line import Ran, postroom, started, terminal
from tests.mails import mail
from tests.servers import RedisServer, SandboxServer, Worker, eventually

#: No Redis answers there.
NOWHERE = "redis://127.0.0.1:1/0"
#: An id that no mail has.
NOBODY = "a" * 20


@pytest.fixture
def made(redis_url: str) -> Iterator[Casualties]:
    with casualties(redis_url) as made:
        yield made


@pytest.fixture
def run(redis_url: str) -> Callable[..., Ran]:
    """Run `postroom …` on the shared Redis."""
    return lambda *words: postroom(*words, POSTROOM_REDIS_URL=redis_url)


Run = Callable[..., Ran]


# Usage.


@pytest.mark.parametrize(
    "words",
    [
        ["dead"],
        ["dead", "bury"],
        ["dead", "list", "--state", "accepted"],
        ["dead", "list", "--limit", "0"],
        ["dead", "show"],
        ["dead", "retry"],
        ["dead", "retry", NOBODY, "--all"],
        ["dead", "retry", NOBODY, "--state", "rejected"],
        ["dead", "retry", NOBODY, "--batch", NOBODY],
        ["dead", "retry", NOBODY, "--expires-in", "soon"],
        ["dead", "purge"],
        ["dead", "purge", NOBODY, "--older-than", "3d"],
        ["doubt"],
        ["doubt", "resolve", "--accepted"],
        ["doubt", "resolve", NOBODY],
        ["doubt", "resolve", NOBODY, "--not-accepted", "--receipt", "r"],
        ["doubt", "resolve", NOBODY, "b" * 20, "--accepted", "--receipt", "r"],
        ["doubt", "resolve", NOBODY, "--accepted", "--receipt", "two words"],
        ["recover", "--fast"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(words: list[str]) -> None:
    """Nor is Redis asked, which is not there."""
    assert postroom(*words, POSTROOM_REDIS_URL=NOWHERE).code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["dead", "list"],
        ["dead", "show", NOBODY],
        ["dead", "retry", NOBODY],
        ["dead", "retry", "--all", "--yes"],
        ["dead", "purge", NOBODY],
        ["doubt", "list"],
        ["doubt", "resolve", NOBODY, "--accepted"],
        ["recover", "--yes"],
    ],
)
def test_without_redis_each_command_says_so(words: list[str]) -> None:
    ran = postroom(*words, "--json", POSTROOM_REDIS_URL=NOWHERE)
    assert (ran.code, ran.document["error"], ran.err) == (1, "queue_unavailable", "")


@pytest.mark.parametrize("words", [["dead", "retry", "--all"], ["dead", "purge", "--all"], ["recover"]])
def test_what_touches_many_mails_needs_a_yes_where_nobody_can_be_asked(
    made: Casualties, run: Run, words: list[str]
) -> None:
    id = made.rejected()
    ran = run(*words)
    assert (ran.code, "--yes" in ran.err, made.state(id)) == (2, True, State.REJECTED)
    assert made.operator.content(id) is not None


@pytest.mark.parametrize("words", [["dead", "list"], ["dead", "retry", "--all", "--yes"]])
def test_a_batch_that_does_not_exist_is_unknown(run: Run, words: list[str]) -> None:
    for batch in (NOBODY, "nobody"):
        assert run(*words, "--batch", batch, "--json").document["error"] == "unknown_id"


# Looking at dead letters.


def test_dead_letters_are_listed(made: Casualties, run: Run) -> None:
    ids = {made.rejected(): "rejected", made.exhausted(): "exhausted", made.expired(): "expired"}
    ids[made.unresolved()] = "unresolved"
    ran = run("dead", "list", "--json")
    assert (ran.code, ran.document["truncated"]) == (0, False)
    assert {letter["id"]: letter["state"] for letter in ran.document["dead"]} == ids
    shown = run("dead", "list").out
    assert all(f"{id}  {state}" in shown for id, state in ids.items())
    assert "no (http_400)" in shown


def test_dead_letters_are_narrowed_down(made: Casualties, run: Run) -> None:
    single, batch = made.rejected(), made.rejected_batch(3)
    exhausted = made.exhausted()
    assert [letter["id"] for letter in run("dead", "list", "--state", "exhausted", "--json").document["dead"]] == [
        exhausted
    ]
    of_batch = run("dead", "list", "--batch", batch, "--limit", "2", "--json").document
    assert ([letter["batch_id"] for letter in of_batch["dead"]], of_batch["truncated"]) == ([batch, batch], True)
    assert "first 2" in run("dead", "list", "--limit", "2").out
    assert single not in run("dead", "list", "--batch", batch).out


def test_without_dead_letters_the_list_says_so(run: Run) -> None:
    assert (run("dead", "list").code, run("dead", "list").out) == (0, "No dead letters.\n")
    assert run("dead", "list", "--json").document == {"dead": [], "truncated": False}


def test_a_dead_letter_is_shown_without_its_content_unless_it_is_asked_for(made: Casualties, run: Run) -> None:
    id = made.rejected()
    shown = run("dead", "show", id)
    assert (shown.code, "ann@example.com" in shown.out) == (0, False)
    assert "message: no, field: from" in shown.out
    assert f"postroom dead retry {id}" in shown.out
    assert '"subject": "Hello"' in run("dead", "show", id, "--content").out
    assert "content" not in run("dead", "show", id, "--json").document
    document = run("dead", "show", id, "--content", "--json").document
    assert (document["state"], document["content"]["subject"]) == ("rejected", "Hello")


def test_content_that_is_gone_is_said_to_be_gone(made: Casualties, run: Run) -> None:
    id = made.rejected()
    made.operator.purge(id)
    assert "content is gone" in run("dead", "show", id, "--content").out
    ran = run("dead", "show", id, "--content", "--json")
    assert (ran.code, ran.document["content"]) == (1, None)


def test_the_history_is_shown(made: Casualties, run: Run) -> None:
    id = made.rejected()
    run("dead", "retry", id)
    for words in (["dead", "show", id], ["status", id]):
        shown = run(*words).out
        assert "queued" in shown
        assert "before   rejected (http_400), until 20" in shown
    assert run("status", id, "--json").document["past"][0]["state"] == "rejected"


@pytest.mark.parametrize("words", [["dead", "show"], ["dead", "retry"], ["dead", "purge"]])
def test_where_a_mail_is_meant_a_batch_is_no_mail(made: Casualties, run: Run, words: list[str]) -> None:
    batch = made.rejected_batch(2)
    for id in (batch, f"{batch}.0", f"{batch}.0.2"):
        ran = run(*words, id)
        assert (ran.code, f"No mail has the id '{id}'" in ran.out + ran.err) == (1, True)
        assert "postroom dead list --batch ID" in ran.out + ran.err
    assert len(list(made.operator.dead_letters(batch))) == 2


# Retrying.


def test_dead_letters_are_retried_by_id(made: Casualties, run: Run) -> None:
    one, two, three = made.rejected(), made.exhausted(), made.rejected()
    ran = run("dead", "retry", one, two, one)
    assert (ran.code, ran.out) == (0, "2 queued again\n")
    assert [made.state(id) for id in (one, two, three)] == [State.QUEUED, State.QUEUED, State.REJECTED]


def test_what_can_not_be_retried_is_told_with_the_reason_and_what_to_do(made: Casualties, run: Run) -> None:
    unresolved, gone, in_doubt = made.unresolved(), made.rejected(), made.in_doubt()
    rejected = made.rejected()
    made.operator.purge(gone)
    words = ["dead", "retry", unresolved, gone, in_doubt, NOBODY, "nobody", rejected]
    ran = run(*words, "--json")
    document = ran.document
    assert (ran.code, document["retried"], document["truncated"]) == (1, 1, False)
    assert {failure["id"]: failure["reason"] for failure in document["not_retried"]} == {
        unresolved: "unresolved",
        gone: "content_gone",
        in_doubt: "not_dead",
        NOBODY: "unknown_id",
        "nobody": "unknown_id",
    }
    shown = run("dead", "retry", unresolved).out
    assert shown.startswith("0 queued again, 1 not\n")
    assert f"{unresolved} is unresolved: SendGrid may have accepted it" in shown
    assert "postroom doubt resolve ID --accepted, or --not-accepted" in shown
    assert "postroom dead retry ID --may-repeat" in shown


def test_an_unresolved_mail_is_retried_if_it_may_come_twice(made: Casualties, run: Run) -> None:
    id = made.unresolved()
    assert run("dead", "retry", id, "--may-repeat").code == 0
    assert made.state(id) is State.QUEUED


def test_all_are_retried_that_the_options_leave(made: Casualties, run: Run) -> None:
    rejected, exhausted, batch = made.rejected(), made.exhausted(), made.rejected_batch(3)
    assert run("dead", "retry", "--all", "--batch", batch, "--yes", "--json").document["retried"] == 3
    assert run("dead", "retry", "--all", "--state", "rejected", "--yes", "--json").document["retried"] == 1
    assert [made.state(id) for id in (rejected, exhausted)] == [State.QUEUED, State.EXHAUSTED]
    assert made.driver.counts(batch) == {"queued": 3}


def test_more_than_a_page_is_retried_each_once(made: Casualties, run: Run) -> None:
    """Listing goes by an order that retrying changes."""
    batches = [made.rejected_batch(2) for _ in range(45)]
    ran = run("dead", "retry", "--all", "--yes", "--json")
    assert (ran.code, ran.document["retried"], ran.document["not_retried"]) == (0, 90, [])
    assert [made.driver.counts(batch) for batch in batches] == [{"queued": 2}] * 45


def test_of_all_the_unresolved_ones_are_left_unless_they_may_come_twice(made: Casualties, run: Run) -> None:
    unresolved, rejected = made.unresolved(), made.rejected()
    ran = run("dead", "retry", "--all", "--yes")
    assert (ran.code, ran.out.splitlines()[0]) == (1, "1 queued again, 1 not")
    assert [made.state(id) for id in (unresolved, rejected)] == [State.UNRESOLVED, State.QUEUED]
    assert run("dead", "retry", "--all", "--may-repeat", "--yes").code == 0
    assert made.state(unresolved) is State.QUEUED


def test_of_none_nobody_is_asked(run: Run) -> None:
    assert (run("dead", "retry", "--all").code, run("dead", "retry", "--all").out) == (0, "0 queued again\n")


def test_a_terminal_asks_with_the_number(made: Casualties, redis_url: str) -> None:
    made.rejected_batch(3)
    made.unresolved()
    with terminal("dead", "retry", "--all", POSTROOM_REDIS_URL=redis_url) as screen:
        screen.expect("1 unresolved ones are left as they are. Queue 4 dead letters again? [y/N]")
        os.write(screen._master, b"n\n")
        assert screen.wait() == 1
    assert len(list(made.operator.dead_letters())) == 4
    with terminal("dead", "retry", "--all", "--state", "rejected", POSTROOM_REDIS_URL=redis_url) as screen:
        screen.expect("Queue 3 dead letters again? [y/N]")
        os.write(screen._master, b"y\n")
        assert screen.wait() == 0
    assert [letter.state for letter in made.operator.dead_letters()] == [State.UNRESOLVED]


def test_ctrl_c_at_the_question_does_nothing(made: Casualties, redis_url: str) -> None:
    id = made.rejected()
    with terminal("dead", "purge", "--all", POSTROOM_REDIS_URL=redis_url) as screen:
        screen.expect("Delete the content of 1 dead letters for good? [y/N]")
        screen.press_ctrl_c()
        assert screen.wait() == 130
    assert "Nothing was done." in screen.screen
    assert made.operator.content(id) is not None


# Purging.


def test_dead_letters_are_purged_by_id(made: Casualties, run: Run) -> None:
    id, queued = made.rejected(), made.queued()
    ran = run("dead", "purge", id, queued)
    assert (ran.code, ran.out.splitlines()[0]) == (1, "1 purged, 1 not")
    assert f"{queued} is queued, which is no dead letter." in ran.out
    assert (made.operator.content(id), made.state(id)) == (None, State.REJECTED)
    assert "gone" in run("dead", "show", id, "--content").out
    assert run("dead", "list").out == "No dead letters.\n"


def test_all_old_ones_are_purged(made: Casualties, run: Run) -> None:
    old = made.rejected()
    made.driver.later(-3600)
    made.driver.redis.flushall()
    old = made.rejected()
    made.driver.later(3600)
    new = made.rejected()
    ran = run("dead", "purge", "--all", "--older-than", "30m", "--yes", "--json")
    assert (ran.code, ran.document["purged"]) == (0, 1)
    assert (made.operator.content(old), made.operator.content(new) is None) == (None, False)


# Doubts.


def test_doubts_are_listed_with_their_end(made: Casualties, run: Run) -> None:
    unresolved, resend, hold = made.unresolved(), made.in_doubt(), made.in_doubt(on_doubt="hold")
    document = run("doubt", "list", "--json").document
    assert {doubt["id"]: doubt["then"] for doubt in document["doubts"]} == {resend: "resend", hold: "unresolved"}
    assert (document["unresolved"], document["truncated"]) == (1, False)
    shown = run("doubt", "list").out
    assert "sent once more" in next(line for line in shown.splitlines() if line.startswith(resend))
    assert "1 unresolved: postroom dead list --state unresolved" in shown
    assert unresolved not in shown
    assert run("doubt", "list", "--limit", "1", "--json").document["truncated"] is True


def test_without_doubts_the_list_says_so(run: Run) -> None:
    assert (run("doubt", "list").code, run("doubt", "list").out) == (0, "No mail is in doubt.\n")


def test_doubts_are_resolved_both_ways(made: Casualties, run: Run) -> None:
    unresolved, there, lost = made.unresolved(), made.in_doubt(), made.in_doubt()
    ran = run("doubt", "resolve", there, "--accepted", "--receipt", "from-the-email-activity")
    assert (ran.code, ran.out) == (0, "1 accepted\n")
    ran = run("doubt", "resolve", lost, unresolved, "--not-accepted")
    assert (ran.code, ran.out) == (0, "2 queued again\n")
    assert [made.state(id) for id in (there, lost, unresolved)] == [State.ACCEPTED, State.QUEUED, State.QUEUED]
    assert made.postroom.status(there).receipt == "from-the-email-activity"


def test_only_doubts_are_resolved(made: Casualties, run: Run) -> None:
    rejected, queued = made.rejected(), made.queued()
    for decision in ("--accepted", "--not-accepted"):
        ran = run("doubt", "resolve", rejected, queued, NOBODY, decision, "--json")
        reasons = [failure["reason"] for failure in ran.document["not_resolved"]]
        assert (ran.code, reasons) == (1, ["not_in_doubt", "not_in_doubt", "unknown_id"])
    assert [made.state(id) for id in (rejected, queued)] == [State.REJECTED, State.QUEUED]


def test_saying_accepted_twice_does_no_harm(made: Casualties, run: Run) -> None:
    id = made.in_doubt()
    for _ in range(2):
        assert run("doubt", "resolve", id, "--accepted").code == 0
    assert run("doubt", "resolve", id, "--not-accepted").code == 1
    assert made.state(id) is State.ACCEPTED


# Recovering.


def test_a_recovery_says_what_it_does_and_what_to_do_next(made: Casualties, run: Run) -> None:
    finished, sending, queued = made.rejected(), made.sent(), made.queued()
    batch = made.driver.open_batch().id
    made.driver.store(batch, 0, 2)
    ran = run("recover", "--yes")
    assert ran.code == 0
    assert "not stopped: no worker has noticed a loss" in ran.err
    assert "are put in doubt" in ran.err
    assert ran.out.startswith("2 mails were put in doubt; sending goes on.\n")
    assert "1 chunks are of batches that are not complete" in ran.out
    states = [made.state(id) for id in (finished, sending, queued)]
    assert states == [State.REJECTED, State.IN_DOUBT, State.IN_DOUBT]


def test_a_recovery_prints_one_document(made: Casualties, run: Run) -> None:
    made.queued()
    ran = run("recover", "--yes", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.document == {"chunks": 1, "mails": 1, "unsealed_chunks": 0}


def test_a_recovery_says_why_the_fleet_is_stopped(made: Casualties, run: Run) -> None:
    made.queued()
    assert made.driver.claim("transactional", seen=7)[1].verdict == "stopped"
    ran = run("recover", "--yes")
    assert "Redis has forgotten something (it is at step 0, a worker has seen 7)" in ran.err
    assert made.driver.run(made.driver.ledger.stopped()) == {}


def test_an_interrupted_recovery_leaves_the_fleet_stopped_and_says_so(own_redis_server: RedisServer) -> None:
    environment = {"POSTROOM_REDIS_URL": own_redis_server.url}
    client: Any = own_redis_server.client()
    client.mset({f"other:{number}": "x" for number in range(5000)})  # for more than one page
    client.client_pause(60_000, all=False)  # of writes alone, so that the recovery waits with its first page
    with started("recover", "--yes", **environment) as command:
        eventually(lambda: "evalsha" in {each["cmd"] for each in client.client_list()}, timeout=30)
        command.send_signal(signal.SIGINT)
        client.client_unpause()
        _, said = command.communicate(timeout=30)
    assert (command.returncode, "stays stopped until `postroom recover` has come to its end" in said) == (130, True)
    assert "a recovery was begun and has not come to its end" in postroom("doctor", **environment).out
    assert postroom("recover", "--yes", **environment).code == 0
    assert client.exists("postroom:stopped") == 0


# Batches.


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_batch_tells_of_copies_and_of_what_can_be_retried(made: Casualties, run: Run, command: str) -> None:
    rejected = made.rejected_batch(1)
    assert f"postroom dead retry --all --batch {rejected}" in run(command, rejected).out
    assert "1 were sent once more after a doubt; 1 extra copies have shown." in run(command, made.copied_batch()).out


def test_a_batch_that_is_not_complete_says_so(made: Casualties, run: Run) -> None:
    batch = made.driver.open_batch().id
    made.driver.store(batch, 0, 2)
    assert "It is not complete" in run("status", batch).out
    made.driver.seal(batch)
    assert "It is not complete" not in run("status", batch).out


# The doctor.


def test_the_doctor_tells_of_dead_letters_and_doubts_and_calls_neither_an_illness(made: Casualties, run: Run) -> None:
    made.rejected_batch(2)
    made.exhausted()
    made.in_doubt()
    checks = {check["name"]: check for check in run("doctor", "--json").document["checks"]}
    assert checks["dead letters"]["detail"] == "3: 2 rejected, 1 exhausted"
    assert "postroom dead list" in checks["dead letters"]["advice"]
    assert checks["doubts"]["detail"].startswith("1 mails are in doubt, the first until 20")
    assert not any(checks[name]["ok"] or checks[name]["essential"] for name in ("dead letters", "doubts"))
    assert checks["fleet"]["ok"]


def test_the_doctor_finds_that_the_fleet_is_stopped(made: Casualties, run: Run) -> None:
    made.queued()
    made.driver.claim("transactional", seen=7)
    checks = {check["name"]: check for check in run("doctor", "--json").document["checks"]}
    assert (checks["fleet"]["ok"], checks["fleet"]["essential"]) == (False, True)
    assert "postroom recover" in checks["fleet"]["advice"]


# With a worker and a local SendGrid.


def test_a_rejected_mail_is_found_mended_and_sent(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker], run: Run
) -> None:
    worker_process()
    sandbox_server.faults([{"fault": "sender"}])
    with Postroom(Settings.of(redis_url=redis_url)) as client:
        batch = client.enqueue_batch([mail()] * 2).id
        ids = [client.enqueue(mail()), f"{batch}.0.0", f"{batch}.0.1"]
        eventually(lambda: all(client.status(id).state is State.REJECTED for id in ids))

        listed = run("dead", "list", "--json").document["dead"]
        assert {letter["id"] for letter in listed} == set(ids)
        assert "verified Sender Identity" in run("dead", "show", ids[0]).out
        assert sandbox_server.accepted() == []

        sandbox_server.faults([])
        assert run("dead", "retry", "--all", "--yes").out == "3 queued again\n"
        eventually(lambda: all(client.status(id).state is State.ACCEPTED for id in ids))

        for id in ids:
            status = client.status(id)
            assert (status.attempt, [end.state for end in status.past]) == (2, [State.REJECTED])
        report = client.report(batch)
        assert report.counts["rejected"] == 2
        assert report.changed_since is not None
    assert sorted(id for line in sandbox_server.accepted() for id in line["postroom_ids"]) == sorted(ids)
    assert "accepted" in run("status", ids[0]).out


def test_a_mail_in_doubt_is_looked_up_and_resolved(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker], run: Run
) -> None:
    """One of two has arrived; nobody gets it twice, and the other one is sent."""
    worker_process()
    with Postroom(Settings.of(redis_url=redis_url)) as client:
        arrived = client.enqueue(mail("accept-closex1@sandbox.test"))
        lost = client.enqueue(mail("resetx1@sandbox.test"))
        eventually(lambda: len(run("doubt", "list", "--json").document["doubts"]) == 2)
        (line,) = sandbox_server.accepted()
        assert line["postroom_ids"] == [arrived]

        assert run("doubt", "resolve", arrived, "--accepted", "--receipt", line["receipt"]).code == 0
        assert run("doubt", "resolve", lost, "--not-accepted").code == 0
        eventually(lambda: client.status(lost).state is State.ACCEPTED)
        assert client.status(arrived).receipt == line["receipt"]
    assert [line["postroom_ids"] for line in sandbox_server.accepted()] == [[arrived], [lost]]


def test_workers_stop_on_an_emptied_redis_and_go_on_after_a_recovery(
    own_redis_server: RedisServer, sandbox_server: SandboxServer, worker_process: Callable[..., Worker]
) -> None:
    environment = {"POSTROOM_REDIS_URL": own_redis_server.url}
    worker = worker_process(**environment)
    redis: Any = own_redis_server.client()
    eventually(lambda: int(redis.get("postroom:step") or 0) >= 2)
    with Postroom(Settings.of(redis_url=own_redis_server.url)) as client:
        redis.flushall()
        eventually(lambda: "Nothing is sent: Redis has forgotten" in worker.log())
        id = client.enqueue(mail())
        assert "✗ fleet: stopped since" in postroom("doctor", **environment).out
        assert sandbox_server.accepted() == []

        assert json.loads(postroom("recover", "--yes", "--json", **environment).out)["mails"] == 1
        eventually(lambda: "Sending goes on" in worker.log())
        assert client.status(id).state is State.IN_DOUBT
        assert postroom("doubt", "resolve", id, "--not-accepted", **environment).code == 0
        eventually(lambda: client.status(id).state is State.ACCEPTED)
