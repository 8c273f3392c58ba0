"""Client: the Postroom that all connections of a Django site share."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import msgspec

from postroom.ids import chunk_id, mail_id
from postroom.ledger import Ledger
from postroom.settings import Settings
from producers import Postroom


class Client(Postroom):
    """Adds the ids of a batch's mails."""

    def mail_ids(self, batch_id: str, total: int) -> Iterator[str]:
        """By row. Raises `Unreachable`."""
        firsts = self._connection.run(Ledger(self._settings).first_rows(batch_id, 0, total))
        for first, end in pairwise([*firsts, total]):
            chunk = chunk_id(batch_id, first)
            yield from (mail_id(chunk, place) for place in range(end - first))


def client(settings: Settings) -> Client:
    """One for each settings: Django makes a backend for each mail, which shall not connect for each mail.

    SendGrid's keys are left out: a producer needs none, and no two secrets are equal.
    """
    keyless = msgspec.structs.replace(
        settings, sendgrid_api_key=None, sendgrid_key_transactional=None, sendgrid_key_bulk=None
    )
    return _client(keyless)


_client = cache(Client)
