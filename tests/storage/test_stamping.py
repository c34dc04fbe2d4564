"""Stamps that only number the packets are told from times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import pytest

from storage.probe import VideoProbe, probe_video
from storage.reader import read_frames
from storage.store import Store
from tests.media import shards_of
from tests.storage.test_assembly import join_again
from tests.zoo.specimen import from_pattern, write

CLOSED_GOPS = {"flags": "+cgop", "sc_threshold": 1_000_000_000}
FRAME = 512
"""Ticks, at FFmpeg's time base for MP4 of 25 frames a second."""


def asp(path: Path, **options: Any) -> Path:
    write(path, from_pattern(2), **{"c:v": "mpeg4", "g": 12, "bf": 2, **options})
    return path


def rewrapped(path: Path, **options: Any) -> Path:
    """Copied from an AVI, which has no times of showing: each packet gets that of its place in coding order."""
    write(path, [ffmpeg.input(str(asp(path.with_suffix(".avi"), **options)))], c="copy")
    return path


def probed(path: Path) -> VideoProbe:
    return probe_video(str(path), Store())


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_stamps_in_coding_order_number_the_frames(suffix: str, tmp_path: Path) -> None:
    path = rewrapped(tmp_path / f"a{suffix}")
    assert probed(path).timeline.counted
    joined = join_again(path, Fraction(1, 2))
    assert [at * 25 for at in sorted(joined.result.video.times)] == list(range(50))
    assert joined.report.frames_not_decoded == 0


@pytest.mark.parametrize("options", [{}, {"bf": 0}], ids=["with B-frames", "without"])
def test_times_in_mp4_are_believed(options: dict[str, int], tmp_path: Path) -> None:
    assert not probed(asp(tmp_path / "a.mp4", **options)).timeline.counted


def test_without_b_frames_coding_order_is_that_of_showing(tmp_path: Path) -> None:
    assert not probed(rewrapped(tmp_path / "a.mp4", bf=0)).timeline.counted


@pytest.mark.parametrize("options", [{}, CLOSED_GOPS], ids=["open GOPs", "closed GOPs"])
def test_numbered_frames_do_not_depend_on_where_reading_begins(options: dict[str, Any], tmp_path: Path) -> None:
    path = rewrapped(tmp_path / "a.mp4", **options)

    def frames(seconds: Fraction) -> list[tuple[int | None, bytes]]:
        shards = shards_of(path, seconds)
        return [(frame.pts, bytes(frame.planes[0])) for shard in shards for frame in read_frames(shard, Store())]

    whole = frames(Fraction(9))
    assert [pts for pts, _ in whole] == [number * FRAME for number in range(50)]
    assert frames(Fraction(3, 10)) == whole


def test_reading_begins_at_keyframes_that_no_b_frame_follows(tmp_path: Path) -> None:
    open_gops, closed = (probed(rewrapped(tmp_path / name, **o)) for name, o in (("a.mp4", {}), ("b.mp4", CLOSED_GOPS)))
    assert [anchor.packet for anchor in open_gops.timeline.anchors or ()] == [0]
    assert len(closed.timeline.anchors or ()) > 1
