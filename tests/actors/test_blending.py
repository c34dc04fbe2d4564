"""A blended patch changes its face and nothing else, and shows no seam."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.blending import blend_patch, face_mask, harmonic_membrane, seamless_clone
from actors.geometry import CROP_MARGIN, Box, Rect

BOUNDED = settings(max_examples=40, deadline=None, derandomize=True)
sides = st.integers(3, 60)
seeds = st.integers(0, 2**31)


def noise(seed: int, height: int, width: int, dtype: type = np.uint8, top: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, (height, width)).astype(dtype)


@BOUNDED
@given(seeds, sides, sides)
def test_a_membrane_is_harmonic_and_keeps_its_border(seed: int, height: int, width: int) -> None:
    border = noise(seed, height, width).astype(np.float32) - 128
    membrane = harmonic_membrane(border).astype(np.float64)
    ring = np.ones((height, width), bool)
    ring[1:-1, 1:-1] = False
    assert np.array_equal(membrane[ring], border[ring])
    neighbours = membrane[:-2, 1:-1] + membrane[2:, 1:-1] + membrane[1:-1, :-2] + membrane[1:-1, 2:]
    assert np.abs(neighbours - 4 * membrane[1:-1, 1:-1]).max() < 0.01
    assert membrane.min() >= border[ring].min() - 0.01
    assert membrane.max() <= border[ring].max() + 0.01


@BOUNDED
@given(seeds, sides, sides)
def test_only_the_border_of_the_difference_counts(seed: int, height: int, width: int) -> None:
    border = noise(seed, height, width).astype(np.float32)
    other = border.copy()
    other[1:-1, 1:-1] = -77
    assert np.array_equal(harmonic_membrane(border), harmonic_membrane(other))


def test_a_linear_border_gives_a_plane() -> None:
    y, x = np.mgrid[:20, :30].astype(np.float32)
    plane = 3 * x - 2 * y + 7
    assert np.allclose(harmonic_membrane(plane), plane, atol=1e-3)


@BOUNDED
@given(seeds, sides, sides, st.sampled_from([(np.uint8, 256), (np.uint16, 1024)]))
def test_where_the_mask_is_zero_the_background_stays_to_the_bit(
    seed: int, height: int, width: int, depth: tuple[type, int]
) -> None:
    dtype, top = depth
    below, above = noise(seed, height, width, dtype, top), noise(seed + 1, height, width, dtype, top)
    mask = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    mask[mask < 0.5] = 0
    result = seamless_clone(below, above, mask, bits=(depth[1] - 1).bit_length())
    assert result.dtype == below.dtype
    assert np.array_equal(result[mask == 0], below[mask == 0])
    assert result.max() < top


@BOUNDED
@given(seeds, sides, sides)
def test_a_patch_equal_to_the_background_changes_nothing(seed: int, height: int, width: int) -> None:
    below = noise(seed, height, width)
    mask = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    assert np.array_equal(seamless_clone(below, below.copy(), mask), below)


@BOUNDED
@given(seeds, st.integers(-40, 40))
def test_a_constant_offset_of_the_patch_vanishes(seed: int, offset: int) -> None:
    below = (noise(seed, 40, 50) // 2 + 60).astype(np.uint8)
    above = (below.astype(int) + offset).astype(np.uint8)
    assert np.abs(seamless_clone(below, above, np.ones((40, 50), np.float32)).astype(int) - below).max() <= 1


def test_what_is_inside_the_patch_comes_through() -> None:
    below = np.full((40, 40), 100, np.uint8)
    above = below.copy()
    above[15:25, 15:25] = 180
    cloned = seamless_clone(below, above, np.ones((40, 40), np.float32))
    assert np.array_equal(cloned, above)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (3, 3)])
def test_the_smallest_patches_are_no_error(size: tuple[int, int]) -> None:
    below, above = noise(1, *size), noise(2, *size)
    assert seamless_clone(below, above, np.ones(size, np.float32)).shape == size


def test_a_mask_is_one_on_the_face_and_zero_at_the_margins_edge() -> None:
    box = Box(40, 50, 140, 170)
    margin_x, margin_y = 100 * CROP_MARGIN, 120 * CROP_MARGIN
    rect = Rect(round(40 - margin_x), round(50 - margin_y), round(140 + margin_x), round(170 + margin_y))
    mask = face_mask(rect, box)
    assert mask.shape == (rect.height, rect.width)
    assert mask[rect.height // 2, rect.width // 2] == 1
    ring = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert ring.max() < 0.01
    assert np.abs(np.diff(mask, axis=0)).max() < 0.2
    assert np.abs(np.diff(mask, axis=1)).max() < 0.2


def test_a_mask_is_the_same_when_the_frame_cuts_its_rectangle() -> None:
    box, rect, cut = Box(-20, 10, 60, 100), Rect(-40, -10, 80, 120), Rect(0, 0, 80, 120)
    assert np.array_equal(face_mask(rect, box)[10:, 40:], face_mask(cut, box))


@pytest.mark.parametrize("step", [(1, 1), (2, 1), (2, 2)])
def test_blending_changes_every_plane_inside_the_rectangle_only(step: tuple[int, int]) -> None:
    height, width = 80, 100
    small = (height // step[1], width // step[0])
    planes = (noise(1, height, width), noise(2, *small), noise(3, *small))
    before = tuple(plane.copy() for plane in planes)
    rect, box = Rect(20, 10, 70, 60), Box(27, 17, 63, 53)
    patch_small = (rect.height // step[1], rect.width // step[0])
    patch = (noise(4, rect.height, rect.width), noise(5, *patch_small), noise(6, *patch_small))
    blend_patch(planes, patch, rect, box, step)
    for number, (old, new) in enumerate(zip(before, planes, strict=True)):
        across, down = (1, 1) if number == 0 else step
        inside = np.zeros(old.shape, bool)
        inside[rect.y0 // down : rect.y1 // down, rect.x0 // across : rect.x1 // across] = True
        assert np.array_equal(new[~inside], old[~inside])
        assert not np.array_equal(new[inside], old[inside])
