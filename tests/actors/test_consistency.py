"""A restored crop keeps the source's colour and what plainly is there, and its new detail."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from actors.consistency import TOLERANCE, TONE_TOLERANCE, agreeing_patch

SCALE = 4


def drawing(seed: int = 0) -> NDArray[np.uint8]:
    """(256, 224, 3) uint8: something with shapes of many sizes, none near black or white."""
    rng = np.random.default_rng(seed)
    picture = sum(
        cv2.resize(rng.uniform(-1, 1, (side, side, 3)), (224, 256), interpolation=cv2.INTER_CUBIC) * 200 / side
        for side in (4, 8, 32)
    )
    return np.asarray(np.clip(128 + picture, 60, 196), np.uint8)


def reduced(picture_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture_rgb.shape[:2]
    size = (width // SCALE, height // SCALE)
    return np.asarray(cv2.resize(picture_rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def test_what_agrees_already_stays_as_it_is() -> None:
    picture = drawing()
    kept = agreeing_patch(picture, reduced(picture))
    assert np.abs(kept.astype(int) - picture).max() <= 1


def test_a_colour_that_shifted_comes_back() -> None:
    picture = drawing()
    shifted = np.clip(picture.astype(int) + np.array([9, -7, 4]), 0, 255).astype(np.uint8)
    kept = agreeing_patch(shifted, reduced(picture))
    assert np.abs(kept.astype(float).mean((0, 1)) - picture.astype(float).mean((0, 1))).max() < 0.5 + TONE_TOLERANCE


def test_a_tone_that_is_off_by_a_codecs_error_stays_as_it_was_restored() -> None:
    source = np.full((64, 56, 3), 100, np.uint8)
    restored = np.full((256, 224, 3), 100, np.uint8)
    restored[::2] = 101  # half a level brighter
    np.testing.assert_array_equal(agreeing_patch(restored, source), restored)


def test_a_microphone_that_was_painted_over_is_seen_again() -> None:
    source = drawing()
    source[150:180, 60:160] = 10
    painted_over = source.copy()
    painted_over[150:180, 60:160] = drawing()[150:180, 60:160]
    kept = agreeing_patch(painted_over, reduced(source))
    inside = (slice(158, 172), slice(80, 140))
    wanted, taken = source[inside].astype(float).mean(), painted_over[inside].astype(float).mean()
    assert taken - wanted > 80
    assert kept[inside].astype(float).mean() - wanted <= TOLERANCE + 6


def test_noise_that_was_removed_stays_removed() -> None:
    picture = drawing()
    noisy = np.clip(reduced(picture) + np.random.default_rng(1).normal(0, 8, (64, 56, 3)), 0, 255).astype(np.uint8)
    error = np.abs(agreeing_patch(picture, noisy).astype(float) - picture)
    assert error.mean() < 1
    assert error.max() < 5


def test_detail_finer_than_the_source_stays() -> None:
    picture = drawing()
    checker = (np.indices(picture.shape[:2]).sum(0) % 2 * 40 - 20)[..., None]
    detailed = (picture.astype(int) + checker).astype(np.uint8)
    kept = agreeing_patch(detailed, reduced(picture)).astype(int)
    assert np.abs(kept - detailed).max() <= 2


@pytest.mark.parametrize("shape", [(100, 88, 3), (256, 220, 3)])
def test_a_patch_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="whole multiple"):
        agreeing_patch(np.zeros(shape, np.uint8), np.zeros((64, 56, 3), np.uint8))
