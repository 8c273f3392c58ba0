"""Mail follows its transaction: enqueued once when it commits, never when it rolls back; in a real Redis."""

import asyncio
import unittest
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.mail import EmailMessage, send_mail
from django.db import connection, connections, transaction
from django.test import AsyncClient, Client, TestCase
from django.test.utils import override_settings

from producers import Postroom, QueueUnavailable, Settings
from producers.django import EmailBackend
from tests import django_site
from tests.django_site import mailbox
from tests.django_site.mailbox import Mailbox, recipients

django_site.set_up()


class Undone(Exception):
    """Rolls a transaction back."""


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


@pytest.fixture
def stored(redis_url: str) -> Mailbox:
    return lambda: mailbox.stored(redis_url)


def message(to: str = "ann@example.com") -> Any:
    return EmailMessage("Hello", "Hello Ann", to=[to])


def sends(messages: list[Any], **options: Any) -> int:
    return int(EmailBackend(**options).send_messages(messages))


def test_a_rollback_enqueues_nothing(stored: Mailbox) -> None:
    with suppress(Undone), transaction.atomic():
        assert send_mail("Subject", "Text", None, ["ann@example.com"]) == 1
        assert sends([message(), message("bob@example.com")]) == 2
        raise Undone
    assert stored() == []


def test_a_commit_enqueues_once(stored: Mailbox) -> None:
    with transaction.atomic():
        with transaction.atomic():
            send_mail("Subject", "Text", None, ["ann@example.com"])
        assert stored() == []
    assert recipients(stored()) == ["ann@example.com"]
    with transaction.atomic():
        pass
    assert len(stored()) == 1


def test_a_savepoint_that_is_rolled_back_takes_its_mail_along(stored: Mailbox) -> None:
    with transaction.atomic():
        sends([message("kept@example.com")])
        with suppress(Undone), transaction.atomic():
            sends([message("gone@example.com")])
            raise Undone
    assert recipients(stored()) == ["kept@example.com"]


def test_the_id_can_be_stored_in_the_same_transaction(postroom: Postroom) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE shop_order (mail text)")
        with transaction.atomic():
            made = message()
            sends([made])
            cursor.execute("INSERT INTO shop_order VALUES (%s)", [made.postroom_id])
        cursor.execute("SELECT mail FROM shop_order")
        ((id,),) = cursor.fetchall()
    assert postroom.status(id).state == "queued"


def test_on_commit_may_be_turned_off(redis_url: str, stored: Mailbox) -> None:
    with suppress(Undone), transaction.atomic():
        sends([message("argument@example.com")], on_commit=False)
        with override_settings(POSTROOM={"REDIS_URL": redis_url, "ON_COMMIT": False}):
            sends([message("setting@example.com")])
        raise Undone
    assert recipients(stored()) == ["argument@example.com", "setting@example.com"]


def test_the_transactions_of_the_named_database_count(stored: Mailbox) -> None:
    with transaction.atomic(using="other"):
        sends([message("default@example.com")])
        sends([message("other@example.com")], database="other")
        assert recipients(stored()) == ["default@example.com"]
    assert recipients(stored()) == ["default@example.com", "other@example.com"]


def test_no_connection_to_the_database_is_made_for_a_mail() -> None:
    django_site.forget_databases()
    sends([message()])
    assert connection.connection is None


def test_transactions_by_hand_are_refused_as_django_does() -> None:
    connection.ensure_connection()
    connection.set_autocommit(False)
    try:
        with pytest.raises(transaction.TransactionManagementError):
            sends([message()])
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_a_durable_block_enqueues_at_its_end(stored: Mailbox) -> None:
    with transaction.atomic(durable=True):
        send_mail("Subject", "Text", None, ["ann@example.com"])
        assert stored() == []
    assert recipients(stored()) == ["ann@example.com"]


def test_a_block_that_is_marked_for_rollback_enqueues_nothing(stored: Mailbox) -> None:
    with transaction.atomic():
        sends([message()])
        transaction.set_rollback(True)
    assert stored() == []


def test_a_savepoint_is_released_into_the_fate_of_its_transaction(stored: Mailbox) -> None:
    with suppress(Undone), transaction.atomic():
        with transaction.atomic(), transaction.atomic():
            sends([message()])
        raise Undone
    assert stored() == []


def test_a_savepoint_by_hand_does_not_take_its_mail_along_for_django_keeps_its_hooks(stored: Mailbox) -> None:
    ran: list[str] = []
    with transaction.atomic():
        savepoint = getattr(transaction, "savepoint_create", transaction.savepoint)()
        sends([message()])
        transaction.on_commit(lambda: ran.append("another hook"))
        transaction.savepoint_rollback(savepoint)
    assert (recipients(stored()), ran) == (["ann@example.com"], ["another hook"])


def test_a_block_without_savepoint_takes_the_whole_transaction_along(stored: Mailbox) -> None:
    with transaction.atomic():
        sends([message()])
        with suppress(Undone), transaction.atomic(savepoint=False):
            raise Undone
    assert stored() == []


def test_mail_from_a_hook_of_the_commit_is_enqueued_at_once(stored: Mailbox) -> None:
    seen: list[list[str]] = []

    def welcome() -> None:
        sends([message()])
        seen.append(recipients(stored()))

    with transaction.atomic():
        transaction.on_commit(welcome)
    assert seen == [["ann@example.com"]]


def test_each_of_two_databases_decides_over_its_own_mail(stored: Mailbox) -> None:
    with transaction.atomic():
        with suppress(Undone), transaction.atomic(using="other"):
            sends([message("default@example.com")])
            sends([message("other@example.com")], database="other")
            raise Undone
        assert stored() == []
    assert recipients(stored()) == ["default@example.com"]
    with suppress(Undone), transaction.atomic():
        with transaction.atomic(using="other"):
            sends([message("kept@example.com")], database="other")
        raise Undone
    assert recipients(stored()) == ["default@example.com", "kept@example.com"]


def test_the_database_may_be_a_setting_of_the_site(redis_url: str, stored: Mailbox) -> None:
    with override_settings(POSTROOM={"REDIS_URL": redis_url, "DATABASE": "other"}):
        with transaction.atomic(using="other"):
            send_mail("Subject", "Text", None, ["ann@example.com"])
            assert stored() == []
        assert recipients(stored()) == ["ann@example.com"]


def test_an_error_out_of_the_commit_keeps_later_hooks_from_running(stored: Mailbox) -> None:
    ran: list[str] = []

    def sell() -> None:
        with transaction.atomic():
            transaction.on_commit(lambda: ran.append("before"))
            sends([message()], redis_url="redis://127.0.0.1:9/0")
            transaction.on_commit(lambda: ran.append("after"))

    with pytest.raises(QueueUnavailable):
        sell()
    assert ran == ["before"]


# -- Requests


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


def test_a_request_enqueues_when_its_transaction_commits(atomic_requests: None, stored: Mailbox) -> None:
    answer = Client().get("/order")
    assert (answer.status_code, answer.content) == (200, b"in a transaction")
    assert recipients(stored()) == ["buyer@example.com"]


def test_a_request_that_fails_enqueues_nothing_but_the_mail_to_the_admins(
    atomic_requests: None, stored: Mailbox
) -> None:
    with override_settings(ADMINS=django_site.people("boss@example.com")):
        assert Client(raise_request_exception=False).get("/order?fails=1").status_code == 500
    assert recipients(stored()) == ["boss@example.com"]


def test_a_view_out_of_its_requests_transaction_enqueues_at_once(atomic_requests: None, stored: Mailbox) -> None:
    answer = Client(raise_request_exception=False).get("/order-by-hand?fails=1")
    assert answer.status_code == 500
    assert recipients(stored()) == ["buyer@example.com"]


def test_a_request_tells_that_redis_is_away(atomic_requests: None) -> None:
    with override_settings(POSTROOM={"REDIS_URL": "redis://127.0.0.1:9/0"}), pytest.raises(QueueUnavailable):
        Client().get("/order")


# -- Coroutines


def test_a_coroutine_sends_in_djangos_thread(stored: Mailbox) -> None:
    async def send() -> int:
        return int(await sync_to_async(send_mail)("Subject", "Text", None, ["ann@example.com"]))

    assert asyncio.run(send()) == 1
    assert recipients(stored()) == ["ann@example.com"]


def test_what_a_coroutine_runs_in_a_transaction_follows_it(stored: Mailbox) -> None:
    @sync_to_async
    def sell(to: str, *, fails: bool) -> None:
        with suppress(Undone), transaction.atomic():
            send_mail("Subject", "Text", None, [to])
            if fails:
                raise Undone

    async def sell_both() -> None:
        await asyncio.gather(sell("gone@example.com", fails=True), sell("kept@example.com", fails=False))

    asyncio.run(sell_both())
    assert recipients(stored()) == ["kept@example.com"]


def test_many_coroutines_may_send_at_the_same_time(stored: Mailbox) -> None:
    async def send() -> None:
        send_it = sync_to_async(send_mail, thread_sensitive=False)
        await asyncio.gather(*(send_it("Subject", "Text", None, [f"c{number}@example.com"]) for number in range(8)))

    asyncio.run(send())
    assert len(stored()) == 8


def test_an_asynchronous_view_sends(stored: Mailbox) -> None:
    async def get() -> int:
        return int((await AsyncClient().get("/order-async")).status_code)

    assert asyncio.run(get()) == 200
    assert recipients(stored()) == ["buyer@example.com"]


# -- Tests of a site


def test_djangos_test_case_sees_the_mail_when_it_runs_the_hooks(redis_url: str) -> None:
    seen: list[list[str]] = []

    class Shop(TestCase):
        def test_order(self) -> None:
            with self.captureOnCommitCallbacks(execute=True):
                send_mail("Subject", "Text", None, ["ann@example.com"])
                seen.append(recipients(mailbox.stored(redis_url)))
            seen.append(recipients(mailbox.stored(redis_url)))

    result = unittest.TestSuite([Shop("test_order")]).run(unittest.TestResult())
    assert result.wasSuccessful(), result.failures + result.errors
    assert seen == [[], ["ann@example.com"]]
