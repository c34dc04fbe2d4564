from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.evaluation import progress as module
from flows.evaluation.progress import EvaluationProgress


def test_away_from_a_terminal_a_line_now_and_then_says_how_long_it_will_be(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    told = io.StringIO()
    with EvaluationProgress(Console(file=told, width=100), total=40) as progress:
        progress.begin("first")
        now[0] += 60
        progress.finish(10)
        progress.begin("second")
        now[0] += 1
        progress.begin("third")
    assert told.getvalue().splitlines() == ["25 %, about 3 min left: second"]
