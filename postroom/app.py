"""The Celery app; it stays out of its host's way.

A web app that enqueues has Celery of its own, or none. This app never becomes the current or the default one, takes
nothing from the host's environment, modules or Django settings, and reads its configuration when it is first needed.
"""

from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from celery import Celery
from kombu import Connection

_here = Path(__file__).parent
#: Beside this file in an installed package, at the top in the repository.
CONFIGURATION = next(path for path in (_here / "celeryconfig.py", _here.parent / "celeryconfig.py") if path.is_file())


class Application(Celery):
    """Celery, configured by `celeryconfig.py` alone.

    Celery lets `CELERY_BROKER_URL` and its like overrule any app's configuration. Where they are set they are meant for
    the host's app: a worker that heard them would wait for mail in another Redis than the one it is put into.
    """

    def on_configure(self) -> None:  # type: ignore[override]  # a signal in the class, but Celery calls a method too
        """Load the configuration, when the first setting is asked for. Raises `ConfigurationError`."""
        configuration = load(CONFIGURATION)
        self.backend_cls = configuration.result_backend
        self.config_from_object(configuration)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Connection:
        """The way to the messages."""
        return super().connection_for_read(url or self.conf["broker_url"], **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Connection:
        """The same way."""
        return super().connection_for_write(url or self.conf["broker_url"], **options)


def load(path: Path) -> ModuleType:
    """Run a file as a module that nobody can import by its name."""
    module = ModuleType("postroom.celeryconfig")
    SourceFileLoader(module.__name__, str(path)).exec_module(module)
    return module


#: `CELERY_LOADER` is the host's, so the loader is named here. A fixup is what makes Celery use Django's settings.
app = Application("postroom", set_as_current=False, loader="celery.loaders.app:AppLoader", fixups=[])
