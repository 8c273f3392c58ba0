"""Settings of the shop's Django site."""

SECRET_KEY = "secret"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_FROM_EMAIL = "shop@example.com"
USE_TZ = True
