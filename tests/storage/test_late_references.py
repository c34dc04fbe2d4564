"""Behind a loss, frames of MPEG-2 stand where they are shown, and do so from wherever reading begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from av.video.frame import PictureType

from storage.late_references import in_order_of_showing
from storage.reader import read_frames
from storage.shards import PtsRange
from storage.store import Store
from tests.media import whole
from tests.zoo import ALL
from tests.zoo.checks import decoded_frames


def _ordered(given: str) -> str:
    """Frames such as `I2 B3`, and `B?` without a stamp, as they come out."""
    frames = []
    for word in given.split():
        frame = av.VideoFrame(16, 16, "gray")
        frame.pict_type, frame.pts = PictureType[word[0]], None if word[1:] == "?" else int(word[1:])
        frames.append(frame)
    shown = in_order_of_showing(frames)
    return " ".join(f"{PictureType(each.pict_type).name}{'?' if each.pts is None else each.pts}" for each in shown)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("B0 B1 I2 B3 B4 P5", "B0 B1 I2 B3 B4 P5"),
        ("B0 B1 B3 B4 I2 P8", "B0 B1 I2 B3 B4 P8"),
        ("B3 B4 B6 B7 I2", "I2 B3 B4 B6 B7"),
        ("P5 B6 B7", "P5 B6 B7"),
        ("B3 B? I2", "I2 B3 B?"),
        ("B3 B4 P?", "B3 B4 P?"),
        ("I2 B33 B34 P35 P5 P8", "I2 B33 B34 P35 P5 P8"),  # the clock steps back: only what was held moves
    ],
)
def test_only_the_frame_that_was_held_moves(given: str, shown: str) -> None:
    assert _ordered(given) == shown


def test_no_more_than_a_few_frames_wait_for_one_that_was_held() -> None:
    asked = 0

    def frames() -> Iterator[av.VideoFrame]:
        nonlocal asked
        for number in range(500):
            asked = number
            frame = av.VideoFrame(16, 16, "gray")
            frame.pict_type, frame.pts = PictureType.B, number
            yield frame

    assert next(in_order_of_showing(frames())).pts == 0
    assert asked < 40


def test_dropouts_of_dvb_show_in_no_shard(tmp_path: Path) -> None:
    specimen = next(each for each in ALL if each.name == "dvb dropouts.ts")
    path = tmp_path / specimen.name
    specimen.make(path)
    shard = whole(path)
    everything = [int(frame.pts or 0) for frame in read_frames(shard, Store())]
    assert everything == sorted(int(frame.pts or 0) for frame in decoded_frames(path))
    for first, start in enumerate(everything):
        found = [frame.pts for frame in read_frames(shard, Store(), wanted=PtsRange(start, None))]
        assert found == everything[first:], start
