"""A job may be run again, twice at a time, and with other wishes: what is done is never lost and never doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.media import Audio, Clip, make_video

VIDEOS = ("a.mp4", "deep/b.mkv")


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(run: subprocess.Popen[str], code: int = 0) -> str:
    """What a run printed, once it has ended with this code."""
    printed, _ = run.communicate(timeout=600)
    assert run.returncode == code, printed
    return printed


def facemill(*arguments: object, code: int = 0) -> str:
    return ended(started(*arguments), code)


def make_sources(folder: Path) -> None:
    (folder / "deep").mkdir(parents=True)
    make_video(folder / VIDEOS[0], Clip(frames=30, audio=(Audio(),)))
    make_video(folder / VIDEOS[1], Clip(frames=20, b_frames=2, muxer="matroska", seed=1))


def restoring(source: object, out: object, *more: object) -> tuple[object, ...]:
    options = ("--experts", "none", "--preset", "ultrafast", "--shard-seconds", "0.4")
    return ("restore", source, "--out", out, *options, *more)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_runs_of_one_job_at_the_same_time_make_one_archive(tmp_path: Path) -> None:
    """On disks; what S3 does differently, `tests/storage/test_commit_protocol.py` holds against a server."""
    source, out = tmp_path / "in", tmp_path / "out"
    make_sources(source)
    runs = [started(*restoring(source, out)) for _ in range(2)]
    for run in runs:
        assert "2 done, 0 failed." in ended(run)
    assert "2 of 2 results hold everything of their sources" in facemill("verify", source, out)
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    (job,) = {name.split("/")[1] for name in left if name.startswith("_facemill/")}
    assert {name for name in left if not name.startswith("_facemill/")} == set(VIDEOS)
    assert not [name for name in left if "/work/" in name or "partial" in name]
    assert f"_facemill/{job}/job.json" in left


@pytest.mark.timeout(900)
def test_what_is_done_failed_or_wished_for_decides_what_a_run_does(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    make_sources(source)
    (source / "bad.mp4").write_bytes(b"no video")

    printed = facemill(*restoring(source, out, "--fail-fast"), code=1)
    assert "0 done, 1 failed, 2 left." in printed
    assert "stopped at the first failure" in printed
    assert status(out) == {"done": [], "failed": ["bad.mp4"], "left": list(VIDEOS)}

    printed = facemill(*restoring(source, out), code=1)
    assert "2 done, 1 failed." in printed
    assert "1 video that failed before was left alone" in printed
    (told,) = [line for line in printed.splitlines() if "bad.mp4" in line]
    assert told.startswith("failed before: bad.mp4: ")
    assert status(out) == {"done": list(VIDEOS), "failed": ["bad.mp4"], "left": []}
    (table,) = out.glob("_facemill/*/videos.parquet")
    assert [row["status"] for row in pq.read_table(table).to_pylist()] == ["done", "failed", "done"]

    before = {name: (out / name).stat() for name in VIDEOS}
    printed = facemill(*restoring(source, out, "--retry-failed"), code=1)
    assert "2 done, 1 failed." in printed
    assert "left alone" not in printed
    assert {name: (out / name).stat() for name in VIDEOS} == before

    facemill(*restoring(source, out, "--force"), code=1)
    assert status(out) == {"done": list(VIDEOS), "failed": ["bad.mp4"], "left": []}
    for name in VIDEOS:
        after = (out / name).stat()
        assert after.st_size == before[name].st_size
        assert after.st_ino != before[name].st_ino
    assert not list(out.rglob(".facemill-partial-*"))
    assert not list(out.glob("_facemill/*/work/*"))


def status(out: Path) -> dict[str, list[str]]:
    """Videos by their state, of the one job of a destination."""
    (job,) = json.loads(facemill("status", out, "--json"))["jobs"]
    return {
        "done": job["done"],
        "failed": [video["video"] for video in job["failed"]],
        "left": [video["video"] for video in job["left"]],
    }
