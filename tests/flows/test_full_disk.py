"""A full disk is told by name, leaves nothing half made, and is no fault of any video."""

from __future__ import annotations

import posixpath
import resource
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from actors.frame_compositor import FrameCompositor
from actors.work import ShardWork
from flows import room
from flows.cluster import ray_session
from flows.finishing import finish_remotely
from storage.encoding import EncodeSettings, SizeSettings
from storage.errors import DestinationError, FacemillError, NoRoomError
from storage.failures import Failure
from storage.kept_probes import kept_probe
from storage.receipts import WorkArea
from storage.segments import pts_digest
from storage.store import Store
from tests.flows.test_durable import ended, facemill, restoring, started
from tests.media import Audio, Clip, decoded_by_pyav, make_video, shards_of, source_of, whole
from tests.small_disk import SmallDisk, small_disk
from tests.storage.shard_work import commit_shard, finishing_order

STORE = Store()
FULL = "no space is left on the disk. Make room there and run the same command again"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 512) as mounted:
        yield mounted


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"others"}


@pytest.mark.parametrize("keep", [False, True])
def test_what_stands_stays_and_nothing_else_appears(keep: bool, disk: SmallDisk) -> None:
    url = str(disk.path / "out" / "a.bin")
    STORE.commit_bytes(b"what was there", url)
    with pytest.raises(NoRoomError, match=f"{disk.path}/out: {FULL}"):
        STORE.commit_bytes(bytes(1 << 20), url, keep=keep)
    assert STORE.read_bytes(url) == b"what was there"
    assert names(disk.path) == {"a.bin"}


def test_a_destination_without_room_is_refused_and_left_as_it_was(disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(NoRoomError, match=f"{disk.path}: {FULL}"):
        STORE.check_writable(str(disk.path))
    assert names(disk.path) == set()


def test_a_shard_says_that_it_was_for_the_disk(disk: SmallDisk, tmp_path: Path) -> None:
    """The encoder writes through FFmpeg: what the disk answers arrives from there, too."""
    shard = whole(make_video(tmp_path / "a.mp4", Clip(frames=20, size=(160, 120))))
    pts = [at for at, _ in decoded_by_pyav(tmp_path / "a.mp4")]
    area, lossless = WorkArea(str(disk.path / "job")), EncodeSettings(crf=0, preset="ultrafast")
    compositor = FrameCompositor(STORE, area, SizeSettings(scale=4), lossless, ("restored",))
    work = ShardWork(shard, frames=len(pts), digest=pts_digest(pts))
    receipt = compositor._receipt(work)
    assert receipt.no_room
    assert FULL in receipt.error
    assert names(disk.path) == set()
    disk.resize(20_000)
    assert compositor._receipt(work).frames == 20


@pytest.mark.parametrize("room", [0, 12])
def test_a_video_that_is_joined_on_a_full_disk_appears_when_there_is_room(
    room: int, disk: SmallDisk, tmp_path: Path
) -> None:
    """With a little room it is the join that finds none, which writes to the temporary folder as well."""
    shards = shards_of(make_video(tmp_path / "a.mp4", Clip(frames=30, audio=(Audio(seconds=1.2),))), Fraction(1, 2))
    area = WorkArea(str(disk.path / "_facemill" / "job"))
    receipts = [commit_shard(shard, area, STORE) for shard in shards]
    order, before = finishing_order(shards, receipts, area, str(disk.path)), names(disk.path)
    disk.fill()
    disk.resize(shutil.disk_usage(disk.path).total // 1024 + room)
    failure, _ = finish_remotely._function(order, STORE)
    assert isinstance(failure, Failure)
    assert failure.no_room
    assert failure.reason.startswith(str(disk.path))
    assert FULL in failure.reason
    assert ("/work/" in failure.reason) == (room == 0)
    assert names(disk.path) - before <= {"joining.json", posixpath.basename(area.announced(shards[0].source))}
    disk.resize(2000)
    assert finish_remotely._function(order, STORE) == (None, [])
    assert (disk.path / "a.mp4").exists()


def test_a_probe_that_cannot_be_kept_does_not_count_against_its_source(disk: SmallDisk, tmp_path: Path) -> None:
    source = source_of(make_video(tmp_path / "a.mp4", Clip(frames=5)))
    disk.fill()
    with pytest.raises(NoRoomError) as told:
        kept_probe(source, WorkArea(str(disk.path / "job")), STORE)
    assert Failure.of(told.value).no_room
    assert not Failure.of(told.value).of_source


def test_the_temporary_folder_is_named_when_it_is_that(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to S3 is written there first."""
    monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
    with pytest.raises(NoRoomError, match=f"{disk.path}: {FULL}"), STORE.staged("s3://bucket/a.bin") as path:
        path.write_bytes(bytes(1 << 20))
    assert names(disk.path) == set()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_same_command_finishes_the_job_once_there_is_room(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(3):
        make_video(source / f"{number}.mp4", Clip(frames=20, size=(160, 120), seed=number))
    with small_disk(tmp_path / "disk", 800) as disk:
        command = restoring(source, disk.path / "out", "--crf", 0, "--scale", 4)
        printed = ended(started(*command), 2)
        assert printed.splitlines()[-1].startswith(f"facemill: {disk.path}/out/")
        assert FULL in printed.splitlines()[-1]
        assert "Traceback" not in printed
        assert not [name for name in names(disk.path) if name.endswith(".mp4") and "restored" not in name]
        disk.resize(100_000)
        assert "3 done, 0 failed." in ended(started(*command))
        assert "3 of 3 results hold everything of their sources" in facemill("verify", source, disk.path / "out")
        assert not list(disk.path.rglob(".facemill-partial-*"))
        assert not list(disk.path.glob("out/_facemill/*/work"))


def test_a_file_larger_than_the_disk_takes_is_told(tmp_path: Path) -> None:
    """As FAT has it; needs no right to mount."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    url = str(tmp_path / "a.bin")
    STORE.commit_bytes(b"what was there", url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(DestinationError, match="takes no file that large") as told:
            STORE.commit_bytes(bytes(2 << 20), url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not isinstance(told.value, NoRoomError)
    assert STORE.read_bytes(url) == b"what was there"
    assert names(tmp_path) == {"a.bin"}


def test_ray_is_not_started_where_it_has_no_room(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(disk.path))
    told = pytest.raises(NoRoomError, match=f"^{disk.path}: 1 MB are left on the disk with Ray's temporary files")
    with told, ray_session(None):
        pass
    assert names(disk.path) == set()


@pytest.mark.long
def test_a_job_ends_when_ray_has_no_room_any_more(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would start worker after worker, each of which ends at once."""
    monkeypatch.setenv("RAY_TMPDIR", str(disk.path))
    monkeypatch.setattr(room, "_LOOKED_AT_EVERY_SECONDS", 0.1)
    disk.resize(4000)
    before = signal.getsignal(signal.SIGUSR1)
    threading.Timer(0.3, disk.fill).start()
    with pytest.raises(FacemillError, match=rf"^{disk.path}: \d+ MB are left"), room.room_watched():
        time.sleep(30)
    assert signal.getsignal(signal.SIGUSR1) is before
