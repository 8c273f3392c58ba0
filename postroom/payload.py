"""Payload: what the mails of a chunk are made of, as Redis keeps it: msgpack, compressed as one. Pure."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import zstandard

#: A campaign's mails are nearly alike, so even a low level finds what they share.
LEVEL = 3

_local = threading.local()


class DamagedPayload(ValueError):
    """What Redis had is not what was stored."""


class _Merged(msgspec.Struct, frozen=True):
    template: bytes
    personalizations: list[bytes | None]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[bytes | None] | _Merged).decode


class Content(NamedTuple):
    """The content of a chunk's mails, by place; None for a mail whose content is not kept any more.

    `parts` are whole bodies; or, with a `template`, personalizations of it.
    """

    parts: Sequence[bytes | None]
    template: bytes | None = None

    def has(self, place: int) -> bool:
        return place < len(self.parts) and self.parts[place] is not None

    def body(self, *places: int) -> bytes | None:
        """The body of a request for these mails; several go in one request only if they are merged."""
        parts = [part for place in places if place < len(self.parts) and (part := self.parts[place]) is not None]
        if len(parts) < len(places):
            return None
        return parts[0] if self.template is None else merged(self.template, parts)


def merged(template: bytes, personalizations: Sequence[bytes]) -> bytes:
    """A template, which has no personalizations of its own, with these."""
    return b'%b,"personalizations":[%b]}' % (template[:-1], b",".join(personalizations))


def pack(parts: Sequence[bytes | None], template: bytes | None = None) -> bytes:
    """A chunk's content, by place."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    content = parts if template is None else _Merged(template, list(parts))
    packed: bytes = _local.compressor.compress(_encode(content))
    return packed


def unpack(payload: bytes) -> Content:
    """Raises `DamagedPayload`."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    try:
        content = _decode(_local.decompressor.decompress(payload))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise DamagedPayload(str(error)) from None
    return Content(content.personalizations, content.template) if isinstance(content, _Merged) else Content(content)
