"""Reply: what came back for one request, or why nothing did. It says what happened, not what it means."""

import re
from enum import StrEnum
from typing import Self

import msgspec

#: A longer `X-Message-Id` than this (bytes) is no receipt. SendGrid's have 22.
RECEIPT_LIMIT = 256

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_RECEIPT = re.compile(rb"\nx-message-id:[ \t]*([!-~]{1,%d})[ \t]*\r?\n" % RECEIPT_LIMIT, re.IGNORECASE)
_FIELD = r"\n%s:([^\r\n]*)"


class Fate(StrEnum):
    """What became of a request."""

    #: A whole reply came (its body cut at 64 KiB).
    ANSWERED = "answered"
    #: The last byte of the body was never handed over for sending, so nobody has the whole mail.
    UNSENT = "unsent"
    #: The whole body may have been written, and no whole reply came.
    LOST = "lost"
    #: Its time was over before its turn came; nothing was sent.
    NOT_STARTED = "not_started"


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What came back for one request.

    `reason` says why a request is unsent or lost, in a word for machines: `dns_failure`, `timeout`. `detail` is
    libcurl's sentence about an unsent one; it never quotes the mail or the key. `head` is the reply's status line and
    headers, `body` at most its first 64 KiB; both may quote addresses.
    """

    fate: Fate
    reason: str | None = None
    detail: str | None = None
    status: int = 0
    receipt: str | None = None
    head: bytes = b""
    body: bytes = b""

    @classmethod
    def answered(cls, status: int, head: bytes, body: bytes = b"") -> Self:
        """A reply that came to its end; lost if that end is within its head, for it may have said anything.

        `head` may start with the heads of interim replies (1xx): only the last one counts.
        """
        if b"\nHTTP/" in head:
            head = head[head.rindex(b"\nHTTP/") + 1 :]
        if not (head.endswith(b"\r\n\r\n") or _END_OF_HEAD.search(head)):
            return cls.lost("truncated")
        found = _RECEIPT.search(head)
        return cls(Fate.ANSWERED, None, None, status, found[1].decode() if found else None, head, body)

    @classmethod
    def unsent(cls, reason: str, detail: str | None = None) -> Self:
        return cls(Fate.UNSENT, reason, detail)

    @classmethod
    def lost(cls, reason: str) -> Self:
        return cls(Fate.LOST, reason)

    def field(self, name: str) -> str | None:
        """The value of a header, or None; the first one if it is repeated."""
        found = re.search((_FIELD % re.escape(name)).encode(), self.head, re.IGNORECASE)
        return found[1].decode("latin-1").strip(" \t") if found else None

    def __repr__(self) -> str:
        """Without head and body, which may quote addresses."""
        return f"Reply({self.fate}, reason={self.reason}, status={self.status}, receipt={self.receipt})"


NOT_STARTED = Reply(Fate.NOT_STARTED, "not_started")
