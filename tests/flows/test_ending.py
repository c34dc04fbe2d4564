"""At the end of a job every failure has been told once where it can be seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.driver import Outcome
from flows.ending import lines_at_the_end
from storage.catalogue import Source
from storage.store import FileIdentity
from tests.flows.test_planning import job

SOURCE = Source("/in/a.mp4", "a.mp4", FileIdentity(9, "1"))


@pytest.mark.parametrize("videos", [2, 30])
def test_failures_of_this_run_are_told_again_where_they_are_out_of_sight(tmp_path: Path, videos: int) -> None:
    of = job(tmp_path)
    of = replace(of, sources=(SOURCE,) * videos)
    lines = list(lines_at_the_end(of, Outcome(done=["a.mp4"], failed={"b.mp4": "the disk is full"})))
    assert ("failed: b.mp4: the disk is full" in lines) == (videos == 30)
    assert f"1 done, 1 failed. Results: {of.out}  Manifest: {of.area.url}" in lines


def test_what_was_not_begun_is_counted(tmp_path: Path) -> None:
    of = replace(job(tmp_path), sources=(SOURCE,) * 5)
    lines = list(lines_at_the_end(of, Outcome(done=["a.mp4"], failed={"b.mp4": "it is empty"}, stopped=True)))
    assert lines[0].startswith("1 done, 1 failed, 3 left. ")


@pytest.mark.parametrize("videos", [2, 30])
def test_what_is_left_alone_is_told_once(tmp_path: Path, videos: int) -> None:
    """Its reason may be another than its source: two results may be called the same."""
    of = job(tmp_path)
    of = replace(of, sources=(SOURCE,) * videos)
    lines = list(lines_at_the_end(of, Outcome(failed={"b.mp4": "it is empty"}, left_alone=["b.mp4"])))
    assert [line for line in lines if "b.mp4" in line] == ["failed before: b.mp4: it is empty"]
    assert lines[-1].startswith("1 video that failed before was left alone")
    assert "--retry-failed" in lines[-1]
