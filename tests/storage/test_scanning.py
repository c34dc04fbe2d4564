"""What the packets tell: reading begins only where no frame before can be placed at or after the one it begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from storage.reader import read_frames
from storage.shards import PtsRange
from storage.store import Store
from tests.media import Clip, make_video, whole

FRAME = 3600
"""Ticks of MPEG-TS, at 25 frames a second."""


def _with_stamps(path: Path, stamps: Mapping[int, int | None]) -> Path:
    """Write other stamps into a transport stream of H.264 without B-frames: by the frame's number, None for none."""
    content = bytearray(path.read_bytes())
    number, at = 0, content.find(b"\0\0\1\xe0")
    while at >= 0:
        stamp = stamps.get(number, 0)
        if stamp is None:
            content[at + 7] &= 0x3F
            content[at + 9 : at + 14] = b"\xff" * 5
        elif number in stamps:
            parts = (0x21 | stamp >> 29 & 0xE, stamp >> 22 & 0xFF, stamp >> 14 & 0xFE | 1, stamp >> 7 & 0xFF)
            content[at + 9 : at + 14] = bytes((*parts, stamp << 1 & 0xFE | 1))
        number, at = number + 1, content.find(b"\0\0\1\xe0", at + 1)
    path.write_bytes(content)
    return path


def _quick_stretch(path: Path) -> Path:
    """At twice the rate, 64 frames without a stamp: placed by the nominal rate, they reach beyond those that follow."""
    pts = [*(2 * at for at in range(60)), *range(119, 189), *range(189, 309, 2)]
    make_video(path, Clip(pts=pts, time_base=Fraction(1, 50)))
    return _with_stamps(path, dict.fromkeys(range(61, 125)))


def _clock_that_stands_still(path: Path) -> Path:
    """Nine frames without a stamp have a place of three ticks: each needs one."""
    make_video(path, Clip(frames=100, gop=35))
    still = 60 * FRAME
    late = {number: still + 3 + (number - 70) * FRAME for number in range(70, 100)}
    early = {number: number * FRAME for number in range(61)}
    return _with_stamps(path, {**early, **dict.fromkeys(range(61, 70)), **late})


@pytest.mark.parametrize("make", [_quick_stretch, _clock_that_stands_still])
def test_frames_that_lack_stamps_push_others_the_same_from_wherever_reading_begins(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    shard = whole(make(tmp_path / "a.ts"))
    everything = [int(frame.pts or 0) for frame in read_frames(shard, Store())]
    assert any(after - before == 1 for before, after in pairwise(everything))
    for first, start in enumerate(everything):
        found = [frame.pts for frame in read_frames(shard, Store(), wanted=PtsRange(start, None))]
        assert found == everything[first:], start


def test_where_every_frame_is_a_keyframe_little_is_read_before_what_is_wanted(tmp_path: Path) -> None:
    clip = Clip(frames=100, codec="mjpeg", pix_fmt="yuvj420p", rate=Fraction(25, 2))
    anchors = whole(make_video(tmp_path / "a.avi", clip)).probe.timeline.anchors
    assert anchors is not None
    assert [anchor.pts for anchor in anchors] == list(range(0, 100, 4))  # a tick is a frame


def test_of_a_video_with_gops_an_anchor_a_second_is_enough(tmp_path: Path) -> None:
    clip = Clip(frames=100, codec="mpeg4", gop=5)
    anchors = whole(make_video(tmp_path / "a.avi", clip)).probe.timeline.anchors
    assert anchors is not None
    assert [anchor.pts for anchor in anchors] == [0, 25, 50, 75]
