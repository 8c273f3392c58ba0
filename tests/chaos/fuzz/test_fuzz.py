"""The fuzz in short; `python -m tests.chaos.fuzz` runs it at length."""

from pathlib import Path

from tests.chaos.fuzz.clarity import unclear
from tests.chaos.fuzz.fuzzing import SHARES, run


def test_nonsense_is_taken_or_refused_in_clear_words(tmp_path: Path) -> None:
    found = run(tmp_path, times=2_000, seed=1)

    assert not found.broken, found.as_dict()
    assert all(found.figures[f"{door}_refused"] for door in SHARES)


def test_unclear_texts_are_told_from_clear_ones() -> None:
    for text in ("", " \n", "None", "[]", "<object object at 0x7f>", "Fault(field='a')", "x" * 10_001):
        assert unclear(text)
    for text in ("'NoneType' object has no attribute 'get'", "user_script:12: attempt to index a nil value"):
        assert unclear(text)
    for text in ("lane must be 'transactional' or 'bulk', not None", "personalizations: The array is required."):
        assert unclear(text) is None
