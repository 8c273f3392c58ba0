"""Tests that send and tests that do not, in turns: the worker of the ones leaves the others alone."""

import time

import pytest
from bookshop import app, mail, postroom, recommend


@pytest.mark.usefixtures("postroom_eager")
def test_this_one_sends(sandbox):
    postroom.enqueue(mail("ann@example.com", "Sent", "Text"))
    assert len(sandbox.mails) == 1


def test_this_one_does_not(outbox, sandbox):
    id = postroom.enqueue(mail("ann@example.com", "Not sent", "Text"))
    time.sleep(0.5)
    assert postroom.status(id).state == "queued"
    assert sandbox.mails == []
    outbox.assert_enqueued(subject="Not sent")


@pytest.mark.usefixtures("postroom_eager")
def test_this_one_sends_again(sandbox):
    postroom.enqueue(mail("bob@example.com", "Sent", "Text"))
    assert [each.to for each in sandbox.mails] == [["bob@example.com"]]


async def test_asyncio(outbox):
    await recommend("ann@example.com")
    outbox.assert_enqueued(to="ann@example.com", count=1)


def test_an_app_without_a_client_needs_no_fixture():
    assert app.test_client().get("/nothing").status_code == 404
