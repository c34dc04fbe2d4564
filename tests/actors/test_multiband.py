"""A multi-band blend is one picture or the other where the mask says so, and no seam between both."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.multiband import multiband_blend


def noise(seed: int, height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (33, 20), (200, 170)])
def test_a_full_mask_gives_the_patch_and_an_empty_one_the_background(size: tuple[int, int]) -> None:
    below, above = noise(1, *size), noise(2, *size)
    np.testing.assert_allclose(multiband_blend(below, above, np.ones(size, np.float32)), above, atol=1e-3)
    np.testing.assert_array_equal(multiband_blend(below, above, np.zeros(size, np.float32)), below)


def test_light_mixes_over_a_wide_border_and_detail_over_a_narrow_one() -> None:
    mask = np.zeros((128, 128), np.float32)
    mask[:, 64:] = 1  # a hard mask shows what each octave makes of it
    dark = np.full((128, 128), 100, np.float32)
    brighter = dark + 40
    chequered = dark + 40 * (np.indices((128, 128)).sum(0) % 2 * 2 - 1).astype(np.float32)
    light = np.abs(np.diff(multiband_blend(dark, brighter, mask)[64]))
    detail = np.abs(multiband_blend(dark, chequered, mask)[64] - 100)
    assert light.max() < 4  # a seam of 40 levels is spread over more than ten pixels
    assert detail[:60].max() < 1
    assert detail[68:].min() > 39
