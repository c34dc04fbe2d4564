"""Boxes of a still face stay where they are under fresh noise, with MTCNN's own networks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from actors.detection import DetectionSettings, MtcnnDetector
from actors.geometry import Box

CENTRE = (224.0, 116.0)  # of the portrait's face
SIZE = (160, 144)


@pytest.fixture(scope="module")
def detector() -> MtcnnDetector:
    return MtcnnDetector(DetectionSettings(min_face=40))


def picture(seed: int, shift: float = 0.0) -> np.ndarray:
    """The portrait with its face about 70 px wide, `shift` px to the right, under noise of its own."""
    matrix = cv2.getRotationMatrix2D(CENTRE, 0, 0.8)
    matrix[:, 2] += np.array(SIZE) / 2 - CENTRE + (shift, 0)
    portrait = cv2.warpAffine(np.asarray(data.astronaut()), matrix, SIZE, flags=cv2.INTER_AREA)
    noise = np.random.default_rng(seed).normal(0, 4, portrait.shape)
    return np.clip(portrait + noise, 0, 255).astype(np.uint8)


def the_face(detector: MtcnnDetector, frame_rgb: np.ndarray) -> np.ndarray:
    """(3,): centre and width of the only face's box."""
    ((face,),) = detector.detect([frame_rgb])
    return np.array([(face.box.x0 + face.box.x1) / 2, (face.box.y0 + face.box.y1) / 2, face.box.width])


def test_noise_hardly_moves_a_box(detector: MtcnnDetector) -> None:
    found = np.array([the_face(detector, picture(seed)) for seed in range(6)])
    assert found.std(axis=0).max() < 0.25


def test_a_box_moves_by_what_the_face_moves(detector: MtcnnDetector) -> None:
    moved = the_face(detector, picture(1, 7.5)) - the_face(detector, picture(1))
    np.testing.assert_allclose(moved, (7.5, 0, 0), atol=0.5)


def test_where_the_search_begins_hardly_matters(detector: MtcnnDetector) -> None:
    frame_rgb = picture(2)
    ((face,),) = detector.detect([frame_rgb])
    for off in ((2, 0, 2, 0), (0, -2, 0, -2), (-2, -2, 2, 2), (2, 2, -2, -2)):
        begun = Box(*(edge + by for edge, by in zip(face.box, off, strict=True)))
        ((settled,), _) = detector._settler.settle(frame_rgb, [begun])
        np.testing.assert_allclose(settled, face.box, atol=1.0)


def test_a_bad_candidate_leads_to_the_same_box(detector: MtcnnDetector) -> None:
    frame_rgb = picture(2)
    ((face,),) = detector.detect([frame_rgb])
    for off in ((0.22, 0.14, 0.12, -0.07), (-0.12, 0.1, -0.2, -0.1), (0.15, 0.15, -0.15, -0.15)):
        begun = Box(*(edge + share * face.box.width for edge, share in zip(face.box, off, strict=True)))
        ((settled,), _) = detector._settler.settle(frame_rgb, [begun])
        np.testing.assert_allclose(settled, face.box, atol=0.5)


def test_a_face_is_told_of_alike_whoever_is_beside_it(detector: MtcnnDetector) -> None:
    alone = picture(3)
    two = np.hstack([alone, picture(4)])
    ((face,),) = detector.detect([alone])
    boxes, landmarks = detector._settler.settle(two, [face.box, Box(*(np.array(face.box) + (SIZE[0], 0) * 2))])
    ((settled,), (places,)) = detector._settler.settle(two, [face.box])
    np.testing.assert_allclose(boxes[0], settled, atol=1 / 64)
    np.testing.assert_allclose(landmarks[0], places, atol=1 / 64)


def test_a_face_at_the_edge_and_a_frame_without_faces_are_no_error(detector: MtcnnDetector) -> None:
    frame_rgb = picture(5)
    ((settled,), (places,)) = detector._settler.settle(frame_rgb, [Box(-30, -20, 40, 60)])
    assert np.isfinite(settled).all()
    assert np.isfinite(places).all()
    assert detector._settler.settle(frame_rgb, []) == ([], [])
