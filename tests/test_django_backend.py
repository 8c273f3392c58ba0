"""Django's backend enqueues what Django hands it; in a real Redis."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import django
import pytest
import redis
from django.core.mail import (
    EmailMessage,
    EmailMultiAlternatives,
    get_connection,
    mail_admins,
    mail_managers,
    send_mail,
    send_mass_mail,
)
from django.core.mail import message as django_message
from django.db import connection, transaction
from django.test.utils import override_settings

from postroom.ids import new_id, place_of
from producers import ConfigurationError, InvalidMail, KeyConflict, Postroom, QueueUnavailable, Settings
from producers.django import EmailBackend
from tests import django_site
from tests.django_site import mailbox
from tests.django_site.mailbox import Mailbox, recipients
from tests.servers import ROOT, RedisServer, clean_environment

django_site.set_up()


@pytest.fixture(autouse=True)
def site(redis_url: str) -> Iterator[None]:
    """The site, with an empty Redis, and with fresh databases for what a test does in them."""
    with override_settings(POSTROOM={"REDIS_URL": redis_url}):
        yield
    django_site.forget_databases()


@pytest.fixture
def postroom(redis_url: str) -> Iterator[Postroom]:
    with Postroom(Settings(redis_url=redis_url)) as client:
        yield client


def message(to: str = "ann@example.com", **attributes: Any) -> Any:
    made = EmailMessage("Hello", "Hello Ann", to=[to])
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def sends(messages: list[Any], **options: Any) -> int:
    return int(EmailBackend(**options).send_messages(messages))


@pytest.fixture
def stored(redis_url: str) -> Mailbox:
    return lambda: mailbox.stored(redis_url)


# -- Django's mail functions


def test_send_mail_enqueues_one_mail(stored: Mailbox) -> None:
    assert send_mail("Subject", "Text", "Shop <shop@example.com>", ["ann@example.com"], html_message="<p>") == 1
    (body,) = stored()
    assert body["subject"] == "Subject"
    assert body["content"] == [{"type": "text/plain", "value": "Text"}, {"type": "text/html", "value": "<p>"}]


def test_send_mass_mail_enqueues_one_batch(postroom: Postroom, stored: Mailbox) -> None:
    rows = [("Subject", "Text", None, [f"reader{number}@example.com"]) for number in range(3)]
    assert send_mass_mail(rows) == 3
    bodies = stored()
    assert recipients(bodies) == [f"reader{number}@example.com" for number in range(3)]
    (batch,) = {place_of(body["custom_args"]["postroom_id"]).batch for body in bodies}
    assert batch
    assert postroom.progress(batch).queued == 3


def test_mail_to_the_admins_is_enqueued(stored: Mailbox) -> None:
    with override_settings(ADMINS=django_site.people("boss@example.com")):
        mail_admins("Broken", "Look")
    (body,) = stored()
    assert (body["from"]["email"], body["subject"]) == ("server@example.com", "[Django] Broken")


def test_messages_of_both_kinds_go_in_one_call(stored: Mailbox) -> None:
    html = EmailMultiAlternatives("Hello", "Text", to=["bob@example.com"], alternatives=[("<p>", "text/html")])
    assert sends([message(), html]) == 2
    assert recipients(stored()) == ["ann@example.com", "bob@example.com"]


def test_mail_to_the_managers_is_enqueued(stored: Mailbox) -> None:
    with override_settings(MANAGERS=django_site.people("manager@example.com")):
        mail_managers("Sold out", "Look", html_message="<p>Look")
    (body,) = stored()
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert recipients([body]) == ["manager@example.com"]


def test_messages_may_come_from_a_generator(stored: Mailbox) -> None:
    assert EmailBackend().send_messages(message(f"{name}@example.com") for name in ("ann", "bob")) == 2
    assert recipients(stored()) == ["ann@example.com", "bob@example.com"]


@pytest.mark.parametrize("text", ["Žluťoučký kůň 🐎", "x" * 2000, "From me\n.\n\n..\nend", "tab\there"])
def test_texts_are_kept_to_the_letter(text: str, stored: Mailbox) -> None:
    send_mail("Chère maman 🐎", text, "Firstname Sürname <from@example.com>", ["ann@example.com"])
    (body,) = stored()
    assert (body["subject"], body["content"][0]["value"]) == ("Chère maman 🐎", text)
    assert body["from"] == {"email": "from@example.com", "name": "Firstname Sürname"}


@pytest.mark.parametrize("messages", [[], None, iter(())])
def test_no_messages_are_no_work(messages: Any) -> None:
    assert EmailBackend().send_messages(messages) == 0


def test_a_message_without_recipients_is_left_out(stored: Mailbox) -> None:
    nobody = EmailMessage("Hello", "Text", to=[""])
    assert nobody.send() == 0
    assert sends([nobody]) == 0
    assert sends([nobody, message()]) == 1
    assert recipients(stored()) == ["ann@example.com"]


def test_a_backend_serves_as_a_context_and_may_be_opened_and_closed() -> None:
    with EmailBackend() as backend:
        assert backend.send_messages([message()]) == 1
    backend.open()
    backend.close()
    backend.close()
    assert backend.send_messages([message()]) == 1


def test_what_a_message_says_when_it_is_sent_counts(stored: Mailbox) -> None:
    with transaction.atomic():
        made = message(metadata={"order": "1"})
        sends([made])
        made.subject, made.metadata["order"] = "Later", "2"
    (body,) = stored()
    assert (body["subject"], body["custom_args"]["order"]) == ("Hello", "1")


# -- What the message knows afterwards


def test_a_message_has_the_id_of_its_mail(postroom: Postroom) -> None:
    made = message()
    sends([made])
    assert postroom.status(made.postroom_id).state == "queued"


def test_the_messages_of_a_batch_have_ids_too_over_all_its_chunks(postroom: Postroom, redis_url: str) -> None:
    messages = [message(f"reader{number}@example.com") for number in range(7)]
    with override_settings(POSTROOM={"REDIS_URL": redis_url, "CHUNK_MAILS": 3}):
        sends(messages)
    (batch,) = {made.postroom_batch_id for made in messages}
    ids = [made.postroom_id for made in messages]
    assert [place_of(id)[2:] for id in ids] == [(batch, row) for row in range(7)]
    assert {postroom.status(id).batch_id for id in ids} == {batch}


def test_the_id_in_the_ledger_is_that_of_the_message(stored: Mailbox) -> None:
    messages = [message(f"reader{number}@example.com") for number in range(3)]
    sends(messages)
    known = {made.to[0]: made.postroom_id for made in messages}
    assert known == {
        body["personalizations"][0]["to"][0]["email"]: body["custom_args"]["postroom_id"] for body in stored()
    }


def test_anymails_status_says_queued(postroom: Postroom) -> None:
    made = message()
    sends([made])
    status = made.anymail_status
    assert (status.message_id, status.status) == (made.postroom_id, {"queued"})
    assert status.recipients["ann@example.com"].status == "queued"


def test_a_message_that_is_sent_twice_is_two_mails(stored: Mailbox) -> None:
    made = message()
    with transaction.atomic():
        assert sends([made]) + sends([made]) == 2
    assert len({body["custom_args"]["postroom_id"] for body in stored()}) == 2


# -- Faults


def test_an_invalid_mail_is_told_in_the_transaction(stored: Mailbox) -> None:
    with pytest.raises(InvalidMail) as raised, transaction.atomic():
        sends([message("nobody")])
    assert [fault.field for fault in raised.value.faults] == ["personalizations.0.to.0.email"]
    assert raised.value.row is None
    assert stored() == []


def test_one_invalid_mail_of_several_is_named_and_none_is_enqueued(stored: Mailbox) -> None:
    with pytest.raises(InvalidMail, match="row 1: ") as raised:
        sends([message(), message("nobody"), message()])
    assert raised.value.row == 1
    assert stored() == []


def test_a_line_break_in_a_header_is_djangos_error_too() -> None:
    bad_header = getattr(django_message, "BadHeaderError", ValueError)
    for kind in (bad_header, InvalidMail, ValueError):
        with pytest.raises(kind, match="newlines"):
            send_mail("Hello\nBcc: eve@example.com", "Text", None, ["ann@example.com"])


def test_failing_silently_leaves_out_what_is_invalid(stored: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
    assert sends([message(), message("secret nobody"), message("bob@example.com")], fail_silently=True) == 2
    assert recipients(stored()) == ["ann@example.com", "bob@example.com"]
    assert "personalizations.0.to.0.email" in caplog.text
    assert "secret nobody" not in caplog.text


@pytest.fixture
def nowhere() -> Iterator[None]:
    """A site whose Redis nobody answers for."""
    with override_settings(POSTROOM={"REDIS_URL": "redis://127.0.0.1:9/0"}):
        yield


def test_without_redis_it_is_told(nowhere: None) -> None:
    made = message()
    with pytest.raises(QueueUnavailable) as raised:
        sends([made])
    assert raised.value.id == made.postroom_id
    with pytest.raises(QueueUnavailable):
        sends([message(), message()])


def test_without_redis_the_error_comes_out_of_the_commit(nowhere: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE shop_order (mail text)")

        def sell() -> None:
            with transaction.atomic():
                cursor.execute("INSERT INTO shop_order VALUES ('sold')")
                assert sends([message()]) == 1

        with pytest.raises(QueueUnavailable):
            sell()
        cursor.execute("SELECT count(*) FROM shop_order")
        assert cursor.fetchone() == (1,), "what was stored is committed"


def test_failing_silently_without_redis_is_logged(nowhere: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    assert sends([message()], fail_silently=True) == 0
    with transaction.atomic():
        assert sends([message(), message()], fail_silently=True) == 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "Not enqueued, 1 messages",
        "Not enqueued, 2 messages",
    ]


def test_a_mail_that_may_be_enqueued_is_repeated_under_its_id(own_redis_server: RedisServer) -> None:
    with override_settings(POSTROOM={"REDIS_URL": own_redis_server.url}):
        made = message()
        sends([made])
        own_redis_server.pause()
        try:
            with pytest.raises(QueueUnavailable) as raised:
                sends([made])
        finally:
            own_redis_server.resume()
        made.postroom = {"id": raised.value.id}
        assert [sends([made]), sends([made])] == [1, 1]
        with Postroom(Settings(redis_url=own_redis_server.url)) as postroom:
            assert postroom.status(raised.value.id).state == "queued"
    with own_redis_server.client() as client:
        assert len(client.keys("postroom:payload:*")) == 2


# -- Options


def lanes(redis_url: str, messages: list[Any]) -> set[str]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        return {client.hget(f"postroom:chunk:{place_of(made.postroom_id).chunk}", "lane") for made in messages}


def test_one_message_is_transactional_and_several_are_bulk_unless_the_site_says_otherwise(redis_url: str) -> None:
    one, several, named = [message()], [message(), message()], [message(), message()]
    sends(one)
    sends(several)
    assert [lanes(redis_url, one), lanes(redis_url, several)] == [{"transactional"}, {"bulk"}]
    with override_settings(POSTROOM={"REDIS_URL": redis_url, "LANE": "transactional"}):
        sends(named)
        assert lanes(redis_url, named) == {"transactional"}
        sends(one, lane="bulk")
    assert lanes(redis_url, one) == {"bulk"}


def test_a_message_may_have_arguments_of_its_own(postroom: Postroom) -> None:
    first, again = (message(postroom={"key": "order-1", "lane": "bulk"}) for _ in range(2))
    assert [sends([first]), sends([again])] == [1, 1]
    assert first.postroom_id == again.postroom_id
    other = message("bob@example.com", postroom={"key": "order-1", "lane": "bulk"})
    with pytest.raises(KeyConflict):
        sends([other])


def test_a_message_with_arguments_of_its_own_is_no_part_of_a_batch() -> None:
    keyed, first, second = message(postroom={"key": "order-1"}), message(), message()
    assert sends([first, keyed, second]) == 3
    assert place_of(keyed.postroom_id).batch is None
    assert place_of(first.postroom_id).batch == place_of(second.postroom_id).batch is not None


@pytest.mark.skipif(django.VERSION >= (6, 1), reason="Django 6.1 has mailers in its place")
def test_a_connection_takes_the_options_and_ignores_djangos_others(redis_url: str) -> None:
    made = message()
    made.connection = get_connection(lane="bulk", username="user", password="secret")
    made.send()
    assert lanes(redis_url, [made]) == {"bulk"}


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 6.1 has begun to have mailers")
def test_each_mailer_has_its_options(redis_url: str) -> None:
    from django.core.mail import InvalidMailer, mailers

    options = {"default": {}, "bulk": {"lane": "bulk"}, "wrong": {"lanes": "bulk"}}
    made = message()
    with override_settings(
        MAILERS={name: {"BACKEND": django_site.BACKEND, "OPTIONS": given} for name, given in options.items()}
    ):
        made.send()
        assert lanes(redis_url, [made]) == {"transactional"}
        made.send(using="bulk")
        assert lanes(redis_url, [made]) == {"bulk"}
        with pytest.raises(InvalidMailer, match="lanes"):
            mailers["wrong"]


def test_an_argument_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match="lanes"):
        sends([message(postroom={"lanes": "bulk"})])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"lane": "fast"}, "lane must be"),
        ({"expires_in": -1}, "expires_in is"),
        ({"send_at": "tomorrow"}, "send_at is"),
        ({"on_doubt": "ask"}, "on_doubt must be"),
        ({"key": ""}, "key must be"),
        ({"id": "mail"}, "id must be"),
        ({"id": f"{new_id()}.0.1"}, "id must be"),
    ],
)
def test_a_wrong_argument_is_told_in_the_transaction(wrong: dict[str, Any], named: str, stored: Mailbox) -> None:
    with transaction.atomic():
        with pytest.raises(ValueError, match=named):
            sends([message(postroom=wrong)])
        assert connection.run_on_commit == []
    assert stored() == []


def test_a_redirect_and_allowed_domains_are_those_of_the_site(redis_url: str, stored: Mailbox) -> None:
    with override_settings(POSTROOM={"REDIS_URL": redis_url, "REDIRECT_TO": "staging@example.com"}):
        sends([message("stranger@example.org")])
    assert recipients(stored()) == ["staging@example.com"]
    with (
        override_settings(POSTROOM={"REDIS_URL": redis_url, "ALLOW_DOMAINS": "example.com"}),
        pytest.raises(InvalidMail, match="POSTROOM_ALLOW_DOMAINS"),
    ):
        sends([message("stranger@example.org")])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"LANES": "bulk"}, "LANES"),
        ({"lane": "bulk"}, "lane"),
        ({"LANE": "fast"}, "LANE"),
        ({"ON_COMMIT": "no"}, "ON_COMMIT"),
        ({"REDIS_URL": "localhost"}, "POSTROOM_REDIS_URL"),
        ({"PRODUCER_TIMEOUT": "soon"}, "POSTROOM_PRODUCER_TIMEOUT"),
        ("redis://127.0.0.1", "POSTROOM"),
    ],
)
def test_a_wrong_setting_is_named(wrong: Any, named: str) -> None:
    with override_settings(POSTROOM=wrong), pytest.raises(ConfigurationError, match=named):
        sends([message()])


def test_mails_share_a_connection_to_redis(redis_url: str) -> None:
    site = {"REDIS_URL": redis_url, "SENDGRID_API_KEY": "SG.test"}
    with redis.Redis.from_url(redis_url) as client, override_settings(POSTROOM=site):
        sends([message()])
        before = client.info("stats")["total_connections_received"]
        for _ in range(10):
            sends([message()])
        assert client.info("stats")["total_connections_received"] == before


def test_many_threads_may_send(stored: Mailbox) -> None:
    def send(number: int) -> None:
        sends([message(f"thread{number}@example.com")])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored()) == 8


def test_without_django_producers_works_and_producers_django_says_what_it_lacks() -> None:
    program = """
import sys
sys.modules["django"] = None
import producers
try:
    import producers.django
except ImportError as error:
    print(error.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("django")
