"""A Django message becomes a body of SendGrid's v3 `mail/send` that SendGrid takes."""

import time
from base64 import b64decode
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from email.message import MIMEPart
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from typing import Any
from zoneinfo import ZoneInfo

import django
import pytest
from anymail.message import AnymailMessage, attach_inline_image
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.functional import lazy
from hypothesis import given
from hypothesis import strategies as st

from postroom import mail as mails
from producers import InvalidMail
from producers.django.body import BadHeader, body_of
from tests import django_site

django_site.set_up()

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def message(kind: type[EmailMessage] = EmailMultiAlternatives, **fields: Any) -> Any:
    """A message; what its constructor does not know becomes an attribute."""
    known = ("subject", "body", "from_email", "to", "cc", "bcc", "reply_to", "headers", "attachments", "alternatives")
    given = {"subject": "Hello", "body": "Hello Ann", "to": ["ann@example.com"], **fields}
    made = kind(**{name: value for name, value in given.items() if name in known})
    for name in given.keys() - set(known):
        setattr(made, name, given[name])
    return made


def unchecked(made: Any = None, **fields: Any) -> dict[str, Any]:
    options = {name: fields.pop(name) for name in ("defaults", "merge_field_format") if name in fields}
    return body_of(made or message(**fields), zone=ZoneInfo("Europe/Berlin"), **options)


def body(made: Any = None, **fields: Any) -> dict[str, Any]:
    """The body, which SendGrid would take."""
    written = unchecked(made, **fields)
    assert mails.faults(mails.load(written), now=time.time()) == []
    return written


def faults(**fields: Any) -> list[str]:
    """The fields that are at fault: of the message, or by SendGrid's rules."""
    try:
        written = mails.load(unchecked(**fields))
    except InvalidMail as error:
        return [fault.field for fault in error.faults]
    return [fault.field for fault in mails.faults(written, now=time.time())]


def content(written: dict[str, Any]) -> list[tuple[str, str]]:
    return [(part["type"], part["value"]) for part in written["content"]]


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


@pytest.mark.parametrize("text", ["nobody", "Ann <>", "Doe, Ann <ann@example.com>", "a@b@c", "ann@", "@example.com"])
def test_what_is_no_address_is_named(text: str) -> None:
    assert {fault.rpartition(".")[0] for fault in faults(to=[text])} <= {f"personalizations.0.to.{n}" for n in (0, 1)}
    assert faults(to=[text])


def test_lazy_texts_are_written_as_they_are_by_now() -> None:
    later = lazy(lambda text: text, str)
    written = body(
        subject=later("Subject"),
        body=later("Text"),
        to=[later("ann@example.com")],
        headers={"X-Lazy": later("yes")},
        metadata={"order": later("1")},
        tags=[later("tag")],
    )
    assert (written["subject"], content(written)) == ("Subject", [("text/plain", "Text")])
    assert written["personalizations"][0]["to"] == [{"email": "ann@example.com"}]
    assert (written["headers"], written["custom_args"], written["categories"]) == (
        {"X-Lazy": "yes"},
        {"order": "1"},
        ["tag"],
    )


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


def test_a_string_in_place_of_a_list_is_a_type_error_as_in_django() -> None:
    made = message()
    made.reply_to = "help@example.com"
    with pytest.raises(TypeError, match="reply_to"):
        unchecked(made)


# -- Attachments


def attached(made: Any) -> list[dict[str, Any]]:
    return [part | {"content": b64decode(part["content"])} for part in body(made)["attachments"]]


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
    part = MIMEPart()
    part.set_content("Größe", filename="size.txt", disposition="attachment")
    assert [each["content"] for each in attached(message(attachments=[part]))] == ["Größe\n".encode()]


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


@pytest.mark.parametrize("value", [Decimal("1.5"), None, ["a"], datetime(2030, 1, 1, tzinfo=UTC)])
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


def test_empty_merge_data_is_enough_to_part_the_recipients() -> None:
    assert [len(each["to"]) for each in body(to=PEOPLE, merge_data={})["personalizations"]] == [1, 1]


def test_a_legacy_template_gets_substitutions_in_its_own_form() -> None:
    merge = {"to": PEOPLE, "template_id": "5997fcf6", "merge_data": {"ann@example.com": {"name": "Ann", "count": 3}}}
    first, second = body(**merge, merge_field_format="-{}-")["personalizations"]
    assert first["substitutions"] == {"-name-": "Ann", "-count-": "3"}
    assert "substitutions" not in second
    own = body(**merge, merge_field_format="-{}-", esp_extra={"merge_field_format": "[{}]"})["personalizations"][0]
    assert own["substitutions"] == {"[name]": "Ann", "[count]": "3"}
    plain = body(**merge)["personalizations"][0]
    assert plain["substitutions"] == {"name": "Ann", "count": "3"}


def test_substitutions_that_are_no_text_are_named() -> None:
    found = faults(template_id="legacy", merge_global_data={"name": {"first": "Ann"}})
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
