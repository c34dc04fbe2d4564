"""Counting what kills cost, from the workers' logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.work_log import tell
from storage.catalogue import Source
from storage.shards import PtsRange
from storage.store import FileIdentity
from tests.chaos.work_logs import Kill, Redone, Told, count_redone, read_work_logs


def at(second: float) -> datetime:
    return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def begins(second: float, stage: str, shard: str, run: str = "1") -> Told:
    return Told(at(second), stage, "begins", ("a.mp4", shard), run)


def commits(second: float, shard: str, run: str = "1") -> Told:
    return Told(at(second), "FrameCompositor", "commits", ("a.mp4", shard), run)


def killed(second: float, *, ends_run: bool = False) -> Kill:
    return Kill(at(second), "driver" if ends_run else "actor", "python", ends_run)


def test_a_shard_that_a_kill_met_may_be_done_again_in_every_stage() -> None:
    first = [begins(1, "FaceDetector", "x"), begins(2, "FrameCompositor", "x"), begins(2.5, "FaceDetector", "y")]
    again = [begins(4, "FaceDetector", "x"), begins(5, "FrameCompositor", "x"), commits(6, "x")]
    assert count_redone([*first, *again], [killed(3)]) == Redone(in_flight=2, redone=1, joined_again=0, needless=())


def test_a_shard_that_was_committed_must_not_be_done_again() -> None:
    told = [begins(1, "FaceDetector", "x"), commits(2, "x"), begins(4, "FaceDetector", "x", run="2")]
    found = count_redone(told, [killed(3, ends_run=True)])
    assert (found.in_flight, found.redone) == (0, 0)
    assert found.needless == ("FaceDetector of a.mp4 x at 00:00:04",)


def test_a_shard_that_no_kill_met_must_not_be_done_again() -> None:
    told = [begins(2, "FaceDetector", "x"), begins(3, "FaceDetector", "x")]
    assert count_redone(told, [killed(1)]).needless
    assert count_redone(told, []).needless


def test_what_the_workers_of_a_killed_driver_still_begin_is_lost_with_it() -> None:
    told = [
        begins(1, "FaceDetector", "x"),
        begins(3, "expert_t", "x"),
        begins(3, "FaceDetector", "y"),
        *(begins(second, "FaceDetector", shard, "2") for second, shard in ((9, "x"), (10, "y"))),
        begins(11, "expert_t", "x", "2"),
    ]
    found = count_redone(told, [killed(2, ends_run=True)])
    assert found == Redone(in_flight=2, redone=2, joined_again=0, needless=())


def test_each_kill_is_counted_for_what_it_made_be_done_again() -> None:
    told = [begins(second, "FaceDetector", "x") for second in (1, 3, 5)]
    assert count_redone(told, [killed(2), killed(4)]) == Redone(2, 2, 0, ())


def test_joining_again_is_counted_by_itself() -> None:
    told = [commits(1, "x"), begins(2, "assemble", "all"), begins(4, "assemble", "all")]
    assert count_redone(told, [killed(3)]) == Redone(in_flight=0, redone=0, joined_again=1, needless=())
    assert count_redone(told, []).needless


def test_the_lines_of_the_workers_are_found_in_rays_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "ray" / "session_2025" / "logs"
    logs.mkdir(parents=True)
    tell("expert_t", "begins", Source("/in/a", "a b.mp4", FileIdentity(1, "1")), PtsRange(5, None))
    (logs / "worker-0efd-01000000-15969.err").write_text(f":actor_name:x\n{capsys.readouterr().err}other\n")
    (told,) = read_work_logs(tmp_path)
    assert (told.stage, told.event, told.shard) == ("expert_t", "begins", ("a b.mp4", "5_end"))
    assert told.run == "session_2025/01000000"
