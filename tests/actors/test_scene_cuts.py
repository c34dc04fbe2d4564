"""Cuts are found at their very frame, where a face is; light, motion and what changes elsewhere are none."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from actors.geometry import Box
from actors.scene_cuts import LONG_SIDE, NEIGHBOURS, SceneCuts, luma_thumbnail

SIZE = (128, 72)
FACE = Box(20, 16, 44, 48)
ELSEWHERE = Box(90, 16, 114, 48)
LENGTH = 24


def scenes(count: int, seed: int = 1) -> np.ndarray:
    """(count, 72, 128) float32: pictures of soft shapes that have nothing in common."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 235, (count, 9, 16)).astype(np.float32)
    return np.array([cv2.resize(each, SIZE, interpolation=cv2.INTER_CUBIC) for each in coarse])


def found(pictures: list[np.ndarray], box: Box = FACE) -> list[int]:
    """Frames that begin a scene at a face, under noise of their own."""
    cuts = SceneCuts(SIZE, Fraction(5))
    rng = np.random.default_rng(2)
    for pts, picture in enumerate(pictures):
        cuts.add_luma(pts, np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8))
    return list(cuts.within(box, box, 0, len(pictures) - 1))


@pytest.mark.parametrize("begin", [(12,), (1,), (8, 11), (5, 10, 15, 20)])
def test_a_cut_is_found_at_its_frame(begin: tuple[int, ...]) -> None:
    parts = scenes(len(begin) + 1)
    assert found([parts[bisect_right(begin, n)] for n in range(LENGTH)]) == list(begin)


def test_most_of_many_cuts_between_moving_pictures_are_found_and_nothing_else() -> None:
    begin = range(6, 240, 6)
    parts = scenes(len(begin) + 1, seed=9)
    pictures = [np.roll(parts[n // 6], 2 * n, axis=1) for n in range(240)]
    told = found(pictures)
    assert set(told) <= set(begin)
    assert len(told) >= 0.9 * len(begin)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_flash_is_no_cut(frames: int) -> None:
    (scene,) = scenes(1)
    bright = [scene + 140 * (10 <= n < 10 + frames) for n in range(LENGTH)]
    drowned = [np.full_like(scene, 250) if 10 <= n < 10 + frames else scene for n in range(LENGTH)]
    assert found(bright) == found(drowned) == []


def test_light_that_is_switched_is_no_cut() -> None:
    (scene,) = scenes(1)
    assert found([scene * (0.6 if n >= 10 else 1.0) for n in range(LENGTH)]) == []


@pytest.mark.parametrize("speed", [1, 4, 10])
def test_a_pan_is_no_cut(speed: int) -> None:
    (scene,) = scenes(1)
    assert found([np.roll(scene, speed * n, axis=1) for n in range(LENGTH)]) == []
    assert found([np.roll(scene, speed * max(0, n - 10), axis=1) for n in range(LENGTH)]) == []  # begins midway


def test_noise_on_a_plain_wall_is_no_cut() -> None:
    assert found([np.full((72, 128), 90.0) for _ in range(LENGTH)]) == []


def test_a_slide_that_changes_beside_a_speaker_is_no_cut_there() -> None:
    speaker, *slides = scenes(3)
    pictures = []
    for n in range(LENGTH):
        pictures.append(slides[n >= 10].copy())
        pictures[-1][:, :64] = speaker[:, :64]
    assert found(pictures) == []
    assert found(pictures, ELSEWHERE) == [10]


def test_a_tile_that_changes_alone_has_a_cut_of_its_own() -> None:
    others, *tile = scenes(3)
    pictures = []
    for n in range(LENGTH):
        pictures.append(others.copy())
        pictures[-1][8:60, 4:64] = tile[n >= 14][8:60, 4:64]
    assert found(pictures) == [14]
    assert found(pictures, ELSEWHERE) == []


def test_what_is_far_away_in_time_does_not_count() -> None:
    parts = scenes(3)
    pictures = [parts[bisect_right((9, 14), n)] for n in range(LENGTH)]
    whole = found(pictures)
    for first in range(9 - NEIGHBOURS + 1):
        near = [picture for n, picture in enumerate(pictures) if first <= n < 14 + NEIGHBOURS]
        assert [at + first for at in found(near)] == whole


def test_a_region_at_the_edge_or_outside_is_no_error() -> None:
    parts = scenes(2)
    pictures = [parts[int(n >= 10)] for n in range(LENGTH)]
    for box in (Box(-20, -20, 5, 5), Box(120, 60, 160, 90), Box(0, 0, 1, 1), Box(300, 300, 340, 340)):
        assert found(pictures, box) in ([10], [])


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gray", "rgb24", "gbrp", "nv12"])
def test_a_thumbnail_is_the_luma_in_8_bits(pix_fmt: str) -> None:
    ramp = np.repeat(np.linspace(30, 220, 320).astype(np.uint8)[None, :, None], 240, axis=0).repeat(3, axis=2)
    frame = VideoFrame.from_ndarray(ramp, format="rgb24").reformat(format=pix_fmt)
    luma = luma_thumbnail(frame)
    assert (luma.shape, luma.dtype) == ((96, LONG_SIDE), np.uint8)
    assert np.abs(luma.mean(axis=0) - cv2.resize(ramp, (LONG_SIDE, 96))[0, :, 0]).max() < 25  # limited range included
