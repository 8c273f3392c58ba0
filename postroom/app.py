"""The Celery app; it stays out of its host's way.

A web app that enqueues has Celery of its own, or none. This app never becomes the current or the default one, takes
nothing from the host's environment, modules or Django settings, and reads its own configuration when first asked.
"""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from celery import Celery
from kombu import Connection

_here = Path(__file__).parent
#: Beside this file in an installed package, at the top in the repository.
CONFIGURATION = next(
    path for path in (_here / "celeryconfig.py", _here.parent / "celeryconfig.py") if path.is_file()
)


class Application(Celery):
    """Celery that is configured by `celeryconfig.py` alone.

    Celery lets `CELERY_BROKER_URL` and its like in the environment overrule any app's configuration. They are meant
    for the host's app, so here they are not heard.
    """

    def on_configure(self) -> None:
        """Load the configuration. Celery calls this when the first setting is asked for.

        Raises `ConfigurationError`.
        """
        configuration = load(CONFIGURATION)
        self.backend_cls = configuration.result_backend
        self.config_from_object(configuration)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Connection:
        return super().connection_for_read(url or self.conf["broker_url"], **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Connection:
        return super().connection_for_write(url or self.conf["broker_url"], **options)


def load(path: Path) -> ModuleType:
    """Run a Python file as a module that nobody else can import."""
    spec = spec_from_file_location("postroom.celeryconfig", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


#: `fixups=[]`: in a Django host, Celery would else take the host's settings. `loader`: `CELERY_LOADER` is the host's.
app = Application("postroom", set_as_current=False, loader="celery.loaders.app:AppLoader", fixups=[])
