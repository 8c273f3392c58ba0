"""Each of these fails, and says why."""

import subprocess
import sys

import pytest
from bookshop import app, mail, newsletter, postroom, recommend

from producers import Postroom, Settings


def order(number="17"):
    return app.test_client().post("/orders", data={"number": number, "buyer": "ann@example.com"})


def test_another_subject(outbox):
    order()
    outbox.assert_enqueued(to="ann@example.com", subject="Your order 18")


def test_nothing_there(outbox):
    outbox.assert_enqueued(to="ann@example.com")


def test_too_many(outbox):
    order()
    outbox.assert_enqueued(count=1)


def test_unwanted(outbox):
    order()
    outbox.assert_nothing_enqueued(to="ann@example.com")


def test_one_of_many(outbox):
    newsletter(f"reader{number}@example.com" for number in range(500))
    outbox.assert_enqueued(to="reader400@example.com", subject="Old news")


def test_a_long_text(outbox):
    postroom.enqueue(mail("ann@example.com", "Terms", "word " * 200 + "old end"))
    outbox.assert_enqueued(text="word " * 200 + "new end")


def test_without_the_fixture():
    order()


async def test_asyncio_without_the_fixture():
    await recommend("ann@example.com")


def test_another_redis(outbox):
    Postroom(Settings.of(redis_url="redis://production.example.com/0")).enqueue(
        mail("ann@example.com", "Hello", "Text")
    )


@pytest.mark.usefixtures("postroom_eager")
def test_sending_takes_too_long(sandbox):
    sandbox.fail(429, reset_after=60)
    order()


def test_another_program():
    program = "import bookshop; bookshop.newsletter(['process@example.com'])"
    subprocess.run([sys.executable, "-c", program], check=True)
