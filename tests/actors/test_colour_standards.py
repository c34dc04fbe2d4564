"""Known colours through the matrices of the standards, computed here from their published weights, not by facemill."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame

from actors.background import upscale
from actors.colour import frame_to_rgb, plane_views, rgb_to_planes
from storage.encoding import OutputPicture, SizeSettings, output_picture
from storage.probe import VideoProbe
from tests.storage.test_shards import probe_of

WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""(KR, KB) by H.273 MatrixCoefficients: BT.709, FCC, BT.601, SMPTE 240M, BT.2020."""

COLOURS = ((191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191))
"""75 % colour bars, in 8-bit RGB."""
SKIN = ((224, 172, 140), (141, 85, 54), (60, 40, 32))
BAR = 16


def ycbcr(rgb: tuple[int, int, int], matrix: int, *, full: bool, bits: int) -> tuple[float, float, float]:
    """Y, Cb and Cr of a colour as ITU-T H.273, section 8.3, defines them."""
    red, green, blue = (value / 255 for value in rgb)
    kr, kb = WEIGHTS[matrix]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    if full:
        top, half = 2**bits - 1, 2 ** (bits - 1)
        return luma * top, cb * top + half, cr * top + half
    step = 2 ** (bits - 8)
    return step * (16 + 219 * luma), step * (128 + 224 * cb), step * (128 + 224 * cr)


def bars(pix_fmt: str, matrix: int, *, full: bool) -> VideoFrame:
    """Flat fields of the colours, side by side, in the planes of a video."""
    colours = COLOURS + SKIN
    frame = VideoFrame(BAR * len(colours), 32, pix_fmt)
    bits = frame.format.components[0].bits
    for number, plane in enumerate(plane_views(frame)):
        wide = plane.shape[1] // len(colours)
        for at, rgb in enumerate(colours):
            level = ycbcr(rgb, matrix, full=full, bits=bits)[number]
            plane[:, at * wide : (at + 1) * wide] = round(level)
    return frame


def probe_for(frame: VideoFrame, matrix: int, *, full: bool) -> VideoProbe:
    return replace(
        probe_of(),
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        colorspace=matrix,
        color_range=2 if full else 1,
    )


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_a_face_crop_has_the_colour_that_was_filmed(matrix: int, full: bool, pix_fmt: str) -> None:
    frame = bars(pix_fmt, matrix, full=full)
    rgb = frame_to_rgb(frame, probe_for(frame, matrix, full=full)).astype(int)
    for at, colour in enumerate(COLOURS + SKIN):
        middle = rgb[8:24, at * BAR + 6 : at * BAR + 10]
        assert np.abs(middle - colour).max() <= 2, colour


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv420p12le"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_a_patch_goes_back_by_the_same_matrix(matrix: int, full: bool, pix_fmt: str) -> None:
    for colour in COLOURS + SKIN:
        patch = np.full((32, 32, 3), colour, np.uint8)
        frame = VideoFrame(32, 32, pix_fmt)
        bits = frame.format.components[0].bits
        planes = rgb_to_planes(patch, probe_for(frame, matrix, full=full), OutputPicture(32, 32, pix_fmt, Fraction(1)))
        for plane, level in zip(planes, ycbcr(colour, matrix, full=full, bits=bits), strict=True):
            assert np.abs(plane[4:-4, 4:-4].astype(float) - level).max() <= 1.5 * 2 ** (bits - 8), colour


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_at_scale_one_the_planes_are_the_sources(matrix: int, full: bool, pix_fmt: str) -> None:
    frame = bars(pix_fmt, matrix, full=full)
    probe = probe_for(frame, matrix, full=full)
    result = upscale(frame, probe, output_picture(probe, SizeSettings(scale=1)))
    for before, after in zip(plane_views(frame), plane_views(result), strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_flat_colours_do_not_move_when_they_grow(matrix: int, full: bool, scale: int) -> None:
    frame = bars("yuv420p", matrix, full=full)
    probe = probe_for(frame, matrix, full=full)
    result = upscale(frame, probe, output_picture(probe, SizeSettings.model_validate({"scale": scale})))
    for before, after in zip(plane_views(frame), plane_views(result), strict=True):
        step = after.shape[1] // len(COLOURS + SKIN)
        middles = after[8:-8, step // 2 :: step]
        expected = before[0, before.shape[1] // len(COLOURS + SKIN) // 2 :: before.shape[1] // len(COLOURS + SKIN)]
        np.testing.assert_array_equal(middles, np.broadcast_to(expected, middles.shape))


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(("pix_fmt", "bits"), [("gray", 8), ("gray10le", 10)])
def test_grey_is_as_bright_as_it_was(pix_fmt: str, bits: int, full: bool) -> None:
    for value in (0, 64, 128, 191, 255):
        level = ycbcr((value,) * 3, 6, full=full, bits=bits)[0]
        frame = VideoFrame(32, 32, pix_fmt)
        plane_views(frame)[0][:] = round(level)
        probe = probe_for(frame, 2, full=full)
        assert np.abs(frame_to_rgb(frame, probe).astype(int) - value).max() <= 2
        patch = np.full((32, 32, 3), value, np.uint8)
        (luma,) = rgb_to_planes(patch, probe, OutputPicture(32, 32, pix_fmt, Fraction(1)))
        assert np.abs(luma.astype(float) - level).max() <= 1.5 * 2 ** (bits - 8)


@pytest.mark.parametrize("source", ["rgb24", "bgra", "gbrp", "gbrp10le", "rgb48le"])
def test_rgb_video_keeps_its_colours(source: str) -> None:
    """By the matrix that the result is tagged with."""
    for colour in COLOURS + SKIN:
        rgb = VideoFrame.from_ndarray(np.full((32, 32, 3), colour, np.uint8), "rgb24")
        frame = rgb.reformat(format=source)
        probe = replace(probe_for(frame, 0, full=False), pix_fmt=source)
        picture = output_picture(probe, SizeSettings(scale=1))
        result = upscale(frame, probe, picture)
        for plane, level in zip(plane_views(result), ycbcr(colour, 6, full=False, bits=picture.bits), strict=True):
            assert np.abs(plane[4:-4, 4:-4].astype(float) - level).max() <= 1.5 * 2 ** (picture.bits - 8), colour
        assert np.abs(frame_to_rgb(frame, probe).astype(int) - colour).max() <= 2


def test_transparency_is_left_out_and_the_colours_stay() -> None:
    frame = bars("yuv420p", 1, full=False)
    seen = VideoFrame(frame.width, frame.height, "yuva420p")
    for target, plane in zip(
        plane_views(seen), (*plane_views(frame), np.zeros((32, frame.width), np.uint8)), strict=True
    ):
        target[:] = plane
    probe = probe_for(seen, 1, full=False)
    result = upscale(seen, probe, output_picture(probe, SizeSettings(scale=1)))
    for before, after in zip(plane_views(frame), plane_views(result), strict=True):
        np.testing.assert_array_equal(after, before)
