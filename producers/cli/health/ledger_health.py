"""The ledger's health: whether the fleet is stopped, and what waits for somebody to decide."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from producers.cli.fleet import Fleet
from producers.cli.health.finding import Finding, fine, ill
from producers.cli.mails import at
from producers.cli.standstill import why_stopped

if TYPE_CHECKING:
    from postroom.answers import DeadLetter, Doubt

#: It is enough to know that there are so many; and no more pages are read.
MOST, MOST_PAGES = 1000, 50


def look(fleet: Fleet) -> Iterator[Finding]:
    """Raises `Unreachable`."""
    yield _stopped(fleet)
    yield _dead_letters(fleet)
    yield _doubts(fleet)


def _stopped(fleet: Fleet) -> Finding:
    why = why_stopped(fleet.ask(fleet.ledger.stopped()))
    advice = "Nothing is sent. If this is the Redis that is meant: postroom recover."
    return Finding("fleet", not why, why or "not stopped", advice)


def _dead_letters(fleet: Fleet) -> Finding:
    letters, more = _first_letters(fleet)
    if not letters:
        return fine("dead letters", "none")
    states = Counter(str(letter.state) for letter in letters)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    advice = "See them: postroom dead list. When the cause is mended: postroom dead retry --all."
    return ill("dead letters", f"{_number(letters, more=more)}: {counts}", advice, essential=False)


def _first_letters(fleet: Fleet) -> "tuple[list[DeadLetter], bool]":
    letters: list[DeadLetter] = []
    page = fleet.ask(fleet.ledger.dead(None, None, 0))
    for _ in range(MOST_PAGES):
        letters += page.letters
        if page.next is None or len(letters) >= MOST:
            break
        page = fleet.ask(fleet.ledger.dead(None, *page.next))
    return letters, page.next is not None


def _doubts(fleet: Fleet) -> Finding:
    doubts, more = _first_doubts(fleet)
    if not doubts:
        return fine("doubts", "none")
    detail = f"{_number(doubts, more=more)} mails are in doubt, the first until {at(doubts[0].ends_at)}"
    advice = "They end by themselves; postroom doubt list says how. Who knows better: postroom doubt resolve."
    return ill("doubts", detail, advice, essential=False)


def _first_doubts(fleet: Fleet) -> "tuple[list[Doubt], bool]":
    doubts: list[Doubt] = []
    page = fleet.ask(fleet.ledger.doubts(0))
    while True:
        doubts += page.doubts
        if page.next is None or len(doubts) >= MOST:
            return doubts, page.next is not None
        page = fleet.ask(fleet.ledger.doubts(page.next))


def _number(found: "list[DeadLetter] | list[Doubt]", *, more: bool) -> str:
    return f"{len(found):,}{' or more' if more else ''}"
