"""Two moments of an interlaced frame never mix: not when it is scaled, not in its faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from av.video.frame import VideoFrame

from actors.background import upscale
from actors.colour import plane_views
from actors.fields import fill_from_field, moments_of, weave
from storage.encoding import SizeSettings, output_picture
from storage.picture_tags import FieldOrder, PictureTags
from tests.storage.test_shards import probe_of

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "yuva420p", "nv12", "uyvy422"]


def striped(pix_fmt: str, even: int, odd: int, size: tuple[int, int] = (32, 24)) -> VideoFrame:
    """A frame whose even rows are one grey and whose odd rows are another, in every plane."""
    planar = {"nv12": "yuv420p", "uyvy422": "yuv422p"}.get(pix_fmt, pix_fmt)
    frame = VideoFrame(*size, planar)
    for plane in plane_views(frame):
        plane[0::2], plane[1::2] = even, odd
    return frame.reformat(format=pix_fmt)


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("field_order", "levels"), [("top first", (50, 200)), ("bottom first", (200, 50))])
def test_each_field_is_a_picture_of_its_own_rows(
    field_order: FieldOrder, levels: tuple[int, int], pix_fmt: str
) -> None:
    moments = moments_of(striped(pix_fmt, 50, 200), field_order)
    assert [{int(level) for plane in plane_views(moment) for level in np.unique(plane)} for moment in moments] == [
        {level} for level in levels
    ]


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("field_order", ["top first", "bottom first"])
def test_rows_of_two_moments_stay_apart_at_any_scale(field_order: FieldOrder, pix_fmt: str, scale: int) -> None:
    probe = replace(probe_of(), width=32, height=24, pix_fmt=pix_fmt, tags=PictureTags(field_order=field_order))
    picture = output_picture(probe, SizeSettings.model_validate({"scale": scale}))
    frame = striped(pix_fmt, 50, 200)
    whole = upscale(frame, probe, picture)
    weave(whole, [upscale(each, probe, picture) for each in moments_of(frame, field_order)], field_order)
    for plane in plane_views(whole):
        assert (plane[0::2] == 50).all()
        assert (plane[1::2] == 200).all()


@pytest.mark.parametrize("field_order", ["top first", "bottom first"])
def test_at_its_own_size_a_frame_comes_back_to_the_bit(field_order: FieldOrder) -> None:
    random = np.random.default_rng(3)
    frame = VideoFrame(32, 24, "yuv420p")
    for plane in plane_views(frame):
        plane[:] = random.integers(0, 256, plane.shape)
    before = [plane.copy() for plane in plane_views(frame)]
    woven = VideoFrame(32, 24, "yuv420p")
    weave(woven, moments_of(frame, field_order), field_order)
    for plane, expected in zip(plane_views(woven), before, strict=True):
        np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize("parity", [0, 1])
def test_a_smooth_picture_is_found_from_either_field(parity: int) -> None:
    """A row between two of the field is where it is, not half a line away."""
    rows = np.arange(40)
    smooth = np.rint(128 + 80 * np.sin(rows / 7))[:, None].repeat(8, axis=1).astype(np.uint8)
    found = np.zeros_like(smooth)
    fill_from_field(found, smooth, parity, 8)
    assert np.abs(found.astype(int) - smooth)[3:-3].max() <= 1


def test_a_still_picture_does_not_come_apart_when_it_grows() -> None:
    """Scaled field by field with no regard to where their rows lie, an edge would zigzag by a row."""
    y = np.arange(48)
    ramp = np.clip(4 * (y - 12), 0, 200).astype(np.uint8)[:, None].repeat(64, axis=1)
    frame = VideoFrame(64, 48, "gray")
    plane_views(frame)[0][:] = ramp
    probe = replace(probe_of(), pix_fmt="gray", tags=PictureTags(field_order="top first"))
    picture = output_picture(probe, SizeSettings(scale=2))
    whole = upscale(frame, probe, picture)
    as_one = plane_views(whole)[0].astype(int)
    weave(whole, [upscale(each, probe, picture) for each in moments_of(frame, "top first")], "top first")
    inside = slice(40, 80)
    assert np.abs(plane_views(whole)[0].astype(int) - as_one)[inside].max() <= 1


def test_a_field_does_not_leave_the_range_of_its_samples() -> None:
    source = np.zeros((12, 4), np.uint16)
    source[::4] = 1023
    found = np.empty_like(source)
    fill_from_field(found, source, 0, 10)
    assert found.max() <= 1023


@pytest.mark.parametrize(("parity", "row"), [(0, 7), (1, 0)])
def test_of_a_single_row_the_second_field_has_nothing_to_fill_with(parity: int, row: int) -> None:
    found = np.zeros((1, 4), np.uint8)
    fill_from_field(found, np.full((1, 4), 7, np.uint8), parity, 8)
    assert (found == row).all()


def test_a_deinterlaced_picture_is_progressive() -> None:
    tags = PictureTags(field_order="top first")
    picture = output_picture(replace(probe_of(), tags=tags), SizeSettings(deinterlace=True))
    assert picture.field_order == "progressive"
