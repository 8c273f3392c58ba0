"""Wire: the connection under a request. It is closed on those who take too long, or say too much, before they ask."""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from producers.gateway.answers import Error, Errors
from producers.gateway.journal import Journal

#: The head of a request (its first line and headers) has no more bytes.
HEAD_BYTES = 64 * 1024


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 on httptools, which has no limits of its own for these.

    The head of a request must be here within `read_seconds`, and so must the rest of one that is answered already.
    """

    def __init__(self, *args: Any, journal: Journal, read_seconds: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._journal = journal
        self._read_seconds = read_seconds

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self._refuse(431, "The headers are too large.", f"They may have {HEAD_BYTES // 1024} KiB.")
        elif self._timer is None and self._head_bytes:
            self._arm()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._disarm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and not self.transport.is_closing():
            self._arm()

    def timeout_keep_alive_handler(self) -> None:
        """Also one that does not take its answer is let go."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg, "Send HTTP/1.1.")

    def _arm(self) -> None:
        self._disarm()
        self._timer = self.loop.call_later(self._read_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            return
        if self._in_head and self._head_bytes:
            self._refuse(
                408, "The request was not complete in time.", f"Its headers may take {self._read_seconds:g} s."
            )
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str, help: str) -> None:
        if self.transport.is_closing():
            return
        self._journal.write("refused", status=status, reason="wire")
        body = msgspec.json.encode(Errors([Error(message, None, help)]))
        headers: list[tuple[bytes, Any]] = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()
