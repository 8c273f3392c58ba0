"""Blame: which of the mails of one request a refusal is about."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.outcome import Kind, Outcome
from worker.blame import SPARED, blame

PLACES = [4, 7, 8, 11]


def refused(*errors: dict[str, Any]) -> Outcome:
    return Outcome(Kind.REJECTED, "http_400", None, list(errors))


def error(field: str | None, message: str = "no") -> dict[str, Any]:
    return {"message": message, "field": field, "help": None}


def test_a_mail_that_is_named_is_rejected_and_the_others_are_spared() -> None:
    blamed = blame(refused(error("personalizations.2.to.0.email")), PLACES)

    assert blamed == [([8], refused(error("personalizations.0.to.0.email"))), ([4, 7, 11], SPARED)]
    assert SPARED.kind is Kind.RELEASED


def test_each_mail_that_is_named_has_its_own_errors() -> None:
    told = [error("personalizations.0"), error("personalizations.3.to"), error("personalizations.0.cc"), error("from")]

    assert blame(refused(*told), PLACES) == [
        ([4], refused(error("personalizations.0"), error("personalizations.0.cc"))),
        ([11], refused(error("personalizations.0.to"))),
        ([7, 8], SPARED),
    ]


def test_the_message_may_name_it() -> None:
    ((places, outcome), _) = blame(refused(error(None, "[a@b.c] in the personalizations.1.to field.")), PLACES)

    assert places == [7]
    assert outcome.errors == [error(None, "[a@b.c] in the personalizations.0.to field.")]


def test_numbers_are_read_whole() -> None:
    places = list(range(200))
    ((blamed, outcome), _) = blame(refused(error("personalizations.12", "personalizations.1 and .120")), places)
    assert blamed == [12]
    assert outcome.errors == [error("personalizations.0", "personalizations.1 and .120")]


def test_where_all_are_named_none_is_spared() -> None:
    blamed = blame(refused(*(error(f"personalizations.{number}") for number in range(4))), PLACES)
    assert [places for places, _ in blamed] == [[4], [7], [8], [11]]


@pytest.mark.parametrize(
    "errors",
    [[], [error("from")], [error("personalizations")], [error("personalizations.4")], [error("personalizations.x")]],
)
def test_where_none_is_named_all_are_rejected(errors: list[dict[str, Any]]) -> None:
    outcome = refused(*errors)
    assert blame(outcome, PLACES) == [(PLACES, outcome)]


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.REJECTED}))
def test_other_outcomes_are_those_of_all(kind: Kind) -> None:
    outcome = Outcome(kind, "why", None, [error("personalizations.1")])
    assert blame(outcome, PLACES) == [(PLACES, outcome)]


def test_a_mail_by_itself_is_to_blame() -> None:
    outcome = refused(error("personalizations.7.to"))
    assert blame(outcome, [3]) == [([3], outcome)]


@given(
    st.lists(st.text() | st.from_regex(r"personalizations\.\d{1,30}(\.\w+)?") | st.none(), max_size=20),
    st.lists(st.integers(0, 999), min_size=1, max_size=30, unique=True),
)
def test_each_mail_has_one_outcome_and_refusals_come_to_an_end(fields: list[str | None], places: list[int]) -> None:
    outcome = refused(*(error(field, field or "") for field in fields))
    blamed = blame(outcome, places)
    assert sorted(place for some, _ in blamed for place in some) == sorted(places)
    assert any(each.kind is Kind.REJECTED for _, each in blamed)
