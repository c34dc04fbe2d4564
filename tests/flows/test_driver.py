"""The driver: what is done counts, also when a failure ends the job at the same moment."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from flows import driver as flows_driver
from flows.config import load_config
from flows.driver import Driver, FirstFailureError, Outcome
from flows.job import open_job
from flows.ledger import Ledger, VideoPlan
from flows.progress import JobProgress
from storage.containers import choose_container
from storage.encoding import output_picture
from storage.errors import NoRoomError
from storage.failures import Failure, read_failures
from storage.receipts import Receipt
from tests.media import Clip, make_video, shards_of
from tests.storage.shard_work import SIZE

ENDED: dict[str, tuple[Failure | None, list[str]]] = {
    "a.mp4": (Failure(reason="a segment is gone"), []),
    "b.mp4": (None, []),
    "c.mp4": (None, ["two frames are damaged"]),
}
"""How the assemble task of each video ends: (why it failed, what is worth telling)."""


def planned(path: Path) -> VideoPlan:
    shards = tuple(shards_of(path, Fraction(10)))
    probe = shards[0].probe
    return VideoPlan(shards, output_picture(probe, SIZE), choose_container(probe, path.name, "h264"))


@pytest.mark.parametrize("fail_fast", [True, False])
def test_videos_that_are_done_count_when_another_fails_first(
    fail_fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    plans = [planned(make_video(tmp_path / "in" / name, Clip(frames=5))) for name in ENDED]
    given = {"sources": [str(tmp_path / "in")], "out": str(tmp_path / "out"), "experts": "none", "fail_fast": fail_fast}
    job = open_job(load_config(None, given))
    progress = JobProgress(Console(file=io.StringIO()), videos=3, shards=0, frames=0, done_before=0)
    outcome = Outcome()
    driver = Driver(job, Ledger([]), outcome, progress)
    driver._assembling = {plan.source.relative_path: plan for plan in plans}

    def all_at_once(tasks: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        return tasks, []

    monkeypatch.setattr(ray, "wait", all_at_once)
    monkeypatch.setattr(flows_driver, "_result_of", ENDED.__getitem__)
    if fail_fast:
        with pytest.raises(FirstFailureError):
            driver.end()
    else:
        driver.end()
    assert outcome.done == ["b.mp4", "c.mp4"]
    assert outcome.failed == {"a.mp4": "a segment is gone"}
    assert outcome.stopped == fail_fast
    assert [failure.reason for failure in read_failures(job.area, job.store).values()] == ["a segment is gone"]


def test_a_full_disk_ends_the_job_and_is_no_failure_of_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is being assembled meanwhile ends first, and counts."""
    (tmp_path / "in").mkdir()
    plans = [planned(make_video(tmp_path / "in" / name, Clip(frames=5))) for name in ENDED]
    given = {"sources": [str(tmp_path / "in")], "out": str(tmp_path / "out"), "experts": "none"}
    job = open_job(load_config(None, given))
    progress = JobProgress(Console(file=io.StringIO()), videos=3, shards=0, frames=0, done_before=0)
    outcome, shard = Outcome(), plans[0].shards[0]
    driver = Driver(job, Ledger(plans), outcome, progress)
    full = Failure(reason="/out: no space is left", no_room=True)
    with pytest.raises(NoRoomError, match="/out: no space is left"):
        driver.take(Receipt(shard.source.key, shard.range, error=full.reason, no_room=True))
    driver._assembling = {plan.source.relative_path: plan for plan in plans}

    def one_by_one(tasks: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        return tasks[:1], tasks[1:]

    monkeypatch.setattr(ray, "wait", one_by_one)
    monkeypatch.setattr(flows_driver, "_result_of", {**ENDED, "a.mp4": (full, [])}.__getitem__)
    driver.let_assembling_end()
    assert outcome.done == ["b.mp4", "c.mp4"]
    assert outcome.failed == {}
    assert not read_failures(job.area, job.store)
