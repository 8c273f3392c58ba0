"""Backoff: how long to wait before the next attempt."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import backoff
from worker.backoff import backoff_seconds

attempts = st.integers(min_value=1, max_value=10**6)
seconds = st.floats(min_value=1e-3, max_value=1e6)
chances = st.floats(min_value=0, max_value=1, exclude_max=True)


def test_the_examples_hold() -> None:
    result = doctest.testmod(backoff)

    assert result.attempted
    assert not result.failed


@given(attempts, seconds, seconds, chances)
def test_no_wait_is_longer_than_the_cap_or_shorter_than_nothing(
    attempt: int, base: float, cap: float, chance: float
) -> None:
    assert 0 <= backoff_seconds(attempt, base=base, cap=cap, random=lambda: chance) <= cap


@given(st.integers(min_value=1, max_value=20), seconds, chances)
def test_each_further_limit_is_twice_as_long_up_to_the_cap(attempt: int, base: float, chance: float) -> None:
    def wait(attempt: int, cap: float) -> float:
        return backoff_seconds(attempt, base=base, cap=cap, random=lambda: chance)

    assert wait(attempt + 1, cap=1e15) == pytest.approx(2 * wait(attempt, cap=1e15))
    assert wait(attempt + 1, cap=base) == wait(attempt, cap=base)


@given(attempts, seconds, seconds)
def test_any_wait_down_to_none_is_possible(attempt: int, base: float, cap: float) -> None:
    assert backoff_seconds(attempt, base=base, cap=cap, random=lambda: 0.0) == 0


def test_mails_that_failed_together_do_not_come_back_together() -> None:
    waits = {backoff_seconds(5, base=2, cap=600) for _ in range(100)}

    assert len(waits) > 90
    assert max(waits) - min(waits) > 10


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_are_counted_from_one(attempt: int) -> None:
    with pytest.raises(ValueError, match="from 1"):
        backoff_seconds(attempt, base=2, cap=600)
