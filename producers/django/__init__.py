"""The Django door: Django's own mail functions enqueue with Postroom.

    EMAIL_BACKEND = "producers.django.EmailBackend"
    INSTALLED_APPS = [..., "producers.django"]  # for the system checks

Nothing else of `producers` imports Django.
"""

from producers.django.backend import EmailBackend

__all__ = ["EmailBackend"]
