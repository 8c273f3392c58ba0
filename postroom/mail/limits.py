"""Limit: the numbers that SendGrid sets for a mail, and one of our own."""

from collections.abc import Mapping

#: Faults of a mail that are told. A wrong list of 30 MB would have ten million.
FAULTS = 1000

#: A request, in bytes (30 MB).
MAIL_BYTES = 30 * 1024 * 1024

PERSONALIZATIONS = 1000

#: to, cc and bcc over all personalizations.
RECIPIENTS = 1000

REPLY_TO_LIST = 1000

#: An address, in characters.
ADDRESS_LENGTH = 320

CATEGORIES = 10
CATEGORY_LENGTH = 255

SUBSTITUTIONS = 10_000

#: Unsubscribe groups that are displayed.
GROUPS = 25

#: How far ahead `send_at` may be.
SCHEDULE_SECONDS = 72 * 3600

#: The names and values of a personalization's `substitutions`, in bytes; and those of its `custom_args`, taken
#: together with those of the whole mail. SendGrid's newest pages say 50,000, its specification says 10,000.
STRINGS_BYTES = 10_000


def fits(strings: Mapping[str, str | None]) -> bool:
    """Whether the names and values come to no more than `STRINGS_BYTES`, as UTF-8."""
    characters = 0
    for name, value in strings.items():
        characters += len(name) + len(value or "")
    if 4 * characters <= STRINGS_BYTES:
        return True
    texts = [*strings, *filter(None, strings.values())]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) <= STRINGS_BYTES
