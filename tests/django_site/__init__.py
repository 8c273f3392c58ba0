"""The Django site that the tests run in this process, and what they ask it for."""

from typing import Any

import django
from django.conf import settings

BACKEND = "producers.django.EmailBackend"

DATABASE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}

#: Since 6.1 Django has mailers in place of EMAIL_BACKEND, which it warns about.
MAIL = {"MAILERS": {"default": {"BACKEND": BACKEND}}} if django.VERSION >= (6, 1) else {"EMAIL_BACKEND": BACKEND}


def set_up() -> None:
    """Configure Django for this process, once."""
    if not settings.configured:
        settings.configure(
            **MAIL,
            SECRET_KEY="secret",
            INSTALLED_APPS=["producers.django"],
            DATABASES={"default": DATABASE, "other": DATABASE},
            DEFAULT_FROM_EMAIL="Shop <shop@example.com>",
            SERVER_EMAIL="server@example.com",
            TIME_ZONE="Europe/Berlin",
            USE_I18N=False,
            ROOT_URLCONF="tests.django_site.urls",
            ALLOWED_HOSTS=["testserver"],
        )
        django.setup()


def people(address: str) -> list[Any]:
    """A value of ADMINS and MANAGERS."""
    return [address] if django.VERSION >= (6, 0) else [("Name", address)]


def forget_databases() -> None:
    """Django keeps a database in memory open, so that it stays; the next test shall find another."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            connection.connection.close()
            connection.connection = None
