"""The Django site that the tests run in this process, and what they ask it for."""

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
            INSTALLED_APPS=["producers.django"],
            DATABASES={"default": DATABASE, "other": DATABASE},
            DEFAULT_FROM_EMAIL="Shop <shop@example.com>",
            SERVER_EMAIL="server@example.com",
            TIME_ZONE="Europe/Berlin",
            USE_I18N=False,
        )
        django.setup()
