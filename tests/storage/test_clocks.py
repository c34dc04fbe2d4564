"""A pts that alone is wrong is not believed, up to the end of a file; one that may be right is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from storage.reader import read_frames
from storage.shards import PtsRange
from storage.store import Store
from tests.media import Clip, make_video, whole


def _with_offsets(path: Path, clip: Clip, offsets: Mapping[int, int]) -> Path:
    """An FLV of which packets, by their number, have these offsets from decoding to showing, in milliseconds."""
    content, at, number = bytearray(make_video(path, clip).read_bytes()), 13, 0
    while at < len(content):
        if content[at] == 9 and content[at + 12] == 1:  # a packet of video, not its headers
            if number in offsets:
                content[at + 13 : at + 16] = offsets[number].to_bytes(3, "big", signed=True)
            number += 1
        at += 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
    path.write_bytes(bytes(content))
    return path


def _read(path: Path) -> list[int]:
    """pts of the frames, which are the same from wherever reading begins."""
    shard = whole(path)
    everything = [int(frame.pts or 0) for frame in read_frames(shard, Store())]
    for first, start in enumerate(everything):
        assert [frame.pts for frame in read_frames(shard, Store(), wanted=PtsRange(start, None))] == everything[first:]
    return everything


@pytest.mark.parametrize("offset", [40_000, -2000], ids=["too late", "too early"])
@pytest.mark.parametrize("number", [20, 24, 27])
def test_a_wrong_pts_near_the_end_is_not_believed(number: int, offset: int, tmp_path: Path) -> None:
    path = _with_offsets(tmp_path / "a.flv", Clip(frames=30, gop=250), {number: offset})
    assert _read(path) == [40 * at for at in range(30)]
    assert any("1 video packet has a wrong timestamp" in line for line in whole(path).probe.timeline.remarks)


@pytest.mark.parametrize("number", [9, 12, 20])
def test_a_wrong_pts_before_a_keyframe_is_not_believed(number: int, tmp_path: Path) -> None:
    """However many frames are shown in another order than they are coded, none waits for a keyframe to pass."""
    good = _read(make_video(tmp_path / "good.flv", Clip(frames=30, b_frames=2, gop=7)))
    path = _with_offsets(tmp_path / "a.flv", Clip(frames=30, b_frames=2, gop=7), {number: 40_000})
    assert whole(path).probe.timeline.has_outliers
    assert len(_read(path)) == len(good)
    assert max(abs(before - after) for before, after in zip(good, _read(path), strict=True)) <= 40


@pytest.mark.parametrize("seconds", [2, 40])
def test_a_last_frame_that_comes_late_is_believed(seconds: int, tmp_path: Path) -> None:
    """It is coded before the frames that lead to it."""
    pts = [*range(28), 27 + 25 * seconds]
    path = make_video(tmp_path / "a.flv", Clip(pts=pts, b_frames=3, gop=250))
    shown = _read(path)
    assert [at - shown[0] for at in shown] == [40 * at for at in pts]
    assert not whole(path).probe.timeline.has_outliers
