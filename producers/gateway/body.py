"""Body: what a request carries, unzipped, in no more memory and time than it is allowed."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator, Mapping

from starlette.types import Receive

from producers.gateway.answers import Refused, refused

#: What is left of a body when it is refused is read for so long, and up to so much: who still writes hears no answer.
DISCARD_SECONDS = 5.0
DISCARD_BYTES = 64 * 1024 * 1024
#: A piece that is unzipped (bytes).
PIECE = 64 * 1024
#: Announces that the connection ends with this answer.
CLOSE = ((b"connection", b"close"),)


class Body:
    """The body of one request. Raises `Refused` for what is too large, too slow, cut off, or no gzip.

    `read_seconds`: a mail must be here within so long; of a stream, the next piece.
    """

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], read_seconds: float) -> None:
        self._receive = receive
        self._headers = headers
        self._read_seconds = read_seconds
        self._is_read = False
        self._is_begun = False

    async def whole(self, most_bytes: int) -> bytes:
        """All of it, at most so many bytes; they are counted as they come and as they are unzipped."""
        self._check_length(most_bytes)
        pieces, size_bytes = [], 0
        try:
            async with asyncio.timeout(self._read_seconds):
                async for piece in self._unzipped(most_bytes):
                    size_bytes += len(piece)
                    if size_bytes > most_bytes:
                        raise too_large(most_bytes)
                    pieces.append(piece)
        except TimeoutError:
            raise self._given_up() from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """All of it, piece by piece, whatever its length."""
        pieces = self._unzipped(None)
        while True:
            try:
                async with asyncio.timeout(self._read_seconds):
                    piece = await anext(pieces, None)
            except TimeoutError:
                raise self._given_up() from None
            if piece is None:
                return
            yield piece

    async def discard(self) -> None:
        """Read what is left of it, within limits. A client that waits for a 100 has not sent it, and need not."""
        if not self._is_begun and b"expect" in self._headers:
            return
        left = DISCARD_BYTES
        try:
            async with asyncio.timeout(min(DISCARD_SECONDS, self._read_seconds)):
                while not self._is_read and left > 0:
                    left -= len(await self._next() or b"")
        except (TimeoutError, Refused):
            return

    def _given_up(self) -> Refused:
        self._is_read = True
        return _too_slow(self._read_seconds)

    def _check_length(self, most_bytes: int) -> None:
        announced = self._headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > most_bytes:
            raise too_large(most_bytes)

    async def _unzipped(self, most_bytes: int | None) -> AsyncGenerator[bytes]:
        coding = self._headers.get(b"content-encoding", b"identity").strip().lower()
        if coding == b"identity":
            while (piece := await self._next()) is not None:
                yield piece
        elif coding in (b"gzip", b"x-gzip"):
            unzipper = _Unzipper()
            received = 0
            while (piece := await self._next()) is not None:
                received += len(piece)
                if most_bytes is not None and received > most_bytes:
                    raise too_large(most_bytes)
                for unzipped in unzipper.feed(piece):
                    yield unzipped
                    await asyncio.sleep(0)
            unzipper.check_end()
        else:
            raise refused(415, "coding", "Content-Encoding should be gzip, if any.", "Send it as it is, or gzip it.")

    async def _next(self) -> bytes | None:
        """The next piece; None at the end."""
        if self._is_read:
            return None
        self._is_begun = True
        message = await self._receive()
        if message["type"] != "http.request":
            self._is_read = True
            raise refused(400, "cut", "The connection was lost before the end of the request.", "Send it again.")
        self._is_read = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


class _Unzipper:
    """Gzip, of one member or many, in pieces."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._member.eof:
                    self._member = zlib.decompressobj(wbits=31)
                if unzipped := self._member.decompress(data, PIECE):
                    yield unzipped
                data = self._member.unconsumed_tail or self._member.unused_data
        except zlib.error:
            raise _no_gzip() from None

    def check_end(self) -> None:
        if not self._member.eof:
            raise _no_gzip()


def too_large(most_bytes: int, where: str = "") -> Refused:
    return refused(
        413,
        "too_large",
        "content too large",
        f"{where}At most {most_bytes:,} bytes are taken, unzipped. SendGrid takes 30 MB; a key may be limited further.",
    )


def _too_slow(seconds: float) -> Refused:
    return refused(
        408,
        "too_slow",
        "The request was not complete in time.",
        f"It may take {seconds:g} s. Send it again, faster.",
        headers=CLOSE,
    )


def _no_gzip() -> Refused:
    return refused(400, "no_gzip", "Bad Request", "Content-Encoding says gzip, and the body is none, or has no end.")
