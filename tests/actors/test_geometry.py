"""Crops stay in register with the frame they were cut from, at every scale and wherever they lie."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors.geometry import CROP_MARGIN, Box, Placement, Rect, rotate_box, rotate_landmarks

BOUNDED = settings(max_examples=150, deadline=None, derandomize=True)
SOURCE = (160, 120)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, y0 = draw(st.floats(-20, 150)), draw(st.floats(-20, 110))
    return Box(x0, y0, x0 + draw(st.floats(4, 120)), y0 + draw(st.floats(4, 120)))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    step = draw(st.sampled_from([(1, 1), (2, 1), (2, 2)]))
    factor = draw(st.sampled_from([1.0, 2.0, 4.0, 1.3, 0.75, 2.55]))
    size = (round(SOURCE[0] * factor / 2) * 2, round(SOURCE[1] * factor / 2) * 2)
    return Placement(SOURCE, size, step)


@BOUNDED
@given(boxes(), placements())
def test_a_crop_holds_the_box_and_its_margin(box: Box, placement: Placement) -> None:
    assume(box.x1 > 0 and box.y1 > 0 and box.x0 < SOURCE[0] and box.y0 < SOURCE[1])
    crop = placement.crop_rect(box)
    assert 0 <= crop.x0 < crop.x1 <= SOURCE[0]
    assert 0 <= crop.y0 < crop.y1 <= SOURCE[1]
    assert crop.x0 <= max(0, box.x0 - CROP_MARGIN * box.width)
    assert crop.y1 >= min(SOURCE[1], box.y1 + CROP_MARGIN * box.height)
    assert crop.x0 % 2 == crop.y0 % 2 == 0
    assert crop.width <= box.width * (1 + 2 * CROP_MARGIN) + 4


@BOUNDED
@given(boxes(), placements())
def test_a_box_outside_the_frame_has_no_pixels_and_no_error(box: Box, placement: Placement) -> None:
    away = Box(box.x0 + 400, box.y0, box.x1 + 400, box.y1)
    crop = placement.crop_rect(away)
    assert crop.width <= 0
    assert np.zeros((SOURCE[1], SOURCE[0], 3))[crop.slices].size == 0


@BOUNDED
@given(boxes(), placements())
def test_a_result_rectangle_covers_its_crop_in_whole_chroma_samples(box: Box, placement: Placement) -> None:
    crop = placement.crop_rect(box)
    assume(crop.width > 0 and crop.height > 0)
    rect = placement.result_rect(crop)
    fx, fy = placement.factors
    assert 0 <= rect.x0 <= crop.x0 * fx
    assert rect.y1 >= min(placement.result_size[1], crop.y1 * fy - 1e-9)
    assert rect.x1 <= placement.result_size[0]
    assert rect.x0 % placement.chroma_step[0] == 0
    assert rect.y0 % placement.chroma_step[1] == 0
    assert rect.x1 % placement.chroma_step[0] == 0 or rect.x1 == placement.result_size[0]
    assert rect.width - crop.width * fx < 2 * placement.chroma_step[0]


def test_at_a_whole_scale_a_result_rectangle_is_the_crop_times_the_scale() -> None:
    for scale in (1, 2, 4):
        placement = Placement(SOURCE, (SOURCE[0] * scale, SOURCE[1] * scale), (2, 2))
        assert placement.result_rect(Rect(10, 20, 50, 80)) == tuple(scale * edge for edge in (10, 20, 50, 80))


SLOPE = 1.45
"""Grey levels a source pixel."""


def ramps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(H, W, 3): levels that rise to the right, rise downwards, and fall to the right, at source coordinates."""
    across, down = np.meshgrid(x, y)
    return np.stack([SLOPE * across, SLOPE * down, 255 - SLOPE * across], axis=-1)


@pytest.mark.parametrize("crop", [Rect(0, 0, 160, 120), Rect(20, 10, 90, 72), Rect(100, 60, 160, 120)], ids=str)
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.0, 1.3, 0.75, 2.55])
@pytest.mark.parametrize("expert_scale", [1, 2, 4])
def test_a_ramp_stays_in_register(expert_scale: int, factor: float, crop: Rect) -> None:
    size = (round(SOURCE[0] * factor / 2) * 2, round(SOURCE[1] * factor / 2) * 2)
    placement = Placement(SOURCE, size, (2, 2))
    restored = ramps(
        (np.arange(crop.x0 * expert_scale, crop.x1 * expert_scale) + 0.5) / expert_scale,
        (np.arange(crop.y0 * expert_scale, crop.y1 * expert_scale) + 0.5) / expert_scale,
    )
    patch = placement.resample(np.rint(restored).astype(np.uint8), crop)
    rect, (fx, fy) = placement.result_rect(crop), placement.factors
    assert patch.shape == (rect.height, rect.width, 3)
    expected = ramps((np.arange(rect.x0, rect.x1) + 0.5) / fx, (np.arange(rect.y0, rect.y1) + 0.5) / fy)
    error = (patch - expected)[6:-6, 6:-6]
    assert np.abs(error).max() < 1.8
    # Rounding lifts rising and falling levels alike; a shift would lift one and lower the other.
    shift = (error[..., 0].mean() - error[..., 2].mean()) / 2 / SLOPE
    assert abs(shift) < 0.05  # source pixels
    assert abs(error[..., 1].mean()) / SLOPE < 0.25


def test_a_patch_of_the_right_size_is_returned_as_it_is() -> None:
    placement = Placement(SOURCE, (320, 240), (2, 2))
    restored = np.random.default_rng(1).integers(0, 255, (80, 60, 3), np.uint8)
    assert placement.resample(restored, Rect(10, 20, 40, 60)) is restored


@BOUNDED
@given(st.integers(-6, 6), st.integers(0, 20), st.integers(0, 15), st.integers(1, 8), st.integers(1, 8))
def test_a_box_turns_with_its_picture(turns: int, x0: int, y0: int, wide: int, high: int) -> None:
    image = np.zeros((25, 30), np.uint8)
    image[y0 : y0 + high, x0 : x0 + wide] = 1
    turned = rotate_box(Box(x0, y0, x0 + wide, y0 + high), turns, 30, 25)
    expected = np.zeros(np.rot90(image, turns).shape, np.uint8)
    expected[int(turned.y0) : int(turned.y1), int(turned.x0) : int(turned.x1)] = 1
    assert np.array_equal(np.rot90(image, turns), expected)
    height, width = np.rot90(image, turns).shape
    assert rotate_box(turned, -turns, width, height) == (x0, y0, x0 + wide, y0 + high)


def test_resampling_does_not_depend_on_opencvs_threads() -> None:
    rng = np.random.default_rng(5)
    restored = rng.integers(0, 255, (256, 256, 3), np.uint8)
    placement = Placement(SOURCE, (208, 156), (2, 2))
    before = cv2.getNumThreads()
    try:
        found = []
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            found.append(placement.resample(restored, Rect(10, 10, 74, 74)))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(*found)


@BOUNDED
@given(st.integers(0, 3), st.integers(1, 12), st.integers(1, 12), st.data())
def test_landmarks_turn_with_the_picture(turns: int, width: int, height: int, data: st.DataObject) -> None:
    column, row = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    picture = np.zeros((height, width))
    picture[row, column] = 1
    ((x, y),) = rotate_landmarks(((column + 0.5, row + 0.5),), turns, width, height)
    assert np.rot90(picture, turns)[int(y), int(x)] == 1
