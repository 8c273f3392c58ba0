"""A Django message becomes a body of SendGrid's v3 `mail/send` that SendGrid takes."""

import time
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from email import message_from_bytes, message_from_string, policy
from email.message import MIMEPart
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import django
import pytest
from anymail.message import AnymailMessage, attach_inline_image
from django.core.mail import EmailAttachment, EmailMessage
from django.utils.functional import lazy
from hypothesis import given
from hypothesis import strategies as st

from postroom import mail as mails
from producers import InvalidMail
from producers.django.body import BadHeader
from tests.django_site.messages import PNG, attached, body, content, faults, message, unchecked

# -- Django's own attributes


def test_a_plain_message_has_nothing_but_what_it_says() -> None:
    assert body() == {
        "personalizations": [{"to": [{"email": "ann@example.com"}]}],
        "from": {"email": "shop@example.com", "name": "Shop"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hello Ann"}],
    }


def test_names_cc_bcc_and_reply_to_have_their_fields() -> None:
    written = body(
        from_email='"Shop, The" <shop@example.com>',
        to=["Ann Ö <ann@example.com>", "bob@example.com"],
        cc=["cc@example.com"],
        bcc=["Secret <bcc@example.com>"],
        reply_to=["help@example.com", "Boss <boss@example.com>"],
    )
    assert written["from"] == {"email": "shop@example.com", "name": "Shop, The"}
    assert written["personalizations"] == [
        {
            "to": [{"email": "ann@example.com", "name": "Ann Ö"}, {"email": "bob@example.com"}],
            "cc": [{"email": "cc@example.com"}],
            "bcc": [{"email": "bcc@example.com", "name": "Secret"}],
        }
    ]
    assert written["reply_to_list"] == [{"email": "help@example.com"}, {"email": "boss@example.com", "name": "Boss"}]


def test_one_string_may_hold_several_addresses_and_an_empty_one_none() -> None:
    to = body(to=["a@example.com, B <b@example.com>", "", "c@example.com"])["personalizations"][0]["to"]
    assert to == [{"email": "a@example.com"}, {"email": "b@example.com", "name": "B"}, {"email": "c@example.com"}]


def test_a_domain_is_written_in_ascii() -> None:
    assert body(to=["ann@bücher.example"])["personalizations"][0]["to"] == [{"email": "ann@xn--bcher-kva.example"}]


@pytest.mark.parametrize("field", ["from_email", "to", "cc", "bcc", "reply_to"])
def test_a_domain_is_in_ascii_wherever_it_stands_and_stays_so(field: str) -> None:
    for domain, written in {
        "öäü.example": "xn--4ca9at.example",
        "faß.example": "fass.example",
        "✉.example": "xn--4bi.example",
        "xn--fa-hia.example.com": "xn--fa-hia.example.com",
        "xn--mgba3gch31f060k.example.com": "xn--mgba3gch31f060k.example.com",
    }.items():
        address = f'"Tó, Wán" <to@{domain}>'
        made = body(**{field: address if field == "from_email" else [address]})
        where = {"from_email": [made["from"]], "reply_to": made.get("reply_to_list")}
        found = where.get(field) or made["personalizations"][0][field]
        assert found == [{"email": f"to@{written}", "name": "Tó, Wán"}]


@pytest.mark.parametrize(
    ("text", "email", "name"),
    [
        ("<to@example.com>", "to@example.com", ""),
        ("A name <to@example.com>", "to@example.com", "A name"),
        ('"A name" <to@example.com>', "to@example.com", "A name"),
        ('"Comma, \\"quoted\\"" <to@example.com>', "to@example.com", 'Comma, "quoted"'),
        ('"to@other.example" <to@example.com>', "to@example.com", "to@other.example"),
        ('"to@other.example"@example.com', '"to@other.example"@example.com', ""),
        ('To <"to@other.example"@example.com>', '"to@other.example"@example.com', "To"),
        ("Tó Example " * 20 + "<to@example.com>", "to@example.com", ("Tó Example " * 20).strip()),
        ('"No end" <to@example.com', "to@example.com", "No end"),
    ],
)
def test_an_address_is_read_as_mail_programs_do(text: str, email: str, name: str) -> None:
    (to,) = body(to=[text])["personalizations"][0]["to"]
    assert to == ({"email": email, "name": name} if name else {"email": email})


def test_one_address_before_another_is_not_two_recipients() -> None:
    assert unchecked(to=["eve@example.org <ann@example.com>"])["personalizations"][0]["to"] == [
        {"email": "eve@example.org <ann@example.com>"}
    ]
    assert faults(to=["eve@example.org <ann@example.com>"]) == ["personalizations.0.to.0.email"]


def test_recipients_may_be_a_tuple_and_what_is_empty_in_them_is_skipped() -> None:
    written = body(to=("ann@example.com", ""), cc=("", "cc@example.com"), bcc=["", None], reply_to=["", None])
    assert written["personalizations"] == [{"to": [{"email": "ann@example.com"}], "cc": [{"email": "cc@example.com"}]}]
    assert "reply_to_list" not in written


@pytest.mark.parametrize(
    "text",
    [
        *("nobody", "Ann <>", "Doe, Ann <ann@example.com>", "a@b@c", "ann@", "@example.com", "@"),
        *("to@other.com@example.com", "tó@example.com", "Mail, Inc. <mail@example.com>"),
    ],
)
def test_what_is_no_address_is_named(text: str) -> None:
    assert {fault.rpartition(".")[0] for fault in faults(to=[text])} <= {f"personalizations.0.to.{n}" for n in (0, 1)}
    assert faults(to=[text])


def test_lazy_texts_are_written_as_they_are_by_now() -> None:
    later = lazy(lambda text: text, str)
    written = body(
        subject=later("Subject"),
        body=later("Text"),
        alternatives=[(later("<p>"), "text/html")],
        from_email=later('"Global Sales" <sales@example.com>'),
        to=[later("ann@example.com")],
        headers={"X-Lazy": later("yes")},
        metadata={"order": later("1")},
        tags=[later("tag")],
    )
    assert (written["subject"], content(written)) == ("Subject", [("text/plain", "Text"), ("text/html", "<p>")])
    assert written["from"] == {"email": "sales@example.com", "name": "Global Sales"}
    assert written["personalizations"][0]["to"] == [{"email": "ann@example.com"}]
    assert (written["headers"], written["custom_args"], written["categories"]) == (
        {"X-Lazy": "yes"},
        {"order": "1"},
        ["tag"],
    )


def test_none_is_an_empty_text() -> None:
    made = message(body=None, alternatives=[("<p>", "text/html")])
    made.body = None
    assert content(body(made)) == [("text/html", "<p>")]
    made.subject = None
    made.template_id = "d-1"
    assert "subject" not in body(made)


def test_a_message_with_copies_alone_is_named() -> None:
    assert faults(to=[], cc=["cc@example.com"]) == ["personalizations.0.to"]


def test_a_message_without_sender_is_named() -> None:
    made = message()
    made.from_email = ""
    assert [fault.field for fault in mails.faults(mails.load(unchecked(made)), now=time.time())] == ["from"]


def test_the_encoding_of_a_message_is_none_of_sendgrids_business() -> None:
    made = message(subject="Größe", body="Größe", alternatives=[("<p>Größe", "text/html")])
    made.encoding = "iso-8859-1"
    written = body(made)
    assert (written["subject"], content(written)) == ("Größe", [("text/plain", "Größe"), ("text/html", "<p>Größe")])


@pytest.mark.parametrize("field", ["subject", "body"])
def test_a_text_that_cannot_be_written_is_named(field: str) -> None:
    assert faults(**{field: "F\udcf6"}) == ["content.0.value" if field == "body" else "subject"]


def test_an_html_alternative_follows_the_text() -> None:
    html = "<p>Hello"
    written = body(alternatives=[(html, "text/html")])
    assert content(written) == [("text/plain", "Hello Ann"), ("text/html", html)]


def test_a_message_may_be_html_alone() -> None:
    assert content(body(message(EmailMessage, body="<p>Hello", content_subtype="html"))) == [("text/html", "<p>Hello")]


def test_parts_are_put_into_the_order_that_sendgrid_asks_for() -> None:
    alternatives = [("BEGIN", "text/calendar"), ("<amp>", "text/x-amp-html"), ("text", "text/plain")]
    written = body(body="<p>", content_subtype="html", alternatives=alternatives)
    assert [kind for kind, _ in content(written)] == ["text/plain", "text/x-amp-html", "text/html", "text/calendar"]


def test_alternatives_of_any_text_are_kept_whoever_is_first_and_how_many_there_are() -> None:
    alternatives = [("<p>1", "text/html"), (b"<p>2", "text/html"), ("{}", "application/json"), ("More", "text/plain")]
    assert content(body(alternatives=alternatives)) == [
        ("text/plain", "Hello Ann"),
        ("text/plain", "More"),
        ("text/html", "<p>1"),
        ("text/html", "<p>2"),
        ("application/json", "{}"),
    ]


def test_alternatives_may_stand_for_the_body_and_beside_a_file() -> None:
    made = message(body="", alternatives=[("Text", "text/plain"), ("<p>", "text/html")])
    made.attach("a.txt", "A file", "text/plain")
    written = body(made)
    assert content(written) == [("text/plain", "Text"), ("text/html", "<p>")]
    assert len(written["attachments"]) == 1


def test_an_alternative_that_is_no_text_is_named() -> None:
    assert faults(alternatives=[(b"\xff\xfb\x90", "audio/mpeg")]) == ["content"]


def test_a_date_in_a_header_is_written_as_mail_has_it() -> None:
    headers = {"Date": datetime(2001, 11, 9, 1, 8, 47, tzinfo=UTC), "Message-ID": "<own@example.com>"}
    assert body(headers=headers)["headers"] == {
        "Date": "Fri, 09 Nov 2001 01:08:47 +0000",
        "Message-ID": "<own@example.com>",
    }


def test_headers_may_have_any_letters() -> None:
    headers = {"Comments": "Größe, další", "Sender": '"Firstname Sürname" <sender@example.com>'}
    assert body(headers=headers)["headers"] == headers


def test_a_header_that_is_neither_text_nor_number_is_named() -> None:
    assert faults(headers={"X-Total": Decimal("12.5")}) == ["headers.X-Total"]


def test_headers_are_kept_and_numbers_in_them_written_out() -> None:
    headers = {"X-Order": 17, "List-Unsubscribe": "<https://example.com/u>"}
    assert body(headers=headers)["headers"] == {"X-Order": "17", "List-Unsubscribe": "<https://example.com/u>"}


def test_from_and_reply_to_headers_go_to_their_fields_in_any_case() -> None:
    written = body(
        headers={"reply-to": "Help <help@example.com>", "From": "ceo@example.com"}, reply_to=["no@example.com"]
    )
    assert written["reply_to_list"] == [{"email": "help@example.com", "name": "Help"}]
    assert written["from"] == {"email": "ceo@example.com"}
    assert "headers" not in written


@pytest.mark.parametrize("name", ["To", "cc", "Bcc", "Subject", "Content-Type", "Received"])
def test_other_headers_that_sendgrid_writes_itself_are_refused(name: str) -> None:
    assert faults(headers={name: "x@example.com"}) == [f"headers.{name}"]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("field", ["subject", "from_email", "to", "cc", "bcc", "reply_to", "headers"])
def test_a_line_break_cannot_begin_another_header(field: str, end: str) -> None:
    bad = f"a@example.com{end}Bcc: victim@example.com"
    value: Any = {"X-A": bad} if field == "headers" else bad if field in ("subject", "from_email") else [bad]
    with pytest.raises(BadHeader) as raised:
        unchecked(**{field: value})
    assert [fault.field for fault in raised.value.faults] == ["headers.X-A" if field == "headers" else field]


def test_several_senders_are_refused() -> None:
    assert faults(from_email="a@example.com, b@example.com") == ["from_email"]


@pytest.mark.parametrize("text", ["help@example.com", lazy(lambda: "help@example.com", str)()])
def test_a_string_in_place_of_a_list_is_a_type_error_as_in_django(text: object) -> None:
    made = message()
    made.reply_to = text
    with pytest.raises(TypeError, match="reply_to"):
        unchecked(made)


# -- Attachments


def test_files_are_attached_with_their_type() -> None:
    made = message()
    made.attach("notes.txt", "Überall", "text/plain")
    made.attach("data.bin", b"\0\1")
    made.attach("report.pdf", b"%PDF", "application/pdf")
    made.attach(None, PNG, "image/png")
    assert attached(made) == [
        {"content": "Überall".encode(), "type": 'text/plain; charset="utf-8"', "filename": "notes.txt"},
        {"content": b"\0\1", "type": "application/octet-stream", "filename": "data.bin"},
        {"content": b"%PDF", "type": "application/pdf", "filename": "report.pdf"},
        {"content": PNG, "type": "image/png", "filename": "attachment.png"},
    ]


def test_a_type_is_guessed_where_none_is_given() -> None:
    made = message()
    made.attachments += [("a.png", PNG, None), ("letter.txt", "Dear", None), ("unknown", b"?", None)]
    kinds = [part["type"] for part in attached(made)]
    assert kinds == ["image/png", 'text/plain; charset="utf-8"', "application/octet-stream"]


@pytest.mark.parametrize("disposition", ["inline", None])
def test_an_image_in_the_text_has_its_content_id(disposition: str | None) -> None:
    image = MIMEImage(PNG, "png", name="logo.png")
    image.add_header("Content-ID", "<logo>")
    if disposition:
        image.add_header("Content-Disposition", disposition)
    made = message()
    made.attachments.append(image)
    assert attached(made) == [
        {
            "content": PNG,
            "type": 'image/png; name="logo.png"',
            "filename": "logo.png",
            "disposition": "inline",
            "content_id": "logo",
        }
    ]


def test_an_attached_image_is_not_shown_in_the_text() -> None:
    image = MIMEImage(PNG, "png")
    image.add_header("Content-ID", "<photo>")
    image.add_header("Content-Disposition", "attachment", filename="photo.png")
    made = message()
    made.attachments.append(image)
    assert attached(made) == [{"content": PNG, "type": "image/png", "filename": "photo.png"}]


def test_anymails_inline_images_are_taken() -> None:
    made = message()
    content_id = attach_inline_image(made, PNG, "logo.png", "png")
    (part,) = attached(made)
    assert (part["content"], part["disposition"], part["content_id"]) == (PNG, "inline", content_id)


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 has begun to take them")
def test_pythons_own_parts_are_taken() -> None:
    text, image = MIMEPart(), MIMEPart()
    text.set_content("Größe", filename="size.txt", disposition="attachment")
    image.set_content(PNG, maintype="image", subtype="png", disposition="inline", cid="<logo@example.com>")
    made = message(attachments=[text])
    made.attach(image)
    first, second = attached(made)
    assert (first["content"], first["filename"], "disposition" in first) == ("Größe\n".encode(), "size.txt", False)
    assert (second["content"], second["type"], second["filename"]) == (PNG, "image/png", "attachment.png")
    assert (second["disposition"], second["content_id"]) == ("inline", "logo@example.com")


def test_a_mime_part_keeps_its_content_whatever_its_encoding() -> None:
    file = MIMEBase("application", "x-tar")
    file.set_payload(b"tar")
    file.add_header("Content-Disposition", "attachment", filename="a.tar")
    text = MIMEText("Größe", "csv", "iso-8859-1")
    made = message()
    made.attachments += [file, text]
    parts = attached(made)
    assert [(part["content"], part["type"]) for part in parts] == [
        (b"tar", "application/x-tar"),
        ("Größe".encode(), 'text/csv; charset="utf-8"'),
    ]


def test_a_mail_may_be_attached() -> None:
    made = message()
    made.attachments.append(("old.eml", message(subject="Inner", body="Old text"), "message/rfc822"))
    (part,) = attached(made)
    assert (part["type"], part["filename"]) == ("message/rfc822", "old.eml")
    assert b"Subject: Inner\r\n" in part["content"]
    assert b"Old text" in part["content"]


CHILD = "Subject: Child\n\nOld text"


@pytest.mark.parametrize(
    "child",
    [
        message(subject="Child", body="Old text"),
        message_from_string(CHILD),
        message_from_string(CHILD, policy=policy.default),
        CHILD,
        CHILD.encode(),
    ],
)
def test_a_mail_may_be_attached_in_each_form(child: Any) -> None:
    made = message()
    made.attach(content=child, mimetype="message/rfc822")
    (part,) = attached(made)
    assert (part["type"], part["filename"]) == ("message/rfc822", "attachment.eml")
    inner = message_from_bytes(part["content"])
    assert (inner["Subject"], inner.get_payload().rstrip()) == ("Child", "Old text")


def test_an_attached_mail_keeps_its_letters() -> None:
    inner = (
        "Subject: 8bit\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n¡Olé!\n".encode()
    )
    made = message()
    made.attach("old.eml", inner, "message/rfc822")
    assert attached(made)[0]["content"] == inner


def test_bytes_of_a_text_are_a_text_only_in_utf8() -> None:
    made = message()
    made.attachments = [
        ("utf8.txt", "ä".encode(), "text/plain"),
        ("latin1.txt", b"\xe4", "text/plain"),
        ("told.txt", b"\xe4", 'text/plain; charset="iso-8859-1"'),
    ]
    made.attach("guessed.txt", b"\xc3\xa4")
    made.attach("unknown.txt", b"\xff")
    assert [(part["filename"], part["type"]) for part in attached(made)] == [
        ("utf8.txt", 'text/plain; charset="utf-8"'),
        ("latin1.txt", "application/octet-stream"),
        ("told.txt", 'text/plain; charset="iso-8859-1"'),
        ("guessed.txt", 'text/plain; charset="utf-8"'),
        ("unknown.txt", "application/octet-stream"),
    ]


def test_a_type_may_be_left_out_and_only_a_text_has_a_charset() -> None:
    later = lazy(lambda text: text, str)
    made = message()
    made.attachments = [
        EmailAttachment("data.json", "{}", "application/json"),
        ("no extension", "text"),
        (later("lazy.csv"), later("a,b"), "text/csv"),
    ]
    assert [(part["type"], part["filename"], part["content"]) for part in attached(made)] == [
        ("application/json", "data.json", b"{}"),
        ("application/octet-stream", "no extension", b"text"),
        ('text/csv; charset="utf-8"', "lazy.csv", b"a,b"),
    ]


@pytest.mark.parametrize(
    ("name", "told", "kind"),
    [
        ("file.txt", None, 'text/plain; charset="utf-8"'),
        ("file.png", None, "image/png"),
        ("file", None, "application/octet-stream"),
        ("file.eml", None, "message/rfc822"),
        ("file.png", "application/pdf", "application/pdf"),
        ("file.txt", "image/png", "image/png"),
        ("une pièce jointe 🐎.pdf", None, "application/pdf"),
    ],
)
def test_a_file_from_the_disk_is_attached_as_it_is(name: str, told: str | None, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(CHILD.encode())
    made = message()
    made.attach_file(tmp_path / name, mimetype=told)
    (part,) = attached(made)
    assert (part["filename"], part["type"], part["content"]) == (name, kind, CHILD.encode())


def test_a_file_that_cannot_be_written_is_named() -> None:
    assert faults(attachments=[("a.txt", "F\udcf6", "text/plain")]) == ["attachments.0"]


def test_a_text_in_an_unknown_charset_is_attached_as_it_is() -> None:
    text = MIMEBase("text", "plain", charset="x-unknown")
    text.set_payload("old")
    made = message()
    made.attachments.append(text)
    assert attached(made)[0]["content"] == b"old"


def test_an_empty_file_is_refused_as_sendgrid_does() -> None:
    assert faults(attachments=[("empty.txt", "", "text/plain")]) == ["attachments.0.content"]


# -- Anymail's attributes


def test_metadata_becomes_custom_args_and_tags_categories() -> None:
    written = body(metadata={"order": 17, "total": 1.5, "who": "ann"}, tags=["receipt", "shop"])
    assert written["custom_args"] == {"order": "17", "total": "1.5", "who": "ann"}
    assert written["categories"] == ["receipt", "shop"]


@pytest.mark.parametrize("value", [Decimal("1.5"), None, ["a"], {"a": "b"}, datetime(2030, 1, 1, tzinfo=UTC)])
def test_metadata_that_is_neither_text_nor_number_is_named(value: object) -> None:
    (fault,) = faults(metadata={"order": value})
    assert fault == "custom_args.order"


@pytest.mark.parametrize(
    ("send_at", "expected"),
    [
        (1_900_000_000, 1_900_000_000),
        (1_900_000_000.7, 1_900_000_000),
        (datetime(2030, 3, 17, 12, tzinfo=UTC), 1_899_979_200),
        (datetime(2030, 3, 17, 12), 1_899_975_600),  # noqa: DTZ001  # in Berlin
        (date(2030, 3, 17), 1_899_932_400),
    ],
)
def test_send_at_is_a_time_of_the_site(send_at: object, expected: int) -> None:
    assert unchecked(send_at=send_at)["send_at"] == expected


@pytest.mark.parametrize("send_at", ["tomorrow", float("nan"), float("inf")])
def test_a_send_at_that_is_no_time_is_named(send_at: object) -> None:
    assert faults(send_at=send_at) == ["send_at"]


@pytest.mark.parametrize("on", [True, False])
def test_tracking_is_switched(on: bool) -> None:
    tracking = body(track_opens=on, track_clicks=on)["tracking_settings"]
    assert tracking == {"open_tracking": {"enable": on}, "click_tracking": {"enable": on}}
    assert body(track_opens=on)["tracking_settings"] == {"open_tracking": {"enable": on}}


def test_a_template_may_stand_for_subject_and_text() -> None:
    written = body(subject="", body="", template_id="d-1234")
    assert written["template_id"] == "d-1234"
    assert written.keys().isdisjoint(("subject", "content"))


PEOPLE = ["Ann <ann@example.com>", "bob@example.com"]


def test_merge_data_gives_each_recipient_a_mail_of_their_own() -> None:
    written = body(
        to=PEOPLE,
        cc=["cc@example.com"],
        template_id="d-1234",
        merge_data={"ann@example.com": {"name": "Ann", "items": [1, 2]}, "eve@example.com": {"name": "Eve"}},
        merge_global_data={"name": "you", "shop": "Shop"},
    )
    cc = {"cc": [{"email": "cc@example.com"}]}
    assert written["personalizations"] == [
        {
            "to": [{"email": "ann@example.com", "name": "Ann"}],
            **cc,
            "dynamic_template_data": {"name": "Ann", "shop": "Shop", "items": [1, 2]},
        },
        {"to": [{"email": "bob@example.com"}], **cc, "dynamic_template_data": {"name": "you", "shop": "Shop"}},
    ]


def test_global_merge_data_alone_leaves_the_recipients_together() -> None:
    (written,) = body(to=PEOPLE, template_id="d-1", merge_global_data={"shop": "Shop"})["personalizations"]
    assert (len(written["to"]), written["dynamic_template_data"]) == (2, {"shop": "Shop"})


@pytest.mark.parametrize("attribute", ["merge_data", "merge_metadata", "merge_headers"])
def test_empty_merge_data_is_enough_to_part_the_recipients(attribute: str) -> None:
    assert [len(each["to"]) for each in body(to=PEOPLE, **{attribute: {}})["personalizations"]] == [1, 1]


def test_a_legacy_template_gets_substitutions_in_its_own_form() -> None:
    merge = {"to": PEOPLE, "template_id": "5997fcf6", "merge_data": {"ann@example.com": {"name": "Ann", "count": 3}}}
    first, second = body(**merge, merge_field_format="-{}-")["personalizations"]
    assert first["substitutions"] == {"-name-": "Ann", "-count-": "3"}
    assert "substitutions" not in second
    own = body(**merge, merge_field_format="-{}-", esp_extra={"merge_field_format": "[{}]"})["personalizations"][0]
    assert own["substitutions"] == {"[name]": "Ann", "[count]": "3"}
    plain = body(**merge)["personalizations"][0]
    assert plain["substitutions"] == {"name": "Ann", "count": "3"}


def test_lazy_merge_data_is_text_by_now() -> None:
    later = lazy(lambda text: text, str)
    (written,) = body(
        template_id="d-1",
        merge_data={"ann@example.com": {"for": later("One month")}},
        merge_global_data={"kind": later("Subscription")},
    )["personalizations"]
    assert written["dynamic_template_data"] == {"for": "One month", "kind": "Subscription"}


def test_substitutions_may_be_null_and_their_numbers_are_written_out() -> None:
    data = {":integer": 1, ":float": 1.0, ":null": None}
    (written,) = body(merge_data={"ann@example.com": data})["personalizations"]
    assert written["substitutions"] == {":integer": "1", ":float": "1.0", ":null": None}


def test_use_dynamic_template_overrules_a_dynamic_id_too() -> None:
    extra = {"use_dynamic_template": False, "merge_field_format": "<%{}%>"}
    written = unchecked(template_id="d-1", merge_data={"ann@example.com": {"a": "b"}}, esp_extra=extra)
    assert written["personalizations"][0]["substitutions"] == {"<%a%>": "b"}
    assert written.keys().isdisjoint(extra)


@pytest.mark.parametrize("legacy", [True, False])
def test_merge_data_and_metadata_and_headers_go_together(legacy: bool) -> None:
    first, second = body(
        to=PEOPLE,
        headers={"List-Unsubscribe": "<mailto:u@example.com>", "X-Common": "yes"},
        template_id="5997fcf6" if legacy else "d-1234",
        merge_data={"ann@example.com": {"name": "Ann"}},
        merge_metadata={"ann@example.com": {"order": 1}},
        merge_headers={"ann@example.com": {"List-Unsubscribe": "<https://example.com/ann>"}},
        esp_extra={"merge_field_format": ":{}"} if legacy else {},
    )["personalizations"]
    assert first == {
        "to": [{"email": "ann@example.com", "name": "Ann"}],
        "custom_args": {"order": "1"},
        "headers": {"List-Unsubscribe": "<https://example.com/ann>"},
        **({"substitutions": {":name": "Ann"}} if legacy else {"dynamic_template_data": {"name": "Ann"}}),
    }
    assert second == {"to": [{"email": "bob@example.com"}]}


def test_fields_that_sendgrid_may_have_one_day_reach_it() -> None:
    extra = {"personalizations": {"future_feature": "works"}, "another": [1]}
    written = body(to=PEOPLE, merge_data={}, esp_extra=extra)
    assert [each["future_feature"] for each in written["personalizations"]] == ["works", "works"]
    assert written["another"] == [1]


def test_an_error_names_no_address_that_is_not_at_fault() -> None:
    with pytest.raises(InvalidMail) as raised:
        unchecked(envelope_sender="bounce@example.com", cc=["cc@example.com"])
    assert "@" not in str(raised.value)


@pytest.mark.parametrize("value", [{"first": "Ann"}, ["Ann"], Decimal("1.0")])
def test_substitutions_that_are_no_text_are_named(value: object) -> None:
    found = faults(template_id="legacy", merge_global_data={"name": value})
    assert found == ["personalizations.0.substitutions.name"]


def test_merge_metadata_and_headers_are_by_recipient() -> None:
    first, second = body(
        to=PEOPLE,
        metadata={"campaign": "may"},
        merge_metadata={"ann@example.com": {"order": 1}},
        merge_headers={"bob@example.com": {"List-Unsubscribe": "<https://example.com/bob>"}},
    )["personalizations"]
    assert (first["custom_args"], "headers" in first) == ({"order": "1"}, False)
    assert (second["headers"], "custom_args" in second) == ({"List-Unsubscribe": "<https://example.com/bob>"}, False)


def test_esp_extra_reaches_every_field_of_sendgrid() -> None:
    extra = {
        "asm": {"group_id": 1},
        "ip_pool_name": "transactional",
        "tracking_settings": {"click_tracking": {"enable_text": False}},
        "personalizations": {"subject": "Another"},
    }
    written = body(to=PEOPLE, track_clicks=True, merge_metadata={}, esp_extra=extra)
    assert (written["asm"], written["ip_pool_name"]) == ({"group_id": 1}, "transactional")
    assert written["tracking_settings"] == {"click_tracking": {"enable": True, "enable_text": False}}
    assert [each["subject"] for each in written["personalizations"]] == ["Another", "Another"]
    assert "personalizations" in extra, "the message stays as it is"


def test_use_dynamic_template_overrules_the_id() -> None:
    extra = {"use_dynamic_template": True}
    (written,) = unchecked(template_id="x", merge_global_data={"a": 1}, esp_extra=extra)["personalizations"]
    assert written["dynamic_template_data"] == {"a": 1}


def test_esp_extras_list_of_personalizations_replaces_them() -> None:
    listed = [{"to": [{"email": "x@example.com"}]}]
    assert body(esp_extra={"personalizations": listed})["personalizations"] == listed


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"envelope_sender": "bounce@example.com"}, "envelope_sender"),
        ({"esp_extra": {"x-smtpapi": {}}}, "esp_extra.x-smtpapi"),
        ({"metadata": "order"}, "metadata"),
        ({"merge_data": ["ann@example.com"]}, "merge_data"),
        ({"merge_data": {"ann@example.com": "Ann"}}, "merge_data"),
    ],
)
def test_what_sendgrid_has_no_field_for_is_named(fields: dict[str, Any], named: str) -> None:
    assert faults(**fields) == [named]


def test_the_sites_defaults_stand_behind_the_messages_own() -> None:
    defaults = {"tags": ["site"], "metadata": {"site": "de", "order": "none"}, "track_opens": False}
    written = body(tags=["receipt"], metadata={"order": "1"}, defaults=defaults)
    assert (written["categories"], written["custom_args"]) == (["site", "receipt"], {"site": "de", "order": "1"})
    assert written["tracking_settings"] == {"open_tracking": {"enable": False}}
    assert "categories" not in body(tags=None, defaults=defaults)


def test_a_single_tag_need_not_be_in_a_list() -> None:
    assert body(tags="receipt", defaults={"tags": "site"})["categories"] == ["site", "receipt"]
    assert body(defaults={"tags": "site"})["categories"] == ["site"]


def test_anymails_own_message_class_works() -> None:
    assert body(message(AnymailMessage)) == body()
    made = AnymailMessage("Hello", "Text", to=["ann@example.com"], tags=["receipt"], track_opens=True)
    written = body(made)
    assert (written["categories"], written["tracking_settings"]["open_tracking"]) == (["receipt"], {"enable": True})


# -- Whatever it is

TEXTS = st.one_of(st.sampled_from(["ann@example.com", "Ann <ann@example.com>", "", "a,b", '"', "<", "\n"]), st.text())
NAMES = st.one_of(st.sampled_from(["Reply-To", "from", "X-A", "To"]), st.text())
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.lists(TEXTS), st.dates())
DICTS = st.dictionaries(NAMES, VALUES)


@given(
    subject=TEXTS,
    from_email=TEXTS,
    to=st.lists(TEXTS),
    cc=st.lists(TEXTS),
    reply_to=st.lists(TEXTS),
    headers=DICTS,
    attachments=st.lists(st.tuples(st.none() | TEXTS, st.binary() | TEXTS, st.none() | st.just("text/plain"))),
    extra=st.fixed_dictionaries(
        {},
        optional={
            "metadata": DICTS,
            "merge_data": st.dictionaries(TEXTS, DICTS | VALUES),
            "merge_global_data": DICTS,
            "esp_extra": DICTS,
            "template_id": VALUES,
            "send_at": VALUES,
            "track_opens": VALUES,
        },
    ),
)
def test_whatever_a_message_has_is_written_or_named(
    extra: dict[str, Any], attachments: list[Any], **fields: Any
) -> None:
    made = message(**fields, **extra)
    made.attachments += attachments
    with suppress(InvalidMail):
        mails.faults(mails.load(unchecked(made)), now=time.time())
