"""Telling: what a failed assertion shows in place of the mail that was wanted. Pure."""

from collections.abc import Iterable, Sequence
from itertools import takewhile, zip_longest

from producers.testing.mail import Enqueued, Mail
from producers.testing.wanted import WIDEST, Difference, Wanted, cut, shown

#: Mails in a table.
MOST_ROWS = 20
#: Characters that are shown before the place where two long texts differ.
LEAD = 15


def missing(wanted: Wanted, mails: Sequence[Mail], *, number: int | None) -> str:
    """None was found, or not so many as wanted."""
    found = [mail for mail in mails if wanted.is_met_by(mail)]
    which = f" with {wanted}" if wanted else ""
    if number is None:
        head = f"no mail{which} in the outbox"
    else:
        head = f"{counted(len(found))}{which} in the outbox, not {number}"
    if not mails:
        return f"{head}, which is empty.\n\n{_WHY_EMPTY}"
    if found or not wanted:
        return f"{head}\n\n{listed(mails, marked=found if wanted else [])}"
    nearest = min(reversed(mails), key=wanted.distance)
    return f"{head}\n\n{_compared(wanted, nearest, mails)}\n\n{listed(mails, marked=[nearest])}"


def unwanted(wanted: Wanted, mails: Sequence[Mail]) -> str:
    """Some were found, and none should be."""
    found = [mail for mail in mails if wanted.is_met_by(mail)]
    which = f" with {wanted}" if wanted else ""
    return f"{counted(len(found))}{which} in the outbox, not none\n\n{listed(mails, marked=found if wanted else [])}"


def listed(mails: Sequence[Mail], *, marked: Sequence[Mail] = ()) -> str:
    """A table of mails, oldest first; of many, those around the marked ones."""
    first = max(0, min(mails.index(marked[0]) - MOST_ROWS // 2, len(mails) - MOST_ROWS)) if marked else 0
    page = mails[first : first + MOST_ROWS]
    rows = [(f"{'>' if mail in marked else ' '} {place}", *_summary(mail)) for place, mail in enumerate(page, first)]
    rest = len(mails) - len(page)
    title = f"All {counted(len(mails))}, oldest first:" if len(mails) > 1 else "The only mail:"
    more = [f"  … and {counted(rest)} more"] if rest else []
    return "\n".join([title, *table([("  #", "to", "subject", "lane", "state"), *rows]), *more])


def counted(number: int) -> str:
    return f"{number} mail" if number == 1 else f"{number} mails"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns. One that is too long is cut."""
    short = [[cut(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*short, fillvalue="")]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in short]


_WHY_EMPTY = (
    "Was the code that enqueues reached, and did its transaction commit? A client with settings of its own must "
    "lead to the test's Redis: the fixture postroom_settings has it."
)


def _compared(wanted: Wanted, mail: Mail, mails: Sequence[Mail]) -> str:
    different = wanted.differences(mail)
    which = "The nearest" if len(mails) > 1 else "What is there"
    head = f"{which} ({len(wanted) - len(different)} of {len(wanted)} fields are as wanted):"
    rows = [(f"  {each.field}", *_sides(each)) for each in different]
    return "\n".join([head, *table([("  field", "wanted", "enqueued"), *rows])])


def _sides(difference: Difference) -> Iterable[str]:
    """Both sides; of long texts, where they begin to differ."""
    wanted, found = difference.wanted, difference.found
    if isinstance(wanted, str) and isinstance(found, list) and len(found) == 1:
        return repr(wanted), repr(found[0])
    if not (isinstance(wanted, str) and isinstance(found, str)) or max(len(wanted), len(found)) < WIDEST - 2:
        return shown(wanted), shown(found)
    start = max(0, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wanted, found, strict=False))) - LEAD)
    return tuple(f"…{text[start:]!r}" if start else repr(text) for text in (wanted, found))


def _summary(mail: Mail) -> tuple[str, ...]:
    to = ", ".join(mail.to[:2]) + (f" and {len(mail.to) - 2} more" if len(mail.to) > 2 else "")
    subject = mail.subject or (f"[template {mail.template_id}]" if mail.template_id else "")
    return to, subject, *((mail.lane, str(mail.state)) if isinstance(mail, Enqueued) else ())
