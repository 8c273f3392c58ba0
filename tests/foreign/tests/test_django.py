"""The shop's Django site."""

import os

import django
import pytest

os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
django.setup()

from django.core.mail import send_mail  # noqa: E402
from django.db import transaction  # noqa: E402
from django.test import TestCase, override_settings  # noqa: E402


def welcome():
    send_mail("Welcome", "It is good to have you here.", None, ["ann@example.com"])


@transaction.atomic
def welcome_in_vain():
    welcome()
    raise ZeroDivisionError


@override_settings(EMAIL_BACKEND="producers.django.EmailBackend")
class WelcomeTest(TestCase):
    @pytest.fixture(autouse=True)
    def _postroom(self, outbox):
        self.outbox = outbox

    def test_a_transaction_that_commits(self):
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            welcome()
            self.outbox.assert_nothing_enqueued()
        mail = self.outbox.assert_enqueued(to="ann@example.com", subject="Welcome")
        assert mail.from_email == "shop@example.com"

    def test_a_transaction_that_rolls_back(self):
        with self.captureOnCommitCallbacks(execute=True), pytest.raises(ZeroDivisionError):
            welcome_in_vain()
        self.outbox.assert_nothing_enqueued()
