"""From Django's `send_mail` to SendGrid, through a worker: what was sent is what arrives, once."""

from base64 import b64decode
from collections.abc import Iterator
from email.mime.image import MIMEImage
from typing import Any

import httpx
import pytest
from django.core.mail import EmailMultiAlternatives, send_mail, send_mass_mail
from django.db import connections, transaction
from django.test.utils import override_settings

from producers.django import EmailBackend
from tests import django_site
from tests.servers import SandboxServer, eventually
from tests.stack import Stack, running_stack

django_site.set_up()

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture(autouse=True)
def site(stack: Stack) -> Iterator[None]:
    with override_settings(POSTROOM={"REDIS_URL": stack.redis.url}):
        yield
    connections.close_all()


def arrived(sandbox: SandboxServer, id: str) -> dict[str, Any]:
    """The body in which a mail came to SendGrid."""

    def receipts() -> list[str]:
        return [line["receipt"] for line in sandbox.accepted() if id in line["postroom_ids"]]

    (receipt,) = eventually(receipts)
    body: dict[str, Any] = httpx.get(f"{sandbox.url}/api/mails/{receipt}", trust_env=False).json()["body"]
    return body


def test_a_whole_message_arrives_as_it_was_written(stack: Stack) -> None:
    message: Any = EmailMultiAlternatives(
        "Grüße",
        "Hello",
        "Shop <shop@example.com>",
        ["Ann <ann@example.com>"],
        cc=["cc@example.com"],
        bcc=["bcc@example.com"],
        reply_to=["help@example.com"],
        headers={"X-Order": "17"},
        alternatives=[('<img src="cid:logo">', "text/html")],
    )
    logo = MIMEImage(PNG, "png")
    logo.add_header("Content-ID", "<logo>")
    message.attach("invoice.pdf", b"%PDF-1.7", "application/pdf")
    message.attachments.append(logo)
    message.metadata, message.tags, message.track_opens = {"order": 17}, ["receipt"], False
    assert EmailBackend().send_messages([message]) == 1

    body = arrived(stack.sandbox, message.postroom_id)
    assert body["personalizations"] == [
        {
            "to": [{"email": "ann@example.com", "name": "Ann"}],
            "cc": [{"email": "cc@example.com"}],
            "bcc": [{"email": "bcc@example.com"}],
        }
    ]
    assert (body["from"], body["reply_to_list"]) == (
        {"email": "shop@example.com", "name": "Shop"},
        [{"email": "help@example.com"}],
    )
    assert (body["subject"], body["headers"]) == ("Grüße", {"X-Order": "17"})
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert [(file["filename"], b64decode(file["content"])) for file in body["attachments"]] == [
        ("invoice.pdf", b"%PDF-1.7"),
        ("attachment.png", PNG),
    ]
    assert body["attachments"][1]["content_id"] == "logo"
    assert body["custom_args"] == {"order": "17", "postroom_id": message.postroom_id}
    assert (body["categories"], body["tracking_settings"]) == (["receipt"], {"open_tracking": {"enable": False}})
    eventually(lambda: stack.postroom.status(message.postroom_id).state == "accepted")


def test_send_mail_arrives_once_after_the_commit(stack: Stack) -> None:
    def copies() -> int:
        return sum(line["recipients"] == ["once@example.com"] for line in stack.sandbox.accepted())

    with transaction.atomic():
        send_mail("Subject", "Text", None, ["once@example.com"])
        send_mail("Subject", "Text", None, ["barrier@example.com"])
    eventually(lambda: any(line["recipients"] == ["barrier@example.com"] for line in stack.sandbox.accepted()))
    eventually(copies)
    assert copies() == 1


def test_what_sendgrid_says_of_a_message_is_in_its_status(stack: Stack) -> None:
    message: Any = EmailMultiAlternatives("Subject", "Text", to=["reject@sandbox.test"])
    assert EmailBackend().send_messages([message]) == 1, "it is enqueued, whatever SendGrid will say"
    eventually(lambda: stack.postroom.status(message.postroom_id).state == "rejected")
    assert [error["message"] for error in stack.postroom.status(message.postroom_id).errors]


def test_mass_mail_ends_in_one_report(stack: Stack) -> None:
    before = len(stack.sandbox.accepted())
    rows = [("Subject", f"Text {number}", None, [f"mass{number}@example.com"]) for number in range(20)]
    rows.append(("Subject", "Text", None, ["reject@sandbox.test"]))
    assert send_mass_mail(rows) == 21
    messages: list[Any] = [
        EmailMultiAlternatives("Hello", "Text", to=[to]) for to in ("a@example.com", "b@example.com")
    ]
    assert EmailBackend().send_messages(messages) == 2
    report = stack.postroom.wait(messages[0].postroom_batch_id, timeout=30)
    assert report.counts["accepted"] == 2
    eventually(lambda: len(stack.sandbox.accepted()) == before + 22)
    sent = [line["recipients"][0] for line in stack.sandbox.accepted()[before:]]
    assert sorted(sent) == sorted(
        [*(f"mass{number}@example.com" for number in range(20)), "a@example.com", "b@example.com"]
    )


def test_merge_data_is_one_request_with_a_mail_for_each_recipient(stack: Stack) -> None:
    message: Any = EmailMultiAlternatives("", "", to=["ann@example.com", "bob@example.com"])
    message.template_id = "d-0123456789abcdef0123456789abcdef"
    message.merge_data = {"ann@example.com": {"name": "Ann"}, "bob@example.com": {"name": "Bob"}}
    EmailBackend().send_messages([message])
    body = arrived(stack.sandbox, message.postroom_id)
    names = [(each["to"][0]["email"], each["dynamic_template_data"]["name"]) for each in body["personalizations"]]
    assert names == [("ann@example.com", "Ann"), ("bob@example.com", "Bob")]
