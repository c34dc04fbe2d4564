"""`facemill status` tells a job's state from what lies in the destination, without Ray and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from flows.cli import main
from flows.config import load_config
from flows.driver import Outcome
from flows.job import Job, open_job
from flows.resuming import begin, done_of, put_on_record, standing_of
from flows.status import lines_of
from storage.cleaning import find_waste, give_up_job
from storage.failures import Failure
from storage.finishing import finish_video, give_up
from storage.job_record import commit_job_record
from storage.job_status import JobStatus, VideoLeft, job_folders, job_status, without_superseded
from storage.kept_probes import kept_probe
from storage.redoing import begin_again
from storage.shards import Shard, plan_shards
from tests.conftest import S3Server
from tests.media import Clip, make_video
from tests.storage.shard_work import commit_shard, finishing_order


@dataclass
class Begun:
    """A job of three videos as a killed run may leave it: one done, one given up, one with a shard of two done."""

    job: Job
    arguments: tuple[str, ...]

    def shards(self, name: str) -> list[Shard]:
        (source,) = [each for each in self.job.sources if each.relative_path == name]
        return plan_shards(source, kept_probe(source, self.job.area, self.job.store), Fraction(1, 2))

    def lines(self, now: datetime | None = None) -> list[str]:
        (folder,) = job_folders(self.job.out, self.job.store)
        return lines_of(job_status(folder, self.job.store), now or datetime.now(UTC))


@pytest.fixture(params=["disk", "s3"])
def begun(request: pytest.FixtureRequest, tmp_path: Path) -> Begun:
    (tmp_path / "in").mkdir()
    for name in ("done.mp4", "half.mp4", "new.mp4"):
        make_video(tmp_path / "in" / name, Clip(frames=25))
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video")
    out, more = str(tmp_path / "out"), {}
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        out, more = f"{s3.make_bucket()}/out", {"s3_endpoint": s3.endpoint}
    given = {"sources": [str(tmp_path / "in")], "out": out, "experts": "none", "shard_seconds": "0.5", **more}
    config = load_config(None, given)
    job = open_job(config)
    commit_job_record(job.area, job.name, job.sources, config.told(), dict(job.weights), job.store)
    arguments = (out, *(("--s3-endpoint", more["s3_endpoint"]) if more else ()))
    begun = Begun(job, arguments)
    shards = begun.shards("done.mp4")
    receipts = [commit_shard(shard, job.area, job.store) for shard in shards]
    finish_video(finishing_order(shards, receipts, job.area, out), job.store)
    commit_shard(begun.shards("half.mp4")[1], job.area, job.store)
    failure = Failure(reason="it is no video", of_source=True)
    give_up(job.area, out, next(each for each in job.sources if each.relative_path == "bad.mp4"), failure, job.store)
    return begun


def test_what_is_done_failed_and_left_is_told(begun: Begun) -> None:
    first, *others = begun.lines()
    assert first.startswith(f"job {begun.job.name}: 1 done, 1 failed, 2 left, last active ")
    assert done_of(begun.job) == ["done.mp4"]  # what an interrupted run tells
    assert others == [
        "  failed: bad.mp4: it is no video",
        "  left: half.mp4: 1 of 2 shards done",
        "  left: new.mp4: not looked into yet",
    ]


def test_json_has_the_same(begun: Begun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["facemill", "status", *begun.arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    (job,) = document["jobs"]
    assert document["format"] == 1
    assert (job["job"], job["done"]) == (begun.job.name, ["done.mp4"])
    assert job["lost"] == []
    assert job["failed"] == [{"video": "bad.mp4", "reason": "it is no video", "of_source": True}]
    assert job["left"] == [
        {"video": "half.mp4", "shards_done": 1, "shards": 2},
        {"video": "new.mp4", "shards_done": 0, "shards": None},
    ]
    assert datetime.fromisoformat(job["begun"]) <= datetime.now(UTC)
    assert datetime.now(UTC) - datetime.fromisoformat(job["last_active"]) < timedelta(minutes=10)


def test_a_result_that_is_gone_or_changed_is_told(
    begun: Begun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun.job.store.commit_bytes(b"something else", f"{begun.job.out}/done.mp4")
    monkeypatch.setattr("sys.argv", ["facemill", "status", *begun.arguments])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().out
    assert "0 done, 1 failed, 3 left" in told
    assert "  lost: done.mp4: its result is not in place any more" in told


def test_what_is_made_again_is_left_until_it_is_done(begun: Begun) -> None:
    begin_again(begun.job.area, begun.job.sources, begun.job.store)
    first, *others = begun.lines()
    assert "0 done, 0 failed, 4 left" in first
    assert "  left: done.mp4: not looked into yet" in others
    assert "  left: half.mp4: 0 of 2 shards done" in others
    assert begun.job.store.exists(f"{begun.job.out}/done.mp4")


def test_a_video_whose_result_was_lost_is_left_until_it_is_made_again(begun: Begun) -> None:
    """A run is at it: what it makes is no waste, however long that takes."""
    job = begun.job
    done = begun.shards("done.mp4")
    job.store.remove([f"{job.out}/done.mp4"])
    standing = standing_of(job, Outcome())
    assert done[0].source in standing.pending
    with begin(job, standing):
        pass
    commit_shard(done[0], job.area, job.store)
    assert "  left: done.mp4: 1 of 2 shards done" in begun.lines()
    assert list(find_waste(job.out, job.store, before=datetime.now(UTC) + timedelta(days=9))) == []
    receipts = [commit_shard(shard, job.area, job.store) for shard in done]
    finish_video(finishing_order(done, receipts, job.area, job.out), job.store)
    assert "1 done, 1 failed, 2 left" in begun.lines()[0]


def test_files_that_are_not_facemills_own_are_passed_over(begun: Begun) -> None:
    _, *told = begun.lines()
    area, (bad, *_) = begun.job.area, begun.job.sources
    for name in ("shop.receipt.json", "9_1.receipt.json", "a_b.receipt.json"):
        begun.job.store.commit_bytes(b"{}", f"{area.video(bad.key)}/{name}")
    assert begun.lines()[1:] == told


def test_a_record_of_another_format_is_not_read(begun: Begun) -> None:
    record = json.loads(begun.job.store.read_bytes(begun.job.area.job_record))
    assert record["format"] == 1
    begun.job.store.commit_bytes(json.dumps(record | {"format": 2}).encode(), begun.job.area.job_record)
    (line,) = begun.lines()
    assert "not on record what it was asked for" in line


def test_the_last_activity_is_told_as_time_that_passed(begun: Begun) -> None:
    (first, *_) = begun.lines(datetime.now(UTC) + timedelta(hours=3, minutes=1))
    assert first.endswith("(3 hours ago)")


def test_the_record_of_a_job_holds_no_secret_and_stays_as_it_was_begun(begun: Begun) -> None:
    store, area = begun.job.store, begun.job.area
    before = store.read_bytes(area.job_record)
    for word in (b"SECRET", b"a-secret-of-the-tests", b"facemill-tests", b"127.0.0.1"):
        assert word not in before
    commit_job_record(area, begun.job.name, (), {}, {}, store)
    assert store.read_bytes(area.job_record) == before


def test_what_a_later_job_has_done_is_not_told_of_the_earlier_one_again() -> None:
    """A source that changed while a job ran has failed in it; a result was replaced by one of other settings."""
    at, failure = datetime(2026, 1, 2, tzinfo=UTC), Failure(reason="the file changed while the job ran")
    left = (VideoLeft("b.mp4", 1, 2), VideoLeft("d.mp4", 1, 2))
    earlier = JobStatus(
        "earlier",
        at,
        at,
        done=("e.mp4", "f.mp4", "g.mp4"),
        failed=(("a.mp4", failure), ("c.mp4", failure)),
        left=left,
        lost=("e.mp4", "f.mp4"),
    )
    later = JobStatus("later", at, at, done=("a.mp4", "b.mp4", "e.mp4", "g.mp4"), failed=(("c.mp4", failure),))
    unknown = JobStatus("x", None, at)
    first, *others = without_superseded([earlier, unknown, later])
    assert others == [unknown, later]
    assert (first.done, first.lost, first.failed) == (("f.mp4", "g.mp4"), ("f.mp4",), (("c.mp4", failure),))
    assert (first.left, first.superseded) == (left[1:], 3)
    assert "1 done, 1 failed, 2 left, 3 done by a later job, " in lines_of(first, at)[0]


def test_a_job_that_was_given_up_before_anything_was_done_is_not_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_video(tmp_path / "a.mp4", Clip(frames=2))
    given = {"sources": [str(tmp_path / "a.mp4")], "out": str(tmp_path / "out"), "experts": "none"}
    job = open_job(load_config(None, given))
    put_on_record(job)
    give_up_job(job.area, job.store)
    assert "there is no job" in refused(capsys, monkeypatch, "status", job.out)
    with begin(job, standing_of(job, Outcome())):
        (folder,) = job_folders(job.out, job.store)
    assert "0 done, 0 failed, 1 left" in lines_of(job_status(folder, job.store), datetime.now(UTC))[0]


def test_a_plain_file_and_an_unknown_scheme_are_told_as_what_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    for command in ("status", "clean"):
        assert refused(capsys, monkeypatch, command, tmp_path / "file").startswith(
            f"facemill: {tmp_path}/file: is a fi"
        )
        assert refused(capsys, monkeypatch, command, "gs://a/b").startswith("facemill: gs://a/b: only paths")


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr("sys.argv", ["facemill", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err.strip()


def test_a_folder_without_a_job_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = refused(capsys, monkeypatch, "status", tmp_path)
    assert told == f"facemill: {tmp_path}: there is no job of facemill. Give the --out of `facemill restore`"


def test_neither_ray_nor_torch_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys; from flows.status import status\n"
        "try: status(sys.argv[1], json=False, s3_endpoint=None)\n"
        "except Exception as error: print(error)\n"
        "assert not {'ray', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=120)
