"""The result's picture: the source's depth and subsampling, the size that was asked for, the shape kept."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.encoding import (
    MAX_FRAME_SIDE,
    MOST_STRETCHED,
    EncodeSettings,
    SizeSettings,
    chroma_subsampling,
    output_picture,
)
from storage.errors import SourceError
from tests.storage.test_shards import probe_of


@pytest.mark.parametrize(
    ("source", "size", "scale", "result"),
    [
        ("yuv420p", (64, 48), 2, "yuv420p"),
        ("yuv420p", (65, 49), 1, "yuv444p"),
        ("yuv420p", (65, 49), 2, "yuv420p"),
        ("yuv420p", (64, 49), 1, "yuv444p"),
        ("yuv422p", (64, 49), 1, "yuv422p"),
        ("yuv422p", (65, 48), 1, "yuv444p"),
        ("yuv444p", (65, 49), 1, "yuv444p"),
        ("yuvj420p", (64, 48), 1, "yuvj420p"),
        ("yuvj422p", (64, 48), 1, "yuvj422p"),
        ("yuv420p10le", (64, 48), 1, "yuv420p10le"),
        ("yuv422p10le", (64, 48), 1, "yuv422p10le"),
        ("yuv444p12le", (64, 48), 1, "yuv444p10le"),
        ("yuv411p", (64, 48), 1, "yuv444p"),
        ("yuva420p", (64, 48), 1, "yuv420p"),
        ("nv12", (64, 48), 1, "yuv420p"),
        ("gray", (65, 49), 1, "gray"),
        ("gray10le", (64, 48), 1, "gray10le"),
        ("rgb24", (64, 48), 1, "yuv420p"),
        ("bgra", (64, 48), 1, "yuv420p"),
        ("rgb24", (65, 49), 1, "yuv444p"),
        ("pal8", (64, 48), 1, "yuv420p"),
    ],
)
def test_the_pixel_format_is_the_nearest_that_encodes(
    source: str, size: tuple[int, int], scale: int, result: str
) -> None:
    probe = replace(probe_of(), pix_fmt=source, width=size[0], height=size[1])
    assert output_picture(probe, SizeSettings.model_validate({"scale": scale})).pix_fmt == result


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(16, 4000), st.integers(16, 4000), st.sampled_from([1, 2, 4]))
def test_a_scale_multiplies_both_sides(width: int, height: int, scale: int) -> None:
    probe = replace(probe_of(), width=width, height=height, sample_aspect_ratio=Fraction(12, 11))
    made = output_picture(probe, SizeSettings.model_validate({"scale": scale}))
    assert (made.width, made.height) == (width * scale, height * scale)
    assert made.sample_aspect_ratio == Fraction(12, 11)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(16, 4000), st.integers(16, 4000), st.integers(16, 9999), st.integers(16, 9999))
def test_the_picture_keeps_its_shape_at_any_size(width: int, height: int, wide: int, high: int) -> None:
    stretched = Fraction(8 * width * high, 9 * height * wide)
    assume(1 / MOST_STRETCHED <= stretched <= MOST_STRETCHED)
    probe = replace(probe_of(), width=width, height=height, sample_aspect_ratio=Fraction(8, 9))
    made = output_picture(probe, SizeSettings(size=f"{wide}x{high}"))
    assert (made.width, made.height) == (wide, high)
    assert made.sample_aspect_ratio * made.width / made.height == Fraction(8, 9) * width / height


def test_a_result_larger_than_the_codec_takes_is_refused() -> None:
    probe = replace(probe_of(), width=MAX_FRAME_SIDE // 2 + 2, height=100)
    assert output_picture(probe, SizeSettings(scale=1)).height == 100
    with pytest.raises(SourceError, match="smaller --scale"):
        output_picture(probe, SizeSettings(scale=2))


def test_hevc_of_a_few_pixels_is_refused_before_any_work() -> None:
    probe = replace(probe_of(), width=12, height=48)
    assert output_picture(probe, SizeSettings(scale=2), "hevc").width == 24
    assert output_picture(probe, SizeSettings(scale=1), "h264").width == 12
    with pytest.raises(SourceError, match=r"smaller than the 16 pixels a side .* larger --scale, or --codec h264"):
        output_picture(probe, SizeSettings(scale=1), "hevc")


def test_a_size_of_absurdly_stretched_pixels_is_refused_by_name() -> None:
    probe = replace(probe_of(), width=640, height=360)
    assert output_picture(probe, SizeSettings(size="640x16")).height == 16
    with pytest.raises(SourceError, match=r"^--size 16x16384 is too far from the shape of this source, 640x360: "):
        output_picture(probe, SizeSettings(size="16x16384"))


@pytest.mark.parametrize("scale", [0, 3, 8, "x"])
def test_another_scale_is_refused(scale: object) -> None:
    with pytest.raises(ValidationError):
        SizeSettings.model_validate({"scale": scale})


@pytest.mark.parametrize(
    "size", ["640", "640x", "0x480", "640X480", "640x480x3", "-1x5", "123456x1", "1x1", "15x480", "640x16386"]
)
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ValidationError):
        SizeSettings(size=size)


@pytest.mark.parametrize("wrong", [{"crf": 52}, {"crf": -1}, {"preset": "fastest"}, {"codec": "av1"}, {"cfr": 18}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EncodeSettings.model_validate(wrong)


def test_subsampling_is_read_from_the_format() -> None:
    assert chroma_subsampling("yuv420p") == (1, 1)
    assert chroma_subsampling("yuv422p10le") == (1, 0)
    assert chroma_subsampling("yuv444p") == (0, 0)
    assert chroma_subsampling("gray") == (0, 0)
