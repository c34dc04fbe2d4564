"""`facemill clean` removes what killed runs have left, tells what and how much, and nothing else."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from flows.clean import age
from flows.cli import main
from storage import cleaning
from storage.catalogue import Source, find_sources
from storage.cleaning import clear_work, find_own_waste, find_waste, give_up_job, jobs_held, remove
from storage.errors import UsageError
from storage.finishing import finish_video
from storage.job_record import commit_job_record
from storage.job_status import job_folders, job_status
from storage.receipts import WorkArea, read_receipts
from storage.redoing import mark_again
from storage.run_lock import run_lock
from storage.store import Store, join
from storage.uploads import Upload, abort, open_uploads, size_of
from tests.conftest import S3Server
from tests.media import Clip, make_video, shards_of
from tests.storage.shard_work import commit_shard, finishing_order

PART = bytes(5 << 20)
LATER = timedelta(days=2)


@dataclass
class Destination:
    """A destination with a job: `done.mp4` is finished, of `half.mp4` one shard of two is done."""

    store: Store
    out: str
    area: WorkArea
    sources: list[Source]
    arguments: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        return self.store.list_files(self.out)

    def begin_upload(self, name: str) -> None:
        filesystem, path = self.store.filesystem(join(self.out, name))
        bucket, _, key = path.partition("/")
        upload = filesystem.call_s3("create_multipart_upload", Bucket=bucket, Key=key)["UploadId"]
        filesystem.call_s3("upload_part", Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=PART)

    @property
    def uploads(self) -> set[str]:
        return {upload.url.removeprefix(f"{self.out}/") for upload in open_uploads(self.out, self.store)}

    def clean(self, *, unfinished: bool = False, later: timedelta = LATER) -> set[tuple[str, str]]:
        """What is removed once so much time has passed: (kind, place below the destination)."""
        removed = set()
        before = datetime.now(UTC) + later - timedelta(days=1)
        with jobs_held(self.out, self.store, before=before) as held:
            given_up = [folder.area for folder in held] if unfinished else []
            for waste in list(find_waste(self.out, self.store, before=before, given_up=given_up)):
                remove(waste, self.store)
                removed.add((waste.kind, waste.place.removeprefix(f"{self.out}/")))
        return removed


@pytest.fixture
def on(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Destination]:
    """Make a destination on `disk` or in `s3`."""

    def made(where: str) -> Destination:
        (tmp_path / "in").mkdir()
        for name in ("done.mp4", "half.mp4"):
            make_video(tmp_path / "in" / name, Clip(frames=20))
        store, out = Store(), str(tmp_path / "out")
        if where == "s3":
            s3: S3Server = request.getfixturevalue("s3")
            store, out = Store(s3.endpoint), f"{s3.make_bucket()}/out"
        sources = find_sources([str(tmp_path / "in")], store)
        area = WorkArea(join(out, "_facemill", "0123456789abcdef"))
        commit_job_record(area, area.name, sources, {"shard_seconds": 0.4}, {}, store)
        done, half = (shards_of(Path(source.url), Fraction(2, 5)) for source in sources)
        receipts = [commit_shard(shard, area, store) for shard in done]
        finish_video(finishing_order(done, receipts, area, out), store)
        commit_shard(half[0], area, store)
        return Destination(store, out, area, sources)

    return made


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_of_a_healthy_destination_nothing_goes(where: str, on: Callable[[str], Destination]) -> None:
    destination = on(where)
    before = destination.files
    assert destination.clean() == set()
    assert destination.files == before


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_what_a_finished_video_left_goes_and_its_result_and_record_stay(
    where: str, on: Callable[[str], Destination]
) -> None:
    """As a crash between the record and the removal of the working objects leaves it."""
    destination = on(where)
    before = destination.files
    shards = shards_of(Path(destination.sources[0].url), Fraction(2, 5))
    commit_shard(shards[0], destination.area, destination.store)
    work = destination.area.video(destination.sources[0].key).removeprefix(f"{destination.out}/")
    assert destination.clean(later=timedelta(0)) == set()
    assert destination.clean() == {("finished video", work)}
    assert destination.files == before


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_unfinished_work_goes_only_when_asked_for_and_the_job_is_at_rest(
    where: str, on: Callable[[str], Destination]
) -> None:
    destination = on(where)
    work = destination.area.video(destination.sources[1].key)
    assert destination.clean(unfinished=True, later=timedelta(0)) == set()
    assert len(list(read_receipts(destination.area, destination.sources, destination.store))) == 1
    assert destination.clean(unfinished=True) == {("unfinished video", work.removeprefix(f"{destination.out}/"))}
    assert destination.store.list_files(work) == []
    assert destination.store.exists(join(destination.out, "done.mp4"))
    assert destination.store.exists(destination.area.job_record)


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_of_a_job_that_is_given_up_nothing_is_left_until_it_is_run_again(
    where: str, on: Callable[[str], Destination]
) -> None:
    destination = on(where)
    out, store, area = destination.out, destination.store, destination.area

    def told() -> tuple[tuple[str, ...], list[str], int]:
        (folder,) = job_folders(out, store)
        status = job_status(folder, store)
        return status.done, [video.video for video in status.left], status.given_up

    with jobs_held(out, store, before=datetime.now(UTC) - LATER) as held:
        assert held == []
    with jobs_held(out, store, before=datetime.now(UTC) + LATER) as held:
        assert [folder.area for folder in held] == [area]
    assert told() == (("done.mp4",), ["half.mp4"], 0)
    give_up_job(area, store)
    assert told() == (("done.mp4",), [], 1)
    store.remove([area.abandoned])  # as the next run of the job does
    assert told() == (("done.mp4",), ["half.mp4"], 0)


def test_a_job_that_a_run_is_at_is_not_given_up(on: Callable[[str], Destination]) -> None:
    destination = on("disk")
    before = datetime.now(UTC) + LATER
    with run_lock(destination.area) as lock:
        lock.share()
        with jobs_held(destination.out, destination.store, before=before) as held:
            assert held == []


def partial(destination: Destination, name: str, *, days: float = 3) -> Path:
    path = Path(destination.out) / name
    path.write_bytes(b"half")
    os.utime(path, (time.time() - days * 86400,) * 2)
    return path


def test_partial_files_that_no_process_writes_go(on: Callable[[str], Destination]) -> None:
    destination = on("disk")
    left = partial(destination, ".facemill-partial-left")
    young = partial(destination, ".facemill-partial-young", days=0)
    own = partial(destination, "facemill-partial-of-somebody.mp4")
    held = partial(destination, ".facemill-partial-held")
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert destination.clean(later=timedelta(0)) == {("partial file", left.name)}
    assert [path.exists() for path in (left, young, own, held)] == [False, True, True, True]
    assert destination.clean(later=timedelta(0)) == {("partial file", held.name)}


def test_what_was_written_to_see_whether_it_can_be_written_goes(on: Callable[[str], Destination]) -> None:
    destination = on("s3")
    destination.store.commit_bytes(b"facemill", join(destination.out, ".facemill-partial-probe-1"))
    assert destination.clean(later=timedelta(0)) == set()
    assert destination.clean() == {("partial file", ".facemill-partial-probe-1")}


def test_a_file_that_is_being_written_is_no_waste_however_old(on: Callable[[str], Destination]) -> None:
    destination = on("disk")
    with destination.store.staged(join(destination.out, "long.mp4")) as path:
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
        assert destination.clean() == set()
    assert destination.store.exists(join(destination.out, "long.mp4"))


def test_open_uploads_go_when_they_are_facemills_own(on: Callable[[str], Destination]) -> None:
    destination = on("s3")
    inside = f"_facemill/{destination.area.name}/work/{destination.sources[1].key}/a.mp4"
    mine = {inside, "done.mp4", "half.mp4.mkv", "half.compare.mp4"}
    for name in (*mine, "somebody-elses.bin"):
        destination.begin_upload(name)
    assert destination.clean(later=timedelta(0)) == set()
    assert destination.clean() == {("open upload", name) for name in mine}
    assert destination.uploads == {"somebody-elses.bin"}


def test_a_run_cleans_up_after_its_own_finished_videos_whatever_their_age(on: Callable[[str], Destination]) -> None:
    destination = on("disk")
    done, half = destination.sources
    names = [f".facemill-partial-{destination.area.owner(source)}1" for source in (done, half)]
    finished, running = (partial(destination, name, days=0) for name in names)
    others = partial(destination, ".facemill-partial-ffffffffffffffff-1")
    for waste in find_own_waste(
        destination.area, destination.out, [done], destination.store, before=datetime.now(UTC) - LATER
    ):
        remove(waste, destination.store)
    assert [path.exists() for path in (finished, running, others)] == [False, True, True]


def test_a_run_cleans_up_uploads_of_its_own_finished_videos(on: Callable[[str], Destination]) -> None:
    destination = on("s3")
    done, half = (f"_facemill/{destination.area.name}/work/{source.key}/a.mp4" for source in destination.sources)
    for name in (done, half, "done.mp4"):
        destination.begin_upload(name)
    for waste in find_own_waste(
        destination.area, destination.out, destination.sources[:1], destination.store, before=datetime.now(UTC) - LATER
    ):
        remove(waste, destination.store)
    assert destination.uploads == {half, "done.mp4"}


def own_waste(destination: Destination) -> list[str]:
    """Of all sources, as if the job had just finished them."""
    before = datetime.now(UTC) - LATER
    found = find_own_waste(destination.area, destination.out, destination.sources, destination.store, before=before)
    return [waste.place for waste in found]


def test_the_end_of_a_run_leaves_the_partial_file_that_another_process_writes(
    on: Callable[[str], Destination],
) -> None:
    destination = on("disk")
    held = partial(destination, f".facemill-partial-{destination.area.owner(destination.sources[0])}1")
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert own_waste(destination) == []
    assert own_waste(destination) == [str(held)]


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_the_end_of_a_run_leaves_what_another_run_makes_again(where: str, on: Callable[[str], Destination]) -> None:
    destination = on(where)
    area, store, (done, half) = destination.area, destination.store, destination.sources
    mark_again(area, done, store)
    shard = shards_of(Path(done.url), Fraction(2, 5))[0]
    receipt = commit_shard(shard, area, store)
    if where == "s3":
        destination.begin_upload(f"_facemill/{area.name}/work/{done.key}/a.mp4")
    else:
        partial(destination, f".facemill-partial-{area.owner(done)}1")
    assert own_waste(destination) == []
    clear_work(area, store)
    assert list(read_receipts(area, destination.sources, store)) == [receipt]
    assert store.exists(area.segment(shard, "restored", receipt.sha256["restored"]))
    assert store.list_files(area.video(half.key)) == []


def test_an_upload_that_ends_while_waste_is_looked_for_is_none(
    on: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = on("s3")

    def size_of_ended(upload: Upload, store: Store) -> int:
        abort(upload, store)
        return size_of(upload, store)

    monkeypatch.setattr(cleaning, "size_of", size_of_ended)
    work = f"_facemill/{destination.area.name}/work/{destination.sources[0].key}/a.mp4"
    for find in (lambda: own_waste(destination), lambda: list(destination.clean())):
        destination.begin_upload(work)
        assert destination.uploads == {work}
        assert find() == []
        assert destination.uploads == set()


def test_a_partial_file_that_ends_while_waste_is_looked_for_is_none(
    on: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = on("disk")
    left = partial(destination, f".facemill-partial-{destination.area.owner(destination.sources[0])}1")

    def gone_now(path: Path) -> bool:
        path.unlink()
        return True

    monkeypatch.setattr(cleaning, "is_abandoned", gone_now)
    assert own_waste(destination) == []
    assert not left.exists()


def cleaned(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr("sys.argv", ["facemill", "clean", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_what_goes_is_told_and_a_dry_run_removes_nothing(
    on: Callable[[str], Destination], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = on("disk")
    left = partial(destination, ".facemill-partial-left")
    dated = os.stat(destination.out).st_mtime_ns
    told = cleaned(capsys, monkeypatch, destination.out, "--dry-run").splitlines()
    assert told == [
        f"would remove {left} (4 bytes)",
        "would remove 1 partial file (4 bytes); what is younger than 1d stays",
    ]
    assert left.exists()
    assert os.stat(destination.out).st_mtime_ns == dated  # though the disk was asked for the time
    assert cleaned(capsys, monkeypatch, destination.out, "--older-than", "7d").startswith("removed nothing;")
    assert "removed 1 partial file (4 bytes)" in cleaned(capsys, monkeypatch, destination.out)
    assert not left.exists()
    told = cleaned(capsys, monkeypatch, destination.out, "--older-than", "0", "--unfinished")
    assert "removed work of 1 unfinished video (" in told
    assert f"gave up what is left of job {destination.area.name}\n" in told
    assert destination.store.exists(join(destination.out, "done.mp4"))


@pytest.mark.parametrize("text", ["", "soon", "1w", "-1d", "1.5h", "30"])
def test_an_age_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 30m, 12h or 7d"):
        age(text)


@pytest.mark.parametrize(("text", "hours"), [("0", 0), ("90m", 1.5), ("12h", 12), ("2d", 48)])
def test_an_age_has_a_unit(text: str, hours: float) -> None:
    assert age(text) == timedelta(hours=hours)
