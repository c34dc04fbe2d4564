"""A job whose processes are killed ends as the same job undisturbed does. `python -m tests.chaos` does it at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.trial import Plan, Trial


@pytest.mark.timeout(900)
def test_a_driver_and_a_worker_that_are_killed_cost_time_only(tmp_path: Path) -> None:
    plan = Plan(
        seed=99, kills=2, victims=("driver", "actor"), frames=15, mean_seconds=0.5, experts="t", side_by_side=True
    )
    report = Trial(plan, tmp_path).run()
    assert report.broken == []
    assert report.kills.total() == 2
    assert sum(job.found.frames for job in report.jobs) >= 30
