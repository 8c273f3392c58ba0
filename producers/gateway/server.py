"""Server: the gateway as a program, from its first line to SIGTERM or Ctrl-C."""

import contextlib
import ipaddress
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from postroom.errors import ConfigurationError, QueueUnavailable
from postroom.settings import Settings
from producers.gateway.application import application
from producers.gateway.journal import Journal
from producers.gateway.key_store import KeyStore
from producers.gateway.wire import GuardedProtocol
from producers.gateway.workers import Workers

#: An idle connection is kept for so long (seconds).
KEEP_ALIVE = 75
#: A stopping gateway finishes what it has begun, for at most so long (seconds).
GRACE = 10


def run(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    read_seconds: float = 30.0,
    on_ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    Port 0 takes a free one; `on_ready` is called with the address once the port is open. `workers` is the number of
    processes. A client that has not sent its request within `read_seconds` is given up. Raises `ConfigurationError`
    when the port is taken, when it would be open to the world without keys, and for settings that can't be.
    """
    journal = Journal()
    app = application(settings, journal, read_seconds)
    _check_exposure(settings, host)
    with _listen(host, port) as listener:
        url = _url(listener)
        if workers == 1:
            _serve(app, listener, journal, read_seconds, lambda: on_ready(url))
        else:
            on_ready(url)
            Workers(workers, lambda: _serve(app, listener, journal, read_seconds)).run()


def _serve(
    app: ASGIApp,
    listener: socket.socket,
    journal: Journal,
    read_seconds: float,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    config = uvicorn.Config(
        app,
        http=partial(GuardedProtocol, journal=journal, read_seconds=read_seconds),  # type: ignore[arg-type]  # it is called, no more
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    with _signals_end_it_once():
        _Server(config, journal, on_ready).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, journal: Journal, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._journal = journal
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._journal.write("started", pid=os.getpid())
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._journal.write("stopped", pid=os.getpid())


def _check_exposure(settings: Settings, host: str) -> None:
    """Others than this machine are let at it only if there are keys; without one, nobody could use it anyway."""
    if _is_loopback(host):
        return
    with KeyStore(settings) as store:
        try:
            keys = store.all()
        except QueueUnavailable:
            return  # each request asks for its key, and gets 503 until Redis answers
    if not keys:
        raise ConfigurationError(
            f"there are no keys, so the gateway does not listen on {host}, where others reach it; "
            "make one first: postroom keys add NAME --from-domain example.com"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror}; --port takes another one, --port 0 any free one"
        ) from None
    # Its connections inherit it. asyncio sees to it only for sockets made with IPPROTO_TCP, which this one is not; an
    # answer of two writes would wait 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
