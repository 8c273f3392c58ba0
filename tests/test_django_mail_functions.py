"""Django's functions, commands and handlers send through the backend, by each way that leads to it; in a real Redis."""

import logging
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
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
from django.core.management import call_command
from django.test.utils import override_settings
from django.utils import timezone as django_timezone
from django.utils.functional import lazy
from django.utils.log import AdminEmailHandler

from postroom.ids import place_of
from producers import Postroom, QueueUnavailable, Settings
from producers.django import EmailBackend
from tests import django_site
from tests.django_site import mailbox
from tests.django_site.mailbox import Mailbox, recipients

django_site.set_up()

HAS_MAILERS = django.VERSION >= (6, 1)
before_mailers = pytest.mark.skipif(HAS_MAILERS, reason="Django 6.1 has mailers in its place")
with_mailers = pytest.mark.skipif(not HAS_MAILERS, reason="Django 6.1 has begun to have mailers")

ROWS = [("Subject", "Text", None, [f"reader{number}@example.com"]) for number in range(2)]
NOWHERE = {"REDIS_URL": "redis://127.0.0.1:9/0"}

later = lazy(lambda text: text, str)


@pytest.fixture(autouse=True)
def site(redis_url: str) -> Iterator[None]:
    with override_settings(
        POSTROOM={"REDIS_URL": redis_url},
        ADMINS=django_site.people("boss@example.com"),
        MANAGERS=django_site.people("manager@example.com"),
    ):
        yield
    django_site.forget_databases()


@pytest.fixture
def stored(redis_url: str) -> Mailbox:
    return lambda: mailbox.stored(redis_url)


@contextmanager
def deprecated() -> Iterator[None]:
    """What Django 6.1 still takes, with a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def lanes(redis_url: str) -> list[str]:
    """Of all mails, by the mails' recipients."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        placed = {}
        for body in mailbox.stored(redis_url):
            chunk = place_of(body["custom_args"]["postroom_id"]).chunk
            placed[recipients([body])[0]] = client.hget(f"postroom:chunk:{chunk}", "lane")
    return [str(placed[to]) for to in sorted(placed)]


# -- Functions


@pytest.mark.parametrize(("to", "sent"), [([], 0), (["ann@example.com"], 1), (["a@example.com", "b@example.com"], 1)])
def test_what_is_returned_counts_messages_and_not_recipients(to: list[str], sent: int, stored: Mailbox) -> None:
    assert send_mail("Subject", "Text", None, to) == sent
    assert len(stored()) == sent


@pytest.mark.parametrize("send", [mail_admins, mail_managers])
def test_the_subject_of_mail_to_the_staff_has_its_prefix(send: Callable[..., None], stored: Mailbox) -> None:
    send(later("Lazy"), "Text", html_message="<p>")
    (body,) = stored()
    assert body["subject"] == "[Django] Lazy"
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]


@pytest.mark.parametrize("send", [mail_admins, mail_managers])
def test_a_site_without_staff_asks_no_redis(send: Callable[..., None]) -> None:
    with override_settings(ADMINS=[], MANAGERS=[], POSTROOM=NOWHERE):
        send("Subject", "Text")


@before_mailers
def test_each_function_takes_a_connection(redis_url: str, stored: Mailbox) -> None:
    bulk = get_connection(django_site.BACKEND, lane="bulk", foo="bar")
    send_mail("Subject", "Text", None, ["ann@example.com"], connection=bulk)
    assert send_mass_mail(ROWS, connection=get_connection(lane="transactional")) == 2
    mail_admins("Subject", "Text", connection=bulk)
    mail_managers("Subject", "Text", connection=bulk)
    EmailMessage("Subject", "Text", to=["cat@example.com"], connection=bulk).send()
    assert lanes(redis_url) == ["bulk"] * 4 + ["transactional"] * 2


@with_mailers
def test_each_function_takes_a_mailer(redis_url: str) -> None:
    mailers = {
        "default": {"BACKEND": django_site.BACKEND},
        "bulk": {"BACKEND": django_site.BACKEND, "OPTIONS": {"lane": "bulk"}},
        "urgent": {"BACKEND": django_site.BACKEND, "OPTIONS": {"lane": "transactional"}},
    }
    with override_settings(MAILERS=mailers):
        send_mail("Subject", "Text", None, ["ann@example.com"], using="bulk")
        assert send_mass_mail(ROWS, using="urgent") == 2
        mail_admins("Subject", "Text", using="bulk")
        mail_managers("Subject", "Text", using="bulk")
        EmailMessage("Subject", "Text", to=["cat@example.com"]).send(using="bulk")
        call_command("sendtestemail", "dan@example.com", "--managers", "--admins", using="bulk")
        send_mail("Subject", "Text", None, ["zoe@example.com"])
    assert lanes(redis_url) == ["bulk"] * 5 + ["transactional"] * 3


@with_mailers
def test_a_mailer_knows_its_alias_and_is_made_anew_for_each_use() -> None:
    from django.core.mail import mailers

    assert isinstance(mailers.default, EmailBackend)
    assert (mailers.default.alias, EmailBackend().alias) == ("default", None)
    assert mailers["default"] is not mailers["default"]


@with_mailers
def test_an_unknown_argument_is_ignored_with_djangos_warning() -> None:
    with pytest.warns(PendingDeprecationWarning, match="does not support 'foo'"):
        backend = EmailBackend(foo="bar")
    assert not hasattr(backend, "foo")


@with_mailers
def test_a_mailer_may_fail_silently(caplog: pytest.LogCaptureFixture) -> None:
    silent = {"BACKEND": django_site.BACKEND, "OPTIONS": {"fail_silently": True}}
    with override_settings(MAILERS={"default": silent}, POSTROOM=NOWHERE):
        assert send_mail("Subject", "Text", None, ["ann@example.com"]) == 0
    assert "Not enqueued, 1 messages" in caplog.text


@pytest.mark.parametrize(
    "send",
    [
        lambda: send_mail("Subject", "Text", None, ["ann@example.com"], fail_silently=True),
        lambda: send_mass_mail(ROWS, fail_silently=True),
        lambda: EmailMessage("Subject", "Text", to=["ann@example.com"]).send(fail_silently=True),
        lambda: mail_admins("Subject", "Text", fail_silently=True) or 0,
    ],
)
def test_each_function_may_fail_silently(send: Callable[[], int]) -> None:
    with override_settings(POSTROOM=NOWHERE), deprecated():
        assert send() == 0


def test_a_user_and_a_password_are_of_no_use_and_do_no_harm(stored: Mailbox) -> None:
    with deprecated():
        send_mail("Subject", "Text", None, ["ann@example.com"], auth_user="user", auth_password="password")
    assert len(stored()) == 1


@pytest.mark.parametrize("fail_silently", [True, False])
def test_a_backend_tells_whether_it_fails_silently(fail_silently: bool) -> None:
    assert EmailBackend(fail_silently=fail_silently).fail_silently is fail_silently


# -- Commands and handlers


def test_the_test_command_mails_all_that_it_names(stored: Mailbox) -> None:
    call_command("sendtestemail", "ann@example.com", "bob@example.com")
    (body,) = stored()
    assert [to["email"] for to in body["personalizations"][0]["to"]] == ["ann@example.com", "bob@example.com"]
    call_command("sendtestemail", "--managers")
    call_command("sendtestemail", "--admins")
    assert recipients(stored()) == ["ann@example.com", "boss@example.com", "manager@example.com"]


@pytest.fixture
def mailing_logger() -> Iterator[logging.Logger]:
    """The root logger, whose errors go to the admins: so do those of the backend itself."""
    handler = AdminEmailHandler()
    handler.setLevel(logging.ERROR)
    root = logging.getLogger()
    root.addHandler(handler)
    yield root
    root.removeHandler(handler)


def test_an_error_in_the_log_is_mailed_to_the_admins(mailing_logger: logging.Logger, stored: Mailbox) -> None:
    logging.getLogger("shop").error("Sold out\nof all")
    (body,) = stored()
    assert body["subject"] == "[Django] ERROR: Sold out\\nof all"
    assert recipients([body]) == ["boss@example.com"]


def test_an_error_that_cannot_be_mailed_is_not_mailed_again(
    mailing_logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    silent = {"BACKEND": django_site.BACKEND, "OPTIONS": {"fail_silently": True}}
    site = {"MAILERS": {"default": silent}} if HAS_MAILERS else {}
    with override_settings(POSTROOM=NOWHERE, **site):
        logging.getLogger("shop").error("Sold out")
    texts = sorted(record.getMessage().partition(":")[0] for record in caplog.records)
    assert texts == ["Not enqueued, 1 messages", "Sold out"]


# -- Messages


def test_all_of_a_message_may_be_set_until_it_is_sent(stored: Mailbox) -> None:
    made: Any = EmailMessage("old", "old", "old@example.com", ["old@example.com"], headers={"X-Old": "old"})
    made.subject, made.body, made.from_email = "new", "new", "new@example.com"
    made.to, made.cc, made.bcc = ["to@example.com"], ["cc@example.com"], ["bcc@example.com"]
    made.reply_to, made.extra_headers = ["reply@example.com"], {"X-New": "new"}
    made.attachments = [("new.txt", "new", "text/plain")]
    made.send()
    (body,) = stored()
    assert "old" not in str(body)
    assert body["personalizations"] == [
        {field: [{"email": f"{field}@example.com"}] for field in ("to", "cc", "bcc")},
    ]
    assert (body["from"], body["reply_to_list"]) == ({"email": "new@example.com"}, [{"email": "reply@example.com"}])
    assert (body["subject"], body["headers"], body["attachments"][0]["filename"]) == (
        "new",
        {"X-New": "new"},
        "new.txt",
    )


def test_a_message_that_was_sent_can_be_pickled() -> None:
    made: Any = EmailMultiAlternatives("Subject", "Text", to=["ann@example.com"], alternatives=[("<p>", "text/html")])
    made.attach("a.txt", "Text", "text/plain")
    made.send()
    restored = pickle.loads(pickle.dumps(made))
    assert (restored.postroom_id, restored.anymail_status) == (made.postroom_id, made.anymail_status)


def test_a_message_that_could_not_be_sent_has_an_empty_status() -> None:
    made: Any = EmailMessage("Subject", "Text", to=["ann@example.com"])
    with pytest.raises(QueueUnavailable):
        EmailBackend(redis_url=NOWHERE["REDIS_URL"]).send_messages([made])
    status = made.anymail_status
    assert (status.status, status.message_id, status.recipients, status.esp_response) == (None, None, {}, None)


def test_all_recipients_of_a_merge_share_the_id_of_the_mail(redis_url: str) -> None:
    made: Any = EmailMessage("Subject", "Text", to=["ann@example.com", "Bob <bob@example.com>"], cc=["cc@example.com"])
    made.merge_data = {}
    made.send()
    assert made.anymail_status.recipients.keys() == {"ann@example.com", "bob@example.com", "cc@example.com"}
    assert {each.message_id for each in made.anymail_status.recipients.values()} == {made.postroom_id}
    with Postroom(Settings(redis_url=redis_url)) as postroom:
        assert postroom.status(made.postroom_id).state == "queued"


def test_a_time_without_a_zone_is_one_of_the_current_time_zone(stored: Mailbox) -> None:
    made: Any = EmailMessage("Subject", "Text", to=["ann@example.com"])
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    with django_timezone.override(timezone(timedelta(hours=6))):
        made.send_at = (tomorrow + timedelta(hours=6)).replace(tzinfo=None)
        made.send()
    (body,) = stored()
    assert body["send_at"] == tomorrow.timestamp()


def test_the_sites_defaults_are_the_same_for_the_next_message(redis_url: str, stored: Mailbox) -> None:
    defaults = {"tags": ["site"], "metadata": {"site": "de"}, "esp_extra": {"asm": {"group_id": 1}}}
    with override_settings(POSTROOM={"REDIS_URL": redis_url, "SEND_DEFAULTS": defaults}):
        made: Any = EmailMessage("Subject", "Text", to=["ann@example.com"])
        made.tags, made.metadata, made.esp_extra = ["own"], {"site": "fr"}, {"asm": {"groups_to_display": [1]}}
        made.send()
        send_mail("Subject", "Text", None, ["bob@example.com"])
    ann, bob = sorted(stored(), key=lambda body: recipients([body]))
    assert (ann["categories"], ann["custom_args"]["site"]) == (["site", "own"], "fr")
    assert ann["asm"] == {"group_id": 1, "groups_to_display": [1]}
    assert (bob["categories"], bob["custom_args"]["site"], bob["asm"]) == (["site"], "de", {"group_id": 1})
