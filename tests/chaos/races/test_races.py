"""The races in short; `python -m tests.chaos.races` runs them at length."""

from pathlib import Path

from tests.chaos.races import cancel, same_key


def test_a_cancel_that_races_with_the_worker_gets_one_true_answer(tmp_path: Path) -> None:
    found = cancel.run(tmp_path, times=200, seed=1, with_doubt=False)

    assert not found.broken, found.as_dict()
    assert found.figures["answers_cancelled"]
    assert found.figures["answers_too_late"]


def test_a_key_used_at_once_by_many_stands_for_one_mail_or_batch(tmp_path: Path) -> None:
    found = same_key.run(tmp_path, times=150, seed=1)

    assert not found.broken, found.as_dict()
    assert found.figures["races_single"]
    assert found.figures["races_batch"]
    assert found.figures["calls_conflict"]
