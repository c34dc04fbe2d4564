"""Plans: every result has a place of its own, and what cannot be planned says why."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from flows.config import load_config
from flows.job import Job
from flows.ledger import VideoPlan
from flows.planning import _claim_outputs, _plan_video, _probe_in, _without_foreign, probing_tasks
from storage.catalogue import Source
from storage.errors import SourceError
from storage.failures import Failure
from storage.job_record import commit_job_record
from storage.manifest import commit_part, done_video_row
from storage.receipts import WorkArea
from storage.redoing import mark_again
from storage.store import FileIdentity, Store
from tests.flows.test_ledger import PROBE


def job(out: Path, **flags: object) -> Job:
    config = load_config(None, {"sources": ["in"], "out": str(out), "experts": "none", **flags})
    return Job(config, Store(), (), str(out), {}, (), "name")


def planned(of: Job, name: str) -> VideoPlan:
    return _plan_video(of, Source(f"/in/{name}", name, FileIdentity(1, "1")), PROBE)


def test_two_videos_never_share_a_result(tmp_path: Path) -> None:
    of = job(tmp_path, baseline=True)
    owners: dict[str, str] = {}
    _claim_outputs(of, planned(of, "talk.mkv"), owners)
    with pytest.raises(SourceError, match=r"would write over the result of /in/talk\.mkv"):
        _claim_outputs(of, planned(of, "talk.baseline.mkv"), owners)
    _claim_outputs(of, planned(of, "other.mkv"), owners)


def test_a_result_never_takes_the_place_of_a_source(tmp_path: Path) -> None:
    of = job(tmp_path)
    with pytest.raises(SourceError, match="would write over the source"):
        _claim_outputs(of, planned(of, "talk.mkv"), {str(tmp_path / "talk.mkv"): "the source of another"})


def test_a_comparison_wider_than_encoders_take_is_refused_before_any_work(tmp_path: Path) -> None:
    of = job(tmp_path, compare=True)
    wide = replace(PROBE, width=4096, height=2160)
    with pytest.raises(SourceError, match="leave out --compare"):
        _plan_video(of, Source("/in/a.mkv", "a.mkv", FileIdentity(1, "1")), wide)
    assert _plan_video(job(tmp_path), Source("/in/a.mkv", "a.mkv", FileIdentity(1, "1")), wide).picture.width == 8192


def test_a_source_whose_probing_killed_its_worker_fails_alone() -> None:
    failure = _probe_in(None)
    assert isinstance(failure, Failure)
    assert "ended its worker" in failure.reason
    assert not failure.of_source  # the next run tries it again: something else may have killed it


@pytest.mark.parametrize(("sources", "tasks"), [(1, 1), (200, 200), (256, 256), (2000, 256), (16000, 1000)])
def test_many_sources_share_the_tasks_that_probe_them(sources: int, tasks: int) -> None:
    assert probing_tasks(sources) == tasks


def test_shards_are_as_long_as_asked_for(tmp_path: Path) -> None:
    plan = planned(job(tmp_path, shard_seconds="2.5"), "talk.mkv")
    assert [shard.range.start for shard in plan.shards] == [None, 2500, 5000, 7500]
    assert plan.shards[0].probe.time_base == Fraction(1, 1000)


def refused_by(of: Job, *plans: VideoPlan) -> dict[str, str]:
    kept, unusable = _without_foreign(of, plans, [])
    assert {plan.source for plan in kept} | {source for source, _ in unusable} == {plan.source for plan in plans}
    assert not any(failure.of_source for _, failure in unusable)  # the next run looks again
    return {source.relative_path: failure.reason for source, failure in unusable}


def test_a_file_that_is_no_result_is_never_replaced(tmp_path: Path) -> None:
    of = job(tmp_path)
    mine, none = planned(of, "mine.mkv"), planned(of, "none.mkv")
    (tmp_path / "mine.mkv").write_text("precious")
    refused = refused_by(of, mine, none)
    assert list(refused) == ["mine.mkv"]
    assert "mine.mkv: is there already" in refused["mine.mkv"]
    assert refused_by(job(tmp_path, force=True), mine, none) == {}


def test_a_result_of_any_job_is_replaced_in_every_variant(tmp_path: Path) -> None:
    of, other = job(tmp_path, baseline=True), WorkArea(str(tmp_path / "_facemill" / "other"))
    plan = planned(of, "talk.mkv")
    for name in ("talk.mkv", "talk.baseline.mkv"):
        (tmp_path / name).write_text("result")
    assert list(refused_by(of, plan)) == ["talk.mkv"]
    commit_job_record(other, "other", [plan.source], {}, {}, of.store)
    commit_part(other, plan.source, "videos", [done_video_row(plan.source, {"output": "talk.mkv"})], of.store)
    assert refused_by(of, plan) == {}


def test_a_result_whose_record_a_crash_has_kept_back_is_replaced_by_any_job(tmp_path: Path) -> None:
    of, earlier = job(tmp_path), WorkArea(str(tmp_path / "_facemill" / "of the folder before it grew"))
    plan = planned(of, "talk.mkv")
    (tmp_path / "talk.mkv").write_text("result")
    of.store.commit_bytes(b'["talk.mkv"]', earlier.announced(replace(plan.source, identity=FileIdentity(1, "0"))))
    assert refused_by(of, plan) == {}


def test_a_result_that_was_marked_to_be_made_again_is_replaced(tmp_path: Path) -> None:
    """An attempt that failed has removed its record: the result was another than that told of."""
    of = job(tmp_path)
    plan = planned(of, "talk.mkv")
    (tmp_path / "talk.mkv").write_text("result")
    mark_again(of.area, plan.source, of.store)
    assert refused_by(of, plan) == {}


def test_a_folder_is_not_replaced_even_by_force(tmp_path: Path) -> None:
    of = job(tmp_path, force=True)
    (tmp_path / "talk.mkv").mkdir()
    assert "is a folder" in refused_by(of, planned(of, "talk.mkv"))["talk.mkv"]
