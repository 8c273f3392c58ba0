"""Payload: the bodies of a chunk's mails as Redis keeps them: msgpack, compressed as one. Pure."""

import threading
from collections.abc import Sequence

import msgspec
import zstandard

#: A campaign's mails are nearly alike, so even a low level finds what they share.
LEVEL = 3

_decoder = msgspec.msgpack.Decoder(list[bytes | None])
_local = threading.local()


class DamagedPayload(ValueError):
    """What Redis had is not what was stored."""


def pack(bodies: Sequence[bytes | None]) -> bytes:
    """The bodies by row; None for a mail whose content is not kept any more."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    packed: bytes = _local.compressor.compress(msgspec.msgpack.encode(bodies))
    return packed


def unpack(payload: bytes) -> list[bytes | None]:
    """Raises `DamagedPayload`."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    try:
        return _decoder.decode(_local.decompressor.decompress(payload))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise DamagedPayload(str(error)) from None
