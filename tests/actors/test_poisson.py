"""A cloned patch meets the frame on its border, where there is one, and keeps its own gradients."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from actors.poisson import OpenSides, harmonic_membrane, seamless_clone

BOUNDED = settings(max_examples=30, deadline=None, derandomize=True)
seeds, sides = st.integers(0, 2**31), st.integers(3, 40)
open_sides = st.tuples(*[st.booleans()] * 4).map(lambda four: OpenSides(*four))


def noise(seed: int, height: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.float32)


def met(height: int, width: int, are_open: OpenSides) -> NDArray[np.bool_]:
    """The samples of a rectangle's border that the membrane is held to."""
    ring = np.zeros((height, width), bool)
    for part, is_open in zip((ring[:, 0], ring[0], ring[:, -1], ring[-1]), are_open, strict=True):
        part |= not is_open
    return ring


@BOUNDED
@given(seeds, sides, sides, open_sides)
def test_a_membrane_is_harmonic_meets_its_border_and_goes_straight_on_at_open_sides(
    seed: int, height: int, width: int, are_open: OpenSides
) -> None:
    border = noise(seed, height, width) - 128
    membrane = harmonic_membrane(border, are_open).astype(np.float64)
    held = met(height, width, are_open)
    assert np.array_equal(membrane[held], border[held])
    mirrored = np.pad(membrane, 1, mode="reflect")
    around = mirrored[:-2, 1:-1] + mirrored[2:, 1:-1] + mirrored[1:-1, :-2] + mirrored[1:-1, 2:]
    assert np.abs(around - 4 * membrane)[~held].max() < 0.01
    reference = border[held] if held.any() else np.zeros(1)
    assert membrane.min() >= reference.min() - 0.01
    assert membrane.max() <= reference.max() + 0.01


@BOUNDED
@given(seeds, sides, sides, open_sides)
def test_only_the_met_border_of_the_difference_counts(seed: int, height: int, width: int, are_open: OpenSides) -> None:
    border = noise(seed, height, width)
    other = np.where(met(height, width, are_open), border, np.float32(-77))
    assert np.array_equal(harmonic_membrane(border, are_open), harmonic_membrane(other, are_open))


def test_a_linear_border_gives_a_plane() -> None:
    y, x = np.mgrid[:20, :30].astype(np.float32)
    plane = 3 * x - 2 * y + 7
    assert np.allclose(harmonic_membrane(plane), plane, atol=1e-3)


@pytest.mark.parametrize("are_open", [OpenSides(*four) for four in product((False, True), repeat=4) if not all(four)])
def test_a_constant_offset_of_the_patch_vanishes_whatever_the_frame_cuts_off(are_open: OpenSides) -> None:
    below = noise(1, 30, 40)
    assert np.allclose(seamless_clone(below, below + 25, are_open), below, atol=1e-2)


def test_a_face_that_fills_the_frame_keeps_its_own_light() -> None:
    below, above = noise(1, 20, 30), noise(2, 20, 30)
    assert np.array_equal(seamless_clone(below, above, OpenSides(True, True, True, True)), above)


def test_what_lies_at_the_frames_edge_does_not_pull_at_the_patch() -> None:
    below = np.full((40, 40), 100, np.float32)
    above = below.copy()
    above[15:25, :4] = 180  # the restored face differs from the frame where the frame cuts it
    at_the_edge = seamless_clone(below, above, OpenSides(left=True))
    np.testing.assert_allclose(at_the_edge, above, atol=1e-2)
    assert seamless_clone(below, above)[20, 1] < 125


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (3, 3)])
@pytest.mark.parametrize("are_open", [OpenSides(), OpenSides(left=True, right=True)])
def test_the_smallest_patches_are_no_error(size: tuple[int, int], are_open: OpenSides) -> None:
    assert seamless_clone(noise(1, *size), noise(2, *size), are_open).shape == size
