"""Blended faces change their faces and nothing else; where they overlap, there is one picture, and no seam."""

from __future__ import annotations

from itertools import permutations
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.blending import Patch, Plane, blend_patches
from actors.blends import Blend
from actors.face_masks import face_depth, soft_mask
from actors.geometry import Box, Landmarks, Placement, Rect
from tests.actors.test_face_masks import landmarks_in

BLENDS: tuple[Blend, ...] = get_args(Blend)
BOUNDED = settings(max_examples=12, deadline=None, derandomize=True)
SIZE = (160, 120)
"""(width, height) of the frames."""


def noise(seed: int, height: int, width: int, top: int = 256) -> Plane:
    dtype = np.uint8 if top == 256 else np.uint16
    return np.random.default_rng(seed).integers(0, top, (height, width)).astype(dtype)


def flat(level: int, box: Box, strength: float = 1.0, landmarks: Landmarks | None = None) -> Patch:
    """A patch of one level."""
    rect = Placement(SIZE, SIZE).crop_rect(box)
    samples = np.full((rect.height, rect.width), level, np.uint8)
    return Patch((samples,), rect, box, landmarks_in(box) if landmarks is None else landmarks, strength)


def blended(patches: list[Patch], blend: Blend, level: int = 100) -> np.ndarray:
    """The patches in a frame of one level, as int."""
    plane = np.full(SIZE[::-1], level, np.uint8)
    blend_patches((plane,), patches, (1, 1), blend=blend)
    return plane.astype(int)


@BOUNDED
@given(
    st.integers(0, 2**31),
    st.sampled_from(BLENDS),
    st.sampled_from([(256, 8), (1024, 10), (65536, 16)]),
    st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1)]),
    st.floats(-30, 110),
    st.floats(-30, 80),
)
def test_where_the_mask_is_zero_the_frame_stays_to_the_bit(
    seed: int, blend: Blend, depth: tuple[int, int], step: tuple[int, int], x: float, y: float
) -> None:
    top, bits = depth
    box = Box(x, y, x + 50, y + 66)
    rect = Placement(SIZE, SIZE, step).result_rect(Placement(SIZE, SIZE).crop_rect(box))
    shapes = [(SIZE[1], SIZE[0]), *[(SIZE[1] // step[1], SIZE[0] // step[0])] * 2]
    steps = [(1, 1), step, step]
    planes = tuple(noise(seed + number, *shape, top) for number, shape in enumerate(shapes))
    before = tuple(plane.copy() for plane in planes)
    patch = tuple(
        noise(seed + 9 + number, -(-rect.height // down), -(-rect.width // across), top)
        for number, (across, down) in enumerate(steps)
    )
    blend_patches(planes, [Patch(patch, rect, box, landmarks_in(box))], step, blend=blend, bits=bits)
    for (across, down), old, new in zip(steps, before, planes, strict=True):
        mask = np.zeros(old.shape, np.float32)
        mask[rect.y0 // down : -(-rect.y1 // down), rect.x0 // across : -(-rect.x1 // across)] = soft_mask(
            face_depth(rect, box, landmarks_in(box), (across, down))
        )
        assert np.array_equal(new[mask == 0], old[mask == 0])
        assert new.dtype == old.dtype
        assert new.max() < top
        assert (mask == 0).any()
        assert not np.array_equal(new[mask == 1], old[mask == 1])


@pytest.mark.parametrize("blend", BLENDS)
def test_a_patch_equal_to_the_frame_changes_nothing(blend: Blend) -> None:
    plane = noise(1, *SIZE[::-1])
    patches = []
    for box in (Box(30, 20, 80, 90), Box(60, 25, 110, 95), Box(-20, 60, 20, 110)):
        rect = Placement(SIZE, SIZE).crop_rect(box)
        patches.append(Patch((plane[rect.slices].copy(),), rect, box, landmarks_in(box)))
    before = plane.copy()
    blend_patches((plane,), patches, (1, 1), blend=blend)
    assert np.array_equal(plane, before)


@pytest.mark.parametrize("blend", BLENDS)
def test_what_is_inside_the_patch_comes_through(blend: Blend) -> None:
    box = Box(40, 20, 100, 100)
    patch = flat(100, box)
    patch.planes[0][45:55, 30:40] = 180
    (height, width), (x, y) = (10, 10), (patch.rect.x0 + 30, patch.rect.y0 + 45)
    found = blended([patch], blend)
    assert np.abs(found[y : y + height, x : x + width] - 180).max() <= 1
    found[y : y + height, x : x + width] = 100
    assert np.abs(found - 100).max() <= 1


@pytest.mark.parametrize("blend", BLENDS)
def test_strength_is_a_share_of_both_pictures(blend: Blend) -> None:
    box = Box(40, 20, 100, 100)
    frame = 100 + noise(5, *SIZE[::-1]) // 5
    results = []
    for strength in (0.0, 0.5, 1.0):
        plane, patch = frame.copy(), flat(0, box, strength)
        patch.planes[0][:] = 100 + noise(6, *patch.planes[0].shape) // 5
        blend_patches((plane,), [patch], (1, 1), blend=blend)
        results.append(plane.astype(float))
    none, half, whole = results
    np.testing.assert_array_equal(none, frame)
    np.testing.assert_allclose(half, (none + whole) / 2, atol=1.01)


OVERLAPPING = (Box(20, 20, 70, 86), Box(55, 24, 105, 90), Box(30, 70, 72, 118))


@pytest.mark.parametrize("blend", BLENDS)
def test_the_order_of_overlapping_faces_does_not_count(blend: Blend) -> None:
    patches = [flat(level, box) for level, box in zip((130, 160, 70), OVERLAPPING, strict=True)]
    first = blended(patches, blend)
    for order in permutations(patches):
        assert np.array_equal(blended(list(order), blend), first)


def test_where_faces_overlap_each_shows_in_its_middle_and_no_seam_between_them() -> None:
    left, right = OVERLAPPING[:2]
    found = blended([flat(140, left), flat(180, right)], "feather")
    assert abs(found[53, 40] - 140) <= 2
    assert abs(found[57, 85] - 180) <= 2
    between = found[55, 40:86]
    assert np.diff(between).min() >= -1  # nothing of the frame, at 100, shows through
    assert np.diff(between).max() <= 8


def test_a_weak_face_takes_little_from_the_one_it_overlaps() -> None:
    strong, weak = OVERLAPPING[:2]
    alone = blended([flat(140, strong)], "feather")
    beside = blended([flat(140, strong), flat(250, weak, 0.02)], "feather")
    assert np.abs(beside - alone).max() <= 4


@pytest.mark.parametrize("blend", BLENDS)
def test_a_face_that_the_frames_edge_cuts_shows_up_to_the_edge(blend: Blend) -> None:
    box = Box(-30, 20, 40, 110)
    patch = flat(100, box)
    patch.planes[0][:, :12] = 140  # a part of the face that the edge cuts
    found = blended([patch], blend)
    assert np.abs(found[45:75, :10] - 140).max() <= 8


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (3, 3)])
@pytest.mark.parametrize("blend", BLENDS)
def test_the_smallest_patches_are_no_error(blend: Blend, size: tuple[int, int]) -> None:
    plane, patch = noise(1, *size), noise(2, *size)
    rect = Rect(0, 0, size[1], size[0])
    blend_patches((plane,), [Patch((patch,), rect, Box(*map(float, rect)))], (1, 1), blend=blend)
    assert plane.shape == size
