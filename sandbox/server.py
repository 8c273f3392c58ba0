"""Server: the sandbox as a program, from its first line to SIGTERM or Ctrl-C."""

import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from postroom.errors import ConfigurationError
from sandbox.acceptance import AcceptanceLog
from sandbox.api import Api
from sandbox.faults import Faults
from sandbox.inbox import Inbox
from sandbox.keys import Keys
from sandbox.mail_send import MailSend
from sandbox.pages import Pages
from sandbox.schedule import Schedule
from sandbox.stats import Stats
from sandbox.v3 import no_such_thing, routes
from sandbox.webhook import Webhook
from sandbox.wire import WireProtocol

#: nginx keeps an idle connection for so long (seconds) by default.
KEEP_ALIVE = 75


def run(
    host: str = "127.0.0.1",
    port: int = 0,
    log_path: Path | None = None,
    keys: Iterable[str] = (),
    on_ready: Callable[[str], None] = lambda _url: None,
    *,
    most_mails: int = 10_000,
    seed: int | None = None,
) -> None:
    """Run a sandbox until SIGTERM or Ctrl-C.

    Port 0 takes a free one; `on_ready` is called with the address, e.g. `http://127.0.0.1:8025`, once requests are
    answered. Without `log_path` there is no acceptance log; without `keys` any key that begins with `SG.` is good. The
    inbox keeps `most_mails` mails. `seed` makes faults with a probability repeatable. Raises `ConfigurationError` when
    the port is taken or the log cannot be written.
    """
    log = AcceptanceLog(log_path) if log_path else None
    with _listen(host, port) as listener:
        app = application(log, keys, most_mails, Random(seed))
        config = uvicorn.Config(
            app,
            http=WireProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("server", "nginx")],
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=1,
        )
        with _signals_end_it_once():
            _Server(config, lambda: on_ready(_url(listener))).run(sockets=[listener])


def application(log: AcceptanceLog | None, keys: Iterable[str], most_mails: int, random: Random) -> ASGIApp:
    """The sandbox as an ASGI app, for a server that puts the `Wire` into the scope."""
    inbox, schedule, faults, stats, good_keys = Inbox(most_mails), Schedule(), Faults(random), Stats(), Keys(keys)
    webhook = Webhook(random)
    mail_send = MailSend(keys=good_keys, log=log, inbox=inbox, faults=faults, stats=stats, webhook=webhook)
    pages = Pages(inbox=inbox, schedule=schedule, faults=faults, stats=stats, now=time.time)
    api = Api(inbox=inbox, schedule=schedule, faults=faults, stats=stats, webhook=webhook, now=time.time)
    others = Starlette(
        routes=[*routes(good_keys, schedule), *api.routes(), *pages.routes()],
        exception_handlers={HTTPException: no_such_thing},
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """SendGrid takes `//v3/…` for `/v3/…`, as clients send it whose base URL ends in a slash."""
        scope["path"] = "/" + scope["path"].lstrip("/")
        await (mail_send if scope["path"] == "/v3/mail/send" else others)(scope, receive, send)

    return app


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the requests that a fault holds without an answer, and the others in good order."""
        # From here on, uvicorn would only tell of the requests that were held.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        for connection in list(self.server_state.connections):
            if isinstance(connection, WireProtocol) and connection.wire.held:
                connection.wire.abort()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
        # asyncio sees to this only where the socket's protocol is named; without it an answer in two parts waits 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror}; --port takes another one, --port 0 any free one"
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _signals_end_it_once() -> Iterator[None]:
    """uvicorn raises a signal again when it has shut down in good order; here that is not to end the process badly."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
