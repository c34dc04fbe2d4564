"""RGB goes into a video's planes and comes back the same, by the matrix and range the video is tagged with."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from actors.colour import frame_to_rgb, matrix_of, plane_views, rgb_to_planes
from storage.encoding import OutputPicture
from tests.storage.test_shards import probe_of

PATCHES = np.array(
    [[[16, 32, 64], [200, 180, 40], [128, 128, 128]], [[240, 10, 20], [30, 220, 60], [20, 40, 230]]], np.uint8
)
IMAGE = np.kron(PATCHES, np.ones((16, 16, 1), np.uint8))  # (32, 48, 3) flat fields


def frame_of_planes(planes: tuple[np.ndarray, ...], pix_fmt: str) -> VideoFrame:
    frame = VideoFrame(IMAGE.shape[1], IMAGE.shape[0], pix_fmt)
    for view, plane in zip(plane_views(frame), planes, strict=True):
        view[:] = plane
    return frame


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p", "yuv422p", "yuv420p10le", "yuv444p10le"])
@pytest.mark.parametrize("color_range", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("colorspace", [6, 1, 9], ids=["BT.601", "BT.709", "BT.2020"])
def test_colours_come_back(colorspace: int, color_range: int, pix_fmt: str) -> None:
    probe = replace(probe_of(), colorspace=colorspace, color_range=color_range, pix_fmt=pix_fmt, width=48, height=32)
    picture = OutputPicture(48, 32, pix_fmt, Fraction(1))
    planes = rgb_to_planes(IMAGE, probe, picture)
    returned = frame_to_rgb(frame_of_planes(planes, pix_fmt), probe).astype(int)
    middle = np.zeros((16, 16, 1), bool)
    middle[5:11, 5:11] = True  # away from the edges that chroma subsampling softens
    inside = np.kron(np.ones((2, 3, 1), bool), middle)[..., 0]
    assert np.abs(returned - IMAGE)[inside].max() <= 2


@pytest.mark.parametrize(("color_range", "expected"), [(1, (16, 235)), (2, (0, 255))])
def test_black_and_white_are_where_the_range_says(color_range: int, expected: tuple[int, int]) -> None:
    probe = replace(probe_of(), color_range=color_range)
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, 16:] = 255
    luma, *chroma = rgb_to_planes(image, probe, OutputPicture(32, 16, "yuv420p", Fraction(1)))
    assert (luma[8, 4], luma[8, 28]) == expected
    assert all(np.abs(plane.astype(int) - 128).max() <= 1 for plane in chroma)


@pytest.mark.parametrize(("colorspace", "weights"), [(6, (0.299, 0.587, 0.114)), (1, (0.2126, 0.7152, 0.0722))])
def test_luma_weighs_the_primaries_as_the_matrix_says(colorspace: int, weights: tuple[float, float, float]) -> None:
    probe = replace(probe_of(), colorspace=colorspace, color_range=2)
    for channel, weight in enumerate(weights):
        image = np.zeros((16, 16, 3), np.uint8)
        image[..., channel] = 200
        luma = rgb_to_planes(image, probe, OutputPicture(16, 16, "yuv444p", Fraction(1)))[0]
        assert abs(float(luma[8, 8]) - 200 * weight) <= 1.5


@pytest.mark.parametrize(("height", "matrix"), [(576, Colorspace.ITU601), (720, Colorspace.ITU709)])
def test_untagged_video_is_taken_as_players_take_it(height: int, matrix: Colorspace) -> None:
    assert matrix_of(replace(probe_of(), height=height)) == matrix


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p10le", "gray"])
def test_planes_are_those_of_the_results_format(pix_fmt: str) -> None:
    planes = rgb_to_planes(IMAGE, replace(probe_of(), pix_fmt=pix_fmt), OutputPicture(48, 32, pix_fmt, Fraction(1)))
    shapes = {
        "yuv420p": [(32, 48), (16, 24), (16, 24)],
        "yuv422p": [(32, 48), (32, 24), (32, 24)],
        "yuv444p10le": [(32, 48)] * 3,
        "gray": [(32, 48)],
    }
    assert [plane.shape for plane in planes] == shapes[pix_fmt]
    assert {plane.dtype for plane in planes} == {np.dtype("<u2" if "10" in pix_fmt else np.uint8)}


def test_views_share_the_frames_memory() -> None:
    frame = VideoFrame(50, 30, "yuv420p")
    for view in plane_views(frame):
        view[:] = 77
    assert all(np.all(view == 77) for view in plane_views(frame))
    assert [view.shape for view in plane_views(frame)] == [(30, 50), (15, 25), (15, 25)]
