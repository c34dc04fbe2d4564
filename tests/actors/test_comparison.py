"""Side by side as a viewer sees it: the baseline on the left, the result on the right, whichever way the video lies."""

from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame

from actors.colour import plane_views
from actors.comparison import compared_picture, side_by_side
from storage.encoding import OutputPicture


def flat(picture: OutputPicture, level: int) -> VideoFrame:
    frame = VideoFrame(picture.width, picture.height, picture.pix_fmt)
    for plane in plane_views(frame):
        plane[:] = level
    frame.pts, frame.time_base, frame.duration = 7, Fraction(1, 25), 1
    return frame


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
@pytest.mark.parametrize(
    ("pix_fmt", "low", "high"),
    [("yuv420p", 60, 180), ("yuv420p10le", 240, 720), ("yuv444p", 60, 180), ("gray", 60, 180)],
)
def test_baseline_left_result_right(rotation: int, pix_fmt: str, low: int, high: int) -> None:
    picture = OutputPicture(320, 192, pix_fmt, Fraction(1))
    joined = compared_picture(picture, rotation)
    frame = side_by_side(flat(picture, low), flat(picture, high), picture, rotation)
    assert (frame.width, frame.height, frame.pts) == (joined.width, joined.height, 7)
    for number, plane in enumerate(plane_views(frame)):
        shown = np.rot90(plane, rotation // 90)
        below_labels = shown[shown.shape[0] // 2 :]
        half = below_labels.shape[1] // 2
        margin = 8 if number == 0 else 4
        assert (below_labels[:, : half - margin] == low).all()
        assert (below_labels[:, half + margin :] == high).all()
    luma = np.rot90(plane_views(frame)[0], rotation // 90)
    for corner, level in ((luma[:40, :100], low), (luma[:40, -300:-200], high)):
        assert (corner != level).any()
