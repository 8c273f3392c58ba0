"""The gateway's fuzz in short; `python -m tests.gateway_fuzz` runs 100,000 requests."""

from pathlib import Path

from tests.gateway_fuzz import fuzz


def test_whatever_is_sent_is_taken_or_refused_in_clear_words_and_forgotten(tmp_path: Path) -> None:
    done = fuzz(tmp_path, requests=3_000, seed=1)
    assert done.findings == []
    assert done.statuses.keys() >= {202, 400, 404, 405, 415}
    assert len(done.memory_bytes) == 4
