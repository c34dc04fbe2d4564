"""Damaged files through the whole job; `python -m tests.zoo.fuzz_job` does the same with thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.fuzz_job import run_job


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_damaged_file_ends_as_done_and_verified_or_as_failed_with_a_reason(tmp_path: Path) -> None:
    found = run_job(tmp_path / "job", range(40), seed=7)
    assert not found.wrong
    assert found.done + found.failed.total() == 40
    assert found.done >= 20
    assert found.failed
    assert all(found.failed)
