"""The whole job, as a person runs it: real faces, real experts, Ray on this machine, good and bad files together."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.routing import RoutingBounds
from flows.demo import before_and_after, make_clip
from flows.driver import Outcome
from flows.restore import _clear_work
from storage.manifest import FACES_SCHEMA, SHARDS_SCHEMA, VIDEOS_SCHEMA
from tests.conftest import S3Server
from tests.flows.test_planning import job
from tests.media import Audio, Clip, make_video
from weights import DEFAULT_FIDELITY, weight_sets

FACE_FRAMES = 12


@dataclass(frozen=True)
class FinishedRun:
    """What one run of the command left."""

    source: Path
    out: Path
    command: tuple[str, ...]
    printed: str
    exit_code: int

    def table(self, name: str) -> pa.Table:
        (path,) = self.out.glob(f"_facemill/*/{name}.parquet")
        return pq.read_table(path)

    def rows(self, name: str) -> list[dict[str, Any]]:
        return list(self.table(name).to_pylist())


def facemill(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A folder with a face clip, a clip without faces, and four that cannot be used, restored by one command."""
    source = tmp_path_factory.mktemp("source")
    out = tmp_path_factory.mktemp("job") / "out"
    make_clip(source / "face.mp4", frames=FACE_FRAMES)
    (source / "deep" / "er").mkdir(parents=True)
    two_tracks = (Audio(codec="aac", language="deu"), Audio(codec="mp2", language="eng"))
    pts = (0, 40, 80, 121, 163, 400, 440, 481, 900, 960)
    vfr = Clip(codec="libx264", b_frames=2, audio=two_tracks, pts=pts, muxer="matroska")
    make_video(source / "deep" / "er" / "no faces %20 ü.mkv", vfr)
    (source / "empty.mp4").write_bytes(b"")
    (source / "noise.avi").write_bytes(np.random.default_rng(1).bytes(4096))
    (source / "notes.txt").write_text("not a video, and not taken for one\n")
    _write_sound_only(source / "sound.mp4")
    command = ("restore", str(source), "--out", str(out), "--baseline", "--compare", "--preset", "ultrafast")
    finished = facemill(*command)
    return FinishedRun(source, out, command, finished.stdout + finished.stderr, finished.returncode)


def _write_sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _planes(path: Path) -> list[list[np.ndarray]]:
    with av.open(str(path)) as container:
        return [[np.asarray(plane) for plane in _yuv(frame)] for frame in container.decode(video=0)]


def _yuv(frame: av.VideoFrame) -> list[np.ndarray]:
    packed = frame.to_ndarray()
    rows = frame.height
    return [packed[:rows], packed[rows:]]


def _packets(path: Path, kind: str) -> dict[int, list[str]]:
    """Hash of every packet of the streams of a kind, by the stream's rank among them."""
    found: dict[int, list[str]] = defaultdict(list)
    with av.open(str(path)) as container:
        ranks = {stream.index: rank for rank, stream in enumerate(getattr(container.streams, kind))}
        for packet in container.demux():
            if packet.size and packet.stream_index in ranks:
                found[ranks[packet.stream_index]].append(hashlib.sha256(bytes(packet)).hexdigest())
    return dict(found)


def _shown(path: Path) -> tuple[list[int], tuple[int, int]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [frame.pts for frame in frames if frame.pts is not None], (frames[0].width, frames[0].height)


RESTORED = ("face.mp4", "deep/er/no faces %20 ü.mkv")


def test_good_files_are_done_and_bad_ones_fail_with_their_reason(run: FinishedRun) -> None:
    assert run.exit_code == 1, run.printed
    status = {row["video"]: (row["status"], row["reason"]) for row in run.rows("videos")}
    assert {video for video, (state, _) in status.items() if state == "done"} == set(RESTORED)
    assert "empty (0 bytes)" in status["empty.mp4"][1]
    assert "cannot be opened as media" in status["noise.avi"][1]
    assert "no video stream (it has audio)" in status["sound.mp4"][1]
    assert set(status) == {*RESTORED, "empty.mp4", "noise.avi", "sound.mp4"}
    for video, (state, reason) in status.items():
        assert (state == "failed") == bool(reason)
        assert run.printed.count(f"failed: {video}: {reason}") == (1 if state == "failed" else 0)


@pytest.mark.parametrize("video", RESTORED)
def test_every_frame_is_there_at_its_own_pts_and_twice_the_size(run: FinishedRun, video: str) -> None:
    pts, (width, height) = _shown(run.source / video)
    assert _shown(run.out / video) == (pts, (2 * width, 2 * height))


@pytest.mark.parametrize("video", RESTORED)
def test_sound_is_copied_packet_by_packet(run: FinishedRun, video: str) -> None:
    source = _packets(run.source / video, "audio")
    assert source
    assert _packets(run.out / video, "audio") == source


@pytest.mark.parametrize("video", RESTORED)
def test_baseline_and_comparison_have_the_same_frames_and_sound(run: FinishedRun, video: str) -> None:
    path = run.out / video
    for variant, wider in (("baseline", 0), ("compare", 1)):
        other = path.with_name(f"{path.stem}.{variant}{path.suffix}")
        pts, (width, height) = _shown(path)
        assert _shown(other) == (pts, (width + wider * (width + 8), height))
        assert _packets(other, "audio") == _packets(path, "audio")


def test_both_experts_restored_the_faces_they_are_for(run: FinishedRun) -> None:
    faces = [row for row in run.rows("faces") if row["video"] == "face.mp4"]
    assert Counter(row["expert"] for row in faces) == {"expert_t": FACE_FRAMES, "expert_f": FACE_FRAMES}
    bounds = RoutingBounds()
    for row in faces:
        assert row["decision"] == row["expert"]
        if row["expert"] == "expert_t":
            assert bounds.w_skip <= row["width"] < bounds.w_medium
        else:
            assert bounds.w_medium <= row["width"] < bounds.w_resize
            assert row["sharpness"] >= bounds.q_low
    assert len({row["track"] for row in faces}) == 2


def test_only_the_recorded_rectangles_were_altered(run: FinishedRun) -> None:
    """Baseline and result are encoded apart, so outside the faces they differ by coding noise, and only by that."""
    inside, outside = [], []
    faces = defaultdict(list)
    for row in run.rows("faces"):
        if row["video"] == "face.mp4":
            faces[row["pts"]].append([row[f"altered_{side}"] for side in ("x0", "y0", "x1", "y1")])
    pts, _ = _shown(run.out / "face.mp4")
    baseline, result = _planes(run.out / "face.baseline.mp4"), _planes(run.out / "face.mp4")
    for at, before, after in zip(pts, baseline, result, strict=True):
        difference = np.abs(before[0].astype(int) - after[0])
        altered = np.zeros(difference.shape, bool)
        for x0, y0, x1, y1 in faces[at]:
            altered[y0:y1, x0:x1] = True
        inside.append(difference[altered].mean())
        outside.append(difference[~altered].mean())
    assert np.mean(inside) > 1.0
    assert np.mean(outside) < 0.5


def test_a_video_without_faces_is_the_baseline_to_the_bit(run: FinishedRun) -> None:
    path = run.out / RESTORED[1]
    for before, after in zip(_planes(path.with_name(f"{path.stem}.baseline.mkv")), _planes(path), strict=True):
        for plane_before, plane_after in zip(before, after, strict=True):
            np.testing.assert_array_equal(plane_before, plane_after)


def test_the_manifest_has_the_documented_columns_and_adds_up(run: FinishedRun) -> None:
    for name, schema in (("videos", VIDEOS_SCHEMA), ("shards", SHARDS_SCHEMA), ("faces", FACES_SCHEMA)):
        assert run.table(name).schema.equals(schema), name
    videos = {row["video"]: row for row in run.rows("videos")}
    shards = run.rows("shards")
    for video in RESTORED:
        pts, _ = _shown(run.source / video)
        assert videos[video]["frames"] == len(pts)
        assert (videos[video]["first_pts"], videos[video]["last_pts"]) == (pts[0], pts[-1])
        assert sum(row["frames"] for row in shards if row["video"] == video) == len(pts)
        assert videos[video]["frames_not_decoded"] == 0
    assert videos["face.mp4"]["faces_restored"] == 2 * FACE_FRAMES
    sets = {name for expert in ("expert_t", "expert_f") for name in weight_sets(expert, DEFAULT_FIDELITY)}
    assert set(dict(videos["face.mp4"]["weights"])) == {*sets, "sface"}
    assert videos["face.mp4"]["fidelity"] == DEFAULT_FIDELITY


def test_progress_is_told_in_lines_when_nobody_watches(run: FinishedRun) -> None:
    assert "\x1b" not in run.printed
    for video in RESTORED:
        assert f"done: {video}" in run.printed
    assert "2 done, 3 failed." in run.printed
    assert "Traceback" not in run.printed
    starting = (
        "starting Ray on this machine",
        "5 of 5 videos to do",
        "probing 5 videos",
        "waiting for the first of ",
    )
    places = [run.printed.index(told) for told in starting]
    assert places == sorted(places)


def test_nothing_is_left_but_results_and_the_record(run: FinishedRun) -> None:
    left = {path.relative_to(run.out).as_posix() for path in run.out.rglob("*") if path.is_file()}
    results = {video for video in left if not video.startswith("_facemill/")}
    assert results == {
        f"{stem}{variant}{suffix}"
        for stem, suffix in (("face", ".mp4"), ("deep/er/no faces %20 ü", ".mkv"))
        for variant in ("", ".baseline", ".compare")
    }
    assert not [path for path in left if "partial" in path]
    assert not list(run.out.glob("_facemill/*/work"))


def test_the_same_command_again_redoes_nothing_that_is_done(run: FinishedRun) -> None:
    before = {video: (run.out / video).stat().st_mtime_ns for video in RESTORED}
    again = facemill(*run.command)
    assert again.returncode == 1
    assert "2 done, 3 failed." in again.stdout
    assert {video: (run.out / video).stat().st_mtime_ns for video in RESTORED} == before
    assert len(run.rows("videos")) == 5


def test_working_objects_are_kept_for_failed_videos_only(tmp_path: Path) -> None:
    """What a killed process left among them goes with the last of them."""
    of = job(tmp_path)
    left = Path(of.area.work, "key", ".facemill-partial-1")
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of a segment")
    _clear_work(of, Outcome(failed={"a.mp4": "its disk was full"}), Console(quiet=True))
    assert left.exists()
    _clear_work(of, Outcome(done=["a.mp4"]), Console(quiet=True))
    assert not Path(of.area.work).exists()
    assert Path(of.area.url).exists()


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keeps the logs of Ray's sessions; its sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_from_a_prefix_to_a_prefix_of_s3(s3: S3Server, tmp_path: Path, ray_folder: Path) -> None:
    bucket = s3.make_bucket()
    local = make_video(tmp_path / "a.mp4", Clip(frames=15, audio=(Audio(),)))
    filesystem = s3.filesystem()
    filesystem.put_file(str(local), f"{bucket}/in/deep/a.mp4")
    filesystem.pipe_file(f"{bucket}/in/broken.mkv", b"no video")
    finished = facemill(
        "restore", f"{bucket}/in", "--out", f"{bucket}/out", "--s3-endpoint", s3.endpoint, "--experts", "none"
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "1 done, 1 failed." in finished.stdout
    assert s3.secret_key not in finished.stdout + finished.stderr
    for name in filesystem.find(f"{bucket}/out"):
        content = filesystem.cat_file(name)
        assert s3.secret_key.encode() not in content, name
        assert s3.access_key.encode() not in content, name
    logs = [path for path in ray_folder.glob("ray/session_*/**/*") if path.is_file() and not path.is_symlink()]
    assert any(path.name.startswith("worker-") for path in logs)
    assert [path for path in logs if s3.secret_key.encode() in path.read_bytes()] == []
    result = tmp_path / "result.mp4"
    filesystem.get_file(f"{bucket}/out/deep/a.mp4", str(result))
    pts, (width, height) = _shown(local)
    assert _shown(result) == (pts, (2 * width, 2 * height))
    assert _packets(result, "audio") == _packets(local, "audio")
    (table,) = filesystem.glob(f"{bucket}/out/_facemill/*/videos.parquet")
    rows = pq.read_table(pa.BufferReader(filesystem.cat_file(table))).to_pylist()
    assert {row["video"]: row["status"] for row in rows} == {"deep/a.mp4": "done", "broken.mkv": "failed"}


def test_before_and_after_shows_both_faces_both_ways(run: FinishedRun, tmp_path: Path) -> None:
    before_and_after(run.out / "face.compare.mp4", 0.2, tmp_path / "picture.png")
    picture = cv2.imread(str(tmp_path / "picture.png"))
    assert picture is not None
    assert picture.shape == (400, 4 * 400, 3)
    for before, after in ((picture[:, :400], picture[:, 400:800]), (picture[:, 800:1200], picture[:, 1200:])):
        assert 0.5 < np.abs(before.astype(int) - after).mean() < 20
