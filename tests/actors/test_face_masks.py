"""The mask covers the face that the landmarks show, turns with it, and ends where the crop does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from actors.alignment import TEMPLATE_XY
from actors.face_masks import face_depth, soft_mask
from actors.geometry import CROP_MARGIN, Box, Landmarks, Rect

BOX = Box(40, 50, 140, 180)


def landmarks_in(box: Box, turn: float = 0.0, narrowed: float = 1.0) -> Landmarks:
    """The landmarks of an average face in a box, turned clockwise by `turn` degrees; narrowed, a face in profile."""
    places = (TEMPLATE_XY - (256, 278)) * min(box.width, box.height) / 271 * (narrowed, 1)
    angle = np.radians(turn)
    turned = places @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return tuple((x + (box.x0 + box.x1) / 2, y + (box.y0 + box.y1) / 2) for x, y in turned.tolist())


def rect_of(box: Box) -> Rect:
    across, down = CROP_MARGIN * box.width, CROP_MARGIN * box.height
    x0, y0, x1, y1 = np.rint((box.x0 - across, box.y0 - down, box.x1 + across, box.y1 + down)).astype(int).tolist()
    return Rect(x0, y0, x1, y1)


def mask(box: Box, landmarks: Landmarks, rect: Rect | None = None) -> np.ndarray:
    return soft_mask(face_depth(rect or rect_of(box), box, landmarks))


@pytest.mark.parametrize("turn", [0, 25, -25, 90, 180])
@pytest.mark.parametrize("narrowed", [1.0, 0.5, 0.05])
def test_a_mask_is_one_on_the_face_and_zero_at_the_margins_edge(turn: float, narrowed: float) -> None:
    box = Box(50, 40, 180, 140) if turn == 90 else BOX
    landmarks, rect = landmarks_in(box, turn, narrowed), rect_of(box)
    found = mask(box, landmarks)
    assert found.shape == (rect.height, rect.width)
    for x, y in landmarks:
        assert found[int(y) - rect.y0, int(x) - rect.x0] == 1
    ring = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
    assert ring.max() < 0.01
    assert max(np.abs(np.diff(found, axis=axis)).max() for axis in (0, 1)) < 0.2


def test_a_mask_without_landmarks_follows_the_box() -> None:
    found = mask(BOX, ())
    assert np.array_equal(found, mask(BOX, ((90.0, 100.0),) * 5))  # nothing can be told from these
    assert np.array_equal(found, found[:, ::-1])
    assert np.array_equal(found, found[::-1])
    assert found[found.shape[0] // 2, found.shape[1] // 2] == 1


def test_a_turned_face_has_a_turned_mask() -> None:
    upright, leaning = (mask(BOX, landmarks_in(BOX, turn)) for turn in (0, 30))
    assert np.abs(upright - upright[:, ::-1]).max() < 0.05
    assert np.abs(leaning - leaning[:, ::-1]).max() > 0.5
    mirrored = mask(BOX, landmarks_in(BOX, -30))
    np.testing.assert_allclose(leaning, mirrored[:, ::-1], atol=0.05)


@pytest.mark.parametrize("narrowed", [0.5, 0.2, 0.02])
def test_the_mask_of_a_profile_does_not_collapse(narrowed: float) -> None:
    whole = mask(BOX, landmarks_in(BOX)).sum()
    assert mask(BOX, landmarks_in(BOX, narrowed=narrowed)).sum() > 0.7 * whole


def test_a_mask_moves_as_smoothly_as_box_and_landmarks() -> None:
    steps = np.linspace(1, 0.02, 40)
    masks = [mask(BOX, landmarks_in(BOX, 40 * step, step)) for step in steps]
    assert max(np.abs(after - before).max() for before, after in pairwise(masks)) < 0.2


def test_a_mask_is_the_same_when_the_frame_cuts_its_rectangle() -> None:
    box, rect, cut = Box(-20, 10, 60, 100), Rect(-40, -10, 80, 120), Rect(0, 0, 80, 120)
    places = landmarks_in(box)
    found = mask(box, places, cut)
    assert np.array_equal(mask(box, places, rect)[10:, 40:], found)
    assert found[60, 0] == 1  # the face goes on beyond the frame's edge, and its mask with it
