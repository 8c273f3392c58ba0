"""What the shop enqueues."""

import re
import subprocess
import sys
import threading
import time

import pytest
from bookshop import app, invite, mail, newsletter, postroom, remind

from producers import KeyConflict, Postroom


@pytest.fixture
def client():
    app.testing = True
    return app.test_client()


def order(client, number="17", buyer="ann@example.com"):
    return client.post("/orders", data={"number": number, "buyer": buyer})


def test_an_order_sends_a_receipt_and_tells_the_packers(client, outbox):
    answer = order(client)
    assert len(outbox) == 2
    receipt, packing = outbox
    assert receipt.id == answer.json["id"]
    assert (receipt.to, receipt.subject, receipt.text) == (["ann@example.com"], "Your order 17", "Thank you.")
    assert (receipt.lane, packing.lane) == ("transactional", "bulk")
    assert (receipt.categories, receipt.html, receipt.batch_id) == (["receipt"], None, None)
    assert outbox[-1].recipients == ["packing@example.com"]
    assert [each.subject for each in outbox[:1]] == ["Your order 17"]


def test_the_outbox_is_empty_at_first(outbox):
    outbox.assert_nothing_enqueued()
    assert not outbox
    assert list(outbox) == []
    with pytest.raises(IndexError, match="no mail 0: 0 mails in the outbox"):
        outbox[0]


def test_a_mail_is_found_by_any_of_its_fields(client, outbox):
    order(client)
    receipt = outbox.assert_enqueued(to="ann@example.com", subject="Your order 17", count=1)
    for fields in (
        {"to": "Ann@example.com"},
        {"to": ["ann@example.com"]},
        {"subject": re.compile(r"order \d+")},
        {"text": lambda text: text.startswith("Thank")},
        {"key": "order 17"},
        {"categories": "receipt"},
        {"from_email": "shop@example.com", "lane": "transactional", "state": "queued"},
        {"body": {"from": {"name": "The Bookshop"}, "categories": ["receipt"]}},
        {"send_at": None, "template_id": None, "id": receipt.id},
    ):
        assert [each.id for each in outbox.find(**fields)] == [receipt.id], fields
    outbox.assert_enqueued(count=2)
    outbox.assert_nothing_enqueued(to="bob@example.com")
    with pytest.raises(TypeError, match="a mail has no recipient; it can be asked for by to, cc"):
        outbox.find(recipient="ann@example.com")


def test_its_body_is_what_was_handed_over(outbox):
    handed_over = mail("ann@example.com", "Hello", "Text", custom_args={"shop": "7"}, headers={"X-Shop": "7"})
    postroom.enqueue(handed_over)
    assert outbox[0].body == handed_over
    assert (outbox[0].custom_args, outbox[0].headers) == ({"shop": "7"}, {"X-Shop": "7"})
    assert outbox[0].request["custom_args"]["postroom_id"] == outbox[0].id


def test_a_template_and_its_data(outbox):
    remind("ann@example.com")
    found = outbox.assert_enqueued(template_id="d-reminder", template_data={"reader": {"name": "Ann"}})
    assert found.template_data == {"reader": {"name": "Ann", "books": 2}}


def test_the_order_is_that_of_the_enqueues(outbox):
    for number in range(100):
        postroom.enqueue(mail("ann@example.com", str(number), "Text"), lane=("bulk", "transactional")[number % 2])
    assert [each.subject for each in outbox] == [str(number) for number in range(100)]


def test_a_batch(outbox):
    batch = newsletter([f"reader{number}@example.com" for number in range(600)], key="november")
    assert len(outbox) == 600
    assert {each.batch_id for each in outbox} == {batch.id}
    assert [each.row for each in outbox] == list(range(600))
    assert outbox[599].to == ["reader599@example.com"]
    outbox.assert_enqueued(key="november", lane="bulk", count=600)


def test_a_merge_has_a_mail_for_each_recipient(outbox):
    invite(["ann@example.com", "bob@example.com"])
    assert [each.to for each in outbox] == [["ann@example.com"], ["bob@example.com"]]
    assert (outbox[1].subject, outbox[1].custom_args) == ("Come", {})


def test_mail_for_later(outbox):
    at = int(time.time()) + 3600
    postroom.enqueue(mail("ann@example.com", "Later", "Text"), send_at=at)
    assert outbox.assert_enqueued(send_at=at).send_at.timestamp() == at


def test_the_client_is_the_real_one(client, outbox):
    first, again = order(client).json, order(client).json
    assert first == again
    outbox.assert_enqueued(key="order 17", count=1)
    with pytest.raises(KeyConflict):
        order(client, buyer="bob@example.com")
    assert client.get(f"/mails/{first['id']}").json == {"state": "queued"}
    postroom.cancel(first["id"])
    outbox.assert_nothing_enqueued(key="order 17")


def test_nothing_is_left_of_the_test_before(client, outbox):
    order(client, buyer="another@example.com")
    outbox.assert_enqueued(key="order 17", count=1)


def test_clear_forgets_what_was_enqueued_before(client, outbox):
    id = order(client).json["id"]
    outbox.clear()
    outbox.assert_nothing_enqueued()
    order(client, number="18")
    outbox.assert_enqueued(count=2)
    assert postroom.status(id).state == "queued"


def test_mail_of_other_threads_and_processes_is_there_too(outbox):
    thread = threading.Thread(target=newsletter, args=[["thread@example.com"]])
    thread.start()
    thread.join()
    program = "import bookshop; bookshop.newsletter(['process@example.com'])"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert [each.to for each in outbox] == [["thread@example.com"], ["process@example.com"]]


def test_a_client_with_settings_of_its_own(outbox, postroom_settings):
    with Postroom(postroom_settings) as own:
        own.enqueue(mail("ann@example.com", "Hello", "Text"))
    outbox.assert_enqueued(to="ann@example.com")
