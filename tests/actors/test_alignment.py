"""A face goes onto the template and comes back to where it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from actors.alignment import TEMPLATE_SIDE, TEMPLATE_XY, align_face, alignment, paste_face
from actors.geometry import Landmarks, rotate_landmarks

SCALE = 4


def face_at(centre: tuple[float, float], width: float, degrees: float = 0.0) -> Landmarks:
    """Landmarks of a face whose eyes are 0.45 of its width apart, about a centre, turned clockwise."""
    turn, size = np.exp(1j * np.radians(degrees)), 0.45 * width / 125.9
    places = (TEMPLATE_XY - TEMPLATE_XY.mean(0)) @ (1, 1j) * turn * size + complex(*centre)
    return tuple((float(place.real), float(place.imag)) for place in places)


def smooth_crop(height: int, width: int) -> np.ndarray:
    """Colours that change slowly, so that resampling loses nothing to speak of."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + k) + np.cos(y / 11 - k) for k in range(3)]
    return (127 + 55 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize("degrees", [0, 25, -90, 180])
@pytest.mark.parametrize("width", [30.0, 80.0, 300.0])
def test_the_landmarks_come_to_lie_on_the_template(width: float, degrees: float) -> None:
    landmarks = face_at((60.0, 70.0), width, degrees)
    matrix = alignment(landmarks)
    assert matrix is not None
    placed = (np.array(landmarks) - 0.5) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(placed, TEMPLATE_XY, atol=1e-6)


def test_an_uneven_face_is_fitted_as_well_as_turning_and_scaling_can() -> None:
    """Least squares: no small change of the matrix brings the landmarks nearer to the template."""
    rng = np.random.default_rng(2)
    places = np.array(face_at((50, 60), 90)) + rng.normal(0, 3, (5, 2))
    matrix = alignment(tuple(map(tuple, places)))
    assert matrix is not None

    def distance(candidate: np.ndarray) -> float:
        placed = (places - 0.5) @ candidate[:, :2].T + candidate[:, 2]
        return float(np.square(placed - TEMPLATE_XY).sum())

    a, b, x, y = matrix[0, 0], matrix[1, 0], matrix[0, 2], matrix[1, 2]
    for step in np.eye(4) * 1e-3:
        for change in (step, -step):
            da, db, dx, dy = change
            other = np.array([[a + da, -(b + db), x + dx], [b + db, a + da, y + dy]])
            assert distance(other) >= distance(matrix)


def test_landmarks_that_fall_together_align_nothing() -> None:
    assert alignment(tuple((30.0 + k / 10, 40.0) for k in range(5))) is None


def test_an_aligned_face_shows_the_crop_where_the_landmarks_say() -> None:
    landmarks = face_at((50, 60), 70)
    crop_rgb = np.zeros((120, 100, 3), np.uint8)
    x, y = landmarks[1]
    cv2.circle(crop_rgb, (round(x - 0.5), round(y - 0.5)), 2, (255, 255, 255), -1)
    matrix = alignment(landmarks)
    assert matrix is not None
    face_rgb = align_face(crop_rgb, matrix)
    assert face_rgb.shape == (TEMPLATE_SIDE, TEMPLATE_SIDE, 3)
    rows, columns = np.nonzero(face_rgb[..., 0] > 128)
    np.testing.assert_allclose((columns.mean(), rows.mean()), TEMPLATE_XY[1], atol=4)


@pytest.mark.parametrize("degrees", [0, 20, 90])
@pytest.mark.parametrize("width", [45.0, 75.0, 120.0])
def test_what_was_only_aligned_comes_back_as_it_was(width: float, degrees: float) -> None:
    """Half a pixel astray, anywhere on the way, would show: the crop's slope is several levels a pixel."""
    crop_rgb = smooth_crop(140, 130)
    enlarged_rgb = cv2.resize(crop_rgb, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    matrix = alignment(face_at((65, 72), width, degrees))
    assert matrix is not None
    pasted_rgb = paste_face(enlarged_rgb, align_face(crop_rgb, matrix), matrix, SCALE)
    difference = np.abs(pasted_rgb.astype(int) - enlarged_rgb)
    assert difference.mean() < 0.5
    assert difference.max() <= 4


def test_outside_of_the_template_the_crop_is_only_enlarged() -> None:
    crop_rgb = smooth_crop(160, 160)
    enlarged_rgb = cv2.resize(crop_rgb, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    matrix = alignment(face_at((80, 80), 40))
    assert matrix is not None
    white = np.full((TEMPLATE_SIDE, TEMPLATE_SIDE, 3), 255, np.uint8)
    pasted_rgb = paste_face(enlarged_rgb, white, matrix, SCALE)
    assert (pasted_rgb[300:340, 300:340] == 255).all()
    changed = (pasted_rgb != enlarged_rgb).any(-1)
    rows, columns = np.nonzero(changed)
    side = TEMPLATE_SIDE / (125.9 / (0.45 * 40)) * SCALE  # of the template in the enlarged crop
    assert columns.max() - columns.min() < side + 2
    assert rows.max() - rows.min() < side + 2
    # Soft: from one pixel to the next the share of the face changes by little.
    share = (pasted_rgb[320, :, 0].astype(float) - enlarged_rgb[320, :, 0]) / (255 - enlarged_rgb[320, :, 0] + 1e-9)
    assert np.abs(np.diff(share)).max() < 0.1


def test_a_face_restored_at_twice_the_template_lands_in_the_same_place() -> None:
    crop_rgb = smooth_crop(140, 130)
    enlarged_rgb = cv2.resize(crop_rgb, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    matrix = alignment(face_at((65, 72), 90))
    assert matrix is not None
    face_rgb = align_face(crop_rgb, matrix)
    twice_rgb = cv2.resize(face_rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    once, twice = (paste_face(enlarged_rgb, each, matrix, SCALE).astype(int) for each in (face_rgb, twice_rgb))
    assert np.abs(once - twice).max() <= 3


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_crop_with_its_landmarks_turned_gives_the_same_face(turns: int) -> None:
    crop_rgb, landmarks = smooth_crop(140, 130), face_at((65, 72), 80)
    turned_rgb = np.ascontiguousarray(np.rot90(crop_rgb, turns))
    upright, turned = alignment(landmarks), alignment(rotate_landmarks(landmarks, turns, 130, 140))
    assert upright is not None
    assert turned is not None
    difference = align_face(crop_rgb, upright).astype(int) - align_face(turned_rgb, turned)
    inner = slice(100, 412)
    assert np.abs(difference[inner, inner]).max() <= 2
