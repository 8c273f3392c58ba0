"""What becomes of the shop's mail."""

import pytest
from bookshop import app, invite, mail, newsletter, postroom, recommend

pytestmark = pytest.mark.usefixtures("postroom_eager")


def order(number="17"):
    return app.test_client().post("/orders", data={"number": number, "buyer": "ann@example.com"}).json["id"]


def test_a_receipt_is_sent_when_the_call_returns(sandbox, outbox):
    id = order()
    assert postroom.status(id).state == "accepted"
    assert [each.to for each in sandbox.mails] == [["ann@example.com"], ["packing@example.com"]]
    assert sandbox.mails[0].subject == "Your order 17"
    assert sandbox.mails[0].ids == [id]
    assert sandbox.mails[0].receipt == postroom.status(id).receipt
    assert outbox.assert_enqueued(key="order 17", state="accepted").body == sandbox.mails[0].body


def test_a_batch_has_its_report(sandbox):
    sandbox.fail(400, to="reader7@")
    report = newsletter(f"reader{number}@example.com" for number in range(20)).report()
    assert (report.counts["accepted"], report.counts["rejected"]) == (19, 1)
    assert [(failure.row, failure.state) for failure in report.failed] == [(7, "rejected")]


def test_a_merge_is_one_request(sandbox, outbox):
    report = invite(["ann@example.com", "bob@example.com"]).report()
    assert report.counts["accepted"] == 2
    assert [each.to for each in sandbox.mails] == [["ann@example.com", "bob@example.com"]]
    assert sandbox.mails[0].ids == [each.id for each in outbox]
    assert [each.to for each in outbox] == [["ann@example.com"], ["bob@example.com"]]


def test_a_retry_goes_well(sandbox):
    sandbox.fail(503, times=1)
    status = postroom.status(order())
    assert (status.state, status.attempt, sandbox.mails[0].attempt) == ("accepted", 2, 2)


def test_the_attempts_are_used_up(sandbox, outbox):
    sandbox.fail(503, to="ann@")
    assert postroom.status(order()).state == "exhausted"
    outbox.assert_enqueued(to="ann@example.com", state="exhausted")


def test_a_refusal_by_sendgrid(sandbox):
    sandbox.fail(400)
    status = postroom.status(order())
    assert status.state == "rejected"
    assert status.errors[0]["message"]
    assert sandbox.mails == []


def test_a_doubt(sandbox):
    sandbox.misbehave("accept_then_reset", match="ann@")
    assert postroom.status(order()).state == "in_doubt"
    assert sandbox.mails[0].to == ["ann@example.com"]


def test_a_key_that_sendgrid_refuses_leaves_mail_waiting(sandbox):
    sandbox.fail(401)
    assert postroom.status(order()).state == "queued"


def test_no_fault_is_left_of_the_test_before(sandbox):
    assert sandbox.mails == []
    assert postroom.status(order()).state == "accepted"


def test_a_fault_that_does_not_exist(sandbox):
    with pytest.raises(ValueError, match="Invalid enum value 'explode'"):
        sandbox.misbehave("explode")
    order()
    assert len(sandbox.mails) == 2


async def test_asyncio(sandbox):
    id = await recommend("ann@example.com")
    assert postroom.status(id).state == "accepted"
    assert sandbox.mails[0].subject == "You may like this"


def test_mail_for_later_is_not_waited_for(sandbox):
    id = postroom.enqueue(mail("ann@example.com", "Later", "Text"), send_at=4_000_000_000)
    assert postroom.status(id).state == "queued"
    assert sandbox.mails == []
