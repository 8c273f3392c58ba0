"""The operator: what ended badly is seen, sent once more, deleted or decided; and a restored ledger goes on."""

import json
from collections.abc import Iterator

import pytest

from postroom import ids
from postroom.names import State
from producers import CannotRetry, NotDead, Operator, QueueUnavailable, Settings, UnknownId
from tests.casualties import Casualties, casualties
from tests.ledger_driver import REJECTED, accepted
from tests.mails import mail, mails

#: An id that no mail has.
NOBODY = "a" * 20


@pytest.fixture
def made(redis_url: str) -> Iterator[Casualties]:
    with casualties(redis_url) as made:
        yield made


@pytest.fixture
def operator(made: Casualties) -> Operator:
    return made.operator


# Looking.


def test_each_bad_end_is_a_dead_letter_and_no_other(made: Casualties, operator: Operator) -> None:
    dead = {made.rejected(): "rejected", made.exhausted(): "exhausted", made.expired(): "expired"}
    dead[made.unresolved()] = "unresolved"
    made.in_doubt()
    made.postroom.cancel(made.queued())
    made.queued()
    assert {letter.id: letter.state for letter in operator.dead_letters()} == dead


def test_a_dead_letter_says_why(made: Casualties, operator: Operator) -> None:
    id = made.rejected()
    (letter,) = operator.dead_letters()
    assert (letter.id, letter.batch_id, letter.lane, letter.attempt) == (id, None, "transactional", 1)
    assert (letter.reason, letter.doubts, letter.has_content) == ("http_400", 0, True)
    assert letter.errors == [{"message": "no", "field": "from", "help": None}]


def test_the_dead_letters_of_a_batch_are_told_apart(made: Casualties, operator: Operator) -> None:
    made.rejected()
    batch = made.rejected_batch(3)
    assert [letter.id for letter in operator.dead_letters(batch)] == [f"{batch}.0.{place}" for place in range(3)]


def test_many_dead_letters_come_page_by_page_each_once(made: Casualties, operator: Operator) -> None:
    wanted = {made.rejected() for _ in range(45)}
    found = [letter.id for letter in operator.dead_letters()]
    assert (len(found), set(found)) == (45, wanted)


def test_a_doubt_says_when_its_grace_ends_and_what_comes_then(made: Casualties, operator: Operator) -> None:
    policies = {made.in_doubt(on_doubt="resend"): "resend", made.in_doubt(on_doubt="hold"): "unresolved"}
    doubts = list(operator.doubts())
    assert {doubt.id: doubt.then for doubt in doubts} == policies
    for doubt in doubts:
        assert doubt.reason == "timeout"
        assert abs(doubt.ends_at - doubt.updated_at - made.settings.grace) <= 1


def test_the_content_is_the_mail_that_goes_to_sendgrid(made: Casualties, operator: Operator) -> None:
    id = made.rejected()
    content = json.loads(operator.content(id) or "")
    assert content["subject"] == mail()["subject"]
    assert content["custom_args"]["postroom_id"] == id


# Retrying.


def test_a_retried_mail_keeps_its_id_and_its_history_and_can_be_sent(made: Casualties, operator: Operator) -> None:
    id = made.rejected()
    operator.retry(id)
    assert list(operator.dead_letters()) == []
    status = operator.status(id)
    assert (status.state, status.reason, status.errors) == (State.QUEUED, None, [])
    assert [(end.state, end.reason) for end in status.past] == [(State.REJECTED, "http_400")]
    _, claimed = made.driver.claim("transactional")
    assert claimed.groups == [(id, [(0, 2)])]


def test_a_retried_mail_has_all_its_attempts_again(made: Casualties, operator: Operator) -> None:
    id = made.exhausted()
    operator.retry(id)
    made.driver.attempt("transactional", REJECTED)
    assert made.state(id) is State.REJECTED
    operator.retry(id)
    made.driver.attempt("transactional", accepted())
    status = operator.status(id)
    assert (status.state, status.attempt) == (State.ACCEPTED, 3)
    assert [end.state for end in status.past] == [State.EXHAUSTED, State.REJECTED]


def test_an_expired_mail_gets_time_again(made: Casualties, operator: Operator) -> None:
    id = made.expired()
    operator.retry(id, expires_in=60)
    made.driver.later(59)
    assert made.driver.claim("transactional")[1].groups[0][0] == id


def test_a_retried_mail_of_a_batch_is_counted_once_and_the_report_stays(made: Casualties, operator: Operator) -> None:
    batch = made.rejected_batch(3)
    operator.retry(f"{batch}.0.1")
    made.driver.attempt(f"{batch}.0", accepted())
    assert (made.driver.counts(batch), made.driver.report(batch)) == ({"accepted": 1, "rejected": 2}, {"rejected": 3})
    assert made.postroom.report(batch).changed_since is not None


def test_an_unresolved_mail_is_not_repeated_unless_that_is_said(made: Casualties, operator: Operator) -> None:
    id = made.unresolved()
    with pytest.raises(CannotRetry) as refused:
        operator.retry(id)
    assert (refused.value.reason, refused.value.state) == ("unresolved", "unresolved")
    assert made.state(id) is State.UNRESOLVED
    operator.retry(id, may_repeat=True)
    assert made.state(id) is State.QUEUED


def test_a_mail_that_is_not_dead_is_not_retried(made: Casualties, operator: Operator) -> None:
    for id in (made.in_doubt(), made.queued()):
        with pytest.raises(CannotRetry) as refused:
            operator.retry(id)
        assert refused.value.reason == "not_dead"


def test_a_mail_whose_content_is_gone_says_so(made: Casualties, operator: Operator) -> None:
    id = made.rejected()
    made.driver.redis.delete(f"postroom:payload:{id}")
    assert operator.content(id) is None
    assert [letter.has_content for letter in operator.dead_letters()] == [False]
    with pytest.raises(CannotRetry, match="its content is gone"):
        operator.retry(id)


# Purging.


def test_a_purge_deletes_the_content_and_the_errors_and_keeps_the_state(made: Casualties, operator: Operator) -> None:
    id = made.rejected()
    operator.purge(id)
    assert made.driver.redis.exists(f"postroom:payload:{id}") == 0
    status = operator.status(id)
    assert (status.state, status.reason, status.errors) == (State.REJECTED, "http_400", [])
    assert list(operator.dead_letters()) == []
    with pytest.raises(CannotRetry) as refused:
        operator.retry(id)
    assert refused.value.reason == "content_gone"


def test_a_purged_mail_of_a_batch_can_not_be_read_any_more(made: Casualties, operator: Operator) -> None:
    batch = made.rejected_batch(2)
    operator.purge(f"{batch}.0.0")
    assert operator.content(f"{batch}.0.0") is None
    assert operator.content(f"{batch}.0.1") is not None


def test_only_dead_letters_are_purged(made: Casualties, operator: Operator) -> None:
    id = made.queued()
    with pytest.raises(NotDead):
        operator.purge(id)
    assert operator.content(id) is not None


# Deciding.


@pytest.mark.parametrize("end", ["in_doubt", "unresolved"])
def test_a_doubt_that_is_resolved_as_accepted_is_accepted(made: Casualties, operator: Operator, end: str) -> None:
    id = getattr(made, end)()
    operator.resolve(id, accepted=True, receipt="a-receipt-from-sendgrid")
    status = operator.status(id)
    assert (status.state, status.receipt) == (State.ACCEPTED, "a-receipt-from-sendgrid")
    assert (list(operator.doubts()), list(operator.dead_letters())) == ([], [])


@pytest.mark.parametrize("end", ["in_doubt", "unresolved"])
def test_a_doubt_that_is_resolved_as_not_accepted_is_queued_again(
    made: Casualties, operator: Operator, end: str
) -> None:
    id = getattr(made, end)()
    operator.resolve(id, accepted=False)
    assert list(operator.doubts()) == []
    status = operator.status(id)
    assert (status.state, status.doubts) == (State.QUEUED, 0)
    assert made.driver.claim("transactional")[1].groups[0][0] == id


def test_a_mail_that_was_never_in_doubt_is_not_resolved(made: Casualties, operator: Operator) -> None:
    """Otherwise a slip of the pen takes a waiting mail for sent."""
    id = made.queued()
    for accepted_there in (True, False):
        with pytest.raises(CannotRetry):
            operator.resolve(id, accepted=accepted_there)
    assert made.state(id) is State.QUEUED


# Recovering.


def test_recovery_puts_in_doubt_what_is_not_finished_and_nothing_else(made: Casualties, operator: Operator) -> None:
    rejected, in_doubt, sending = made.rejected(), made.in_doubt(), made.sent()
    scheduled = made.queued(send_at=made.driver.now_ms / 1000 + 3600)
    held = made.queued(on_doubt="hold")
    batch = made.postroom.enqueue_batch(mails(3)).id
    pages = list(operator.recover())
    assert (pages[-1].cursor, sum(page.mails for page in pages), sum(page.unsealed for page in pages)) == ("0", 6, 0)
    assert made.state(rejected) is State.REJECTED
    assert made.state(scheduled) is State.QUEUED
    doubts = {doubt.id: doubt.then for doubt in operator.doubts()}
    rows = {f"{batch}.0.{place}": "resend" for place in range(3)}
    assert doubts == {in_doubt: "unresolved", sending: "resend", held: "unresolved", **rows}


def test_an_unsealed_batch_is_left_to_its_producer(made: Casualties, operator: Operator) -> None:
    batch = made.driver.open_batch().id
    made.driver.store(batch, 0, 2)
    assert sum(page.unsealed for page in operator.recover()) == 1
    assert list(operator.doubts()) == []


def test_until_a_recovery_is_at_its_end_nothing_is_sent(made: Casualties, operator: Operator) -> None:
    made.driver.redis.mset({f"other:{number}": "x" for number in range(5000)})  # for more than one page
    made.queued()
    begun = operator.recover()
    assert next(begun).cursor != "0"
    assert made.driver.claim("transactional")[1].verdict == "stopped"
    list(begun)
    made.queued()
    assert made.driver.claim("transactional")[1].verdict == "claimed"


def test_a_recovery_that_is_begun_again_doubts_no_mail_twice(made: Casualties, operator: Operator) -> None:
    id = made.queued()
    for _ in range(2):
        list(operator.recover())
    assert [(doubt.id, doubt.doubts) for doubt in operator.doubts()] == [(id, 1)]


def test_after_a_recovery_a_worker_that_has_seen_more_goes_on(made: Casualties, operator: Operator) -> None:
    assert made.driver.claim("transactional", seen=10**6)[1].verdict == "stopped"
    list(operator.recover())
    id = made.queued()
    assert made.driver.claim("transactional", seen=10**6)[1].groups[0][0] == id


# What does not exist.


@pytest.mark.parametrize("id", [NOBODY, f"{NOBODY}.0.0", "nobody", ""])
def test_an_unknown_id_is_said_to_be_unknown(operator: Operator, id: str) -> None:
    for call in (operator.status, operator.retry, operator.purge, lambda id: operator.resolve(id, accepted=True)):
        with pytest.raises(UnknownId):
            call(id)
    assert operator.content(id) is None


def test_neither_a_batch_nor_a_chunk_is_taken_for_a_mail(made: Casualties, operator: Operator) -> None:
    batch = made.rejected_batch(2)
    for id in (batch, ids.chunk_id(batch, 0), f"{batch}.0.2"):
        for call in (operator.status, operator.retry, operator.purge):
            with pytest.raises(UnknownId):
                call(id)
        assert operator.content(id) is None
    assert len(list(operator.dead_letters())) == 2


def test_without_redis_every_call_says_so() -> None:
    with Operator(Settings.of(redis_url="redis://127.0.0.1:1/0")) as operator:
        for call in (operator.retry, operator.purge, operator.status):
            with pytest.raises(QueueUnavailable):
                call(NOBODY)
        with pytest.raises(QueueUnavailable):
            list(operator.recover())
