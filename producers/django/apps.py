"""App: what Django takes `producers.django` for in `INSTALLED_APPS`. It has the system checks, and no models."""

from django.apps import AppConfig
from django.core import checks

from producers.django.checks import check_deployment, check_settings


class PostroomConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    name = "producers.django"
    label = "postroom"
    verbose_name = "Postroom"

    def ready(self) -> None:
        checks.register(check_settings, "postroom")
        checks.register(check_deployment, "postroom", deploy=True)
