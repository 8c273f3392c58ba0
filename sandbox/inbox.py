"""Inbox: the accepted mails, newest first. It has bounds; the acceptance log has none."""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from sandbox.mails import Mail


class Inbox:
    """At most `most_mails` mails and `most_bytes` of their JSON; the oldest go first, the newest always stays."""

    def __init__(self, most_mails: int = 10_000, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._mails: OrderedDict[str, Mail] = OrderedDict()
        self._most_mails = most_mails
        self._most_bytes = most_bytes
        self._bytes = 0
        #: Grows with every change.
        self.version = 0

    def __len__(self) -> int:
        return len(self._mails)

    def add(self, mail: Mail) -> None:
        self._mails[mail.receipt] = mail
        self._bytes += len(mail.raw)
        self.version += 1
        while len(self) > 1 and (len(self) > self._most_mails or self._bytes > self._most_bytes):
            self._bytes -= len(self._mails.popitem(last=False)[1].raw)

    def get(self, receipt: str) -> Mail | None:
        return self._mails.get(receipt)

    def find(self, words: str, offset: int, limit: int) -> tuple[int, list[Mail]]:
        """How many mails have `words` in a recipient or the subject, and one page of them."""
        if not words:
            return len(self), list(islice(reversed(self._mails.values()), offset, offset + limit))
        found = list(self._matching(words.lower()))
        return len(found), found[offset : offset + limit]

    def _matching(self, words: str) -> Iterator[Mail]:
        for mail in reversed(self._mails.values()):
            if words in (mail.subject or "").lower() or any(words in to.lower() for to in mail.recipients):
                yield mail

    def clear(self) -> None:
        self._mails.clear()
        self._bytes = 0
        self.version += 1
