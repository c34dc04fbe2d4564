"""Sharpness falls with blur and is measured on the box's pixels alone."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from actors.geometry import Box
from actors.quality import laplacian_variance, sharpness_of

FRAME = np.random.default_rng(2).integers(0, 256, (80, 100, 3), np.uint8)


def test_blur_lowers_sharpness() -> None:
    blurred = [laplacian_variance(FRAME)]
    blurred += [laplacian_variance(cv2.GaussianBlur(FRAME, (0, 0), sigma)) for sigma in (0.7, 1.5, 3)]
    assert all(sharper > softer for sharper, softer in pairwise(blurred))


def test_it_is_the_variance_of_opencvs_laplacian() -> None:
    grey = cv2.cvtColor(FRAME, cv2.COLOR_RGB2GRAY)
    assert laplacian_variance(FRAME) == float(cv2.Laplacian(grey, cv2.CV_64F).var())


def test_a_flat_face_has_none() -> None:
    assert laplacian_variance(np.full((20, 20, 3), 90, np.uint8)) == 0


def test_only_the_boxs_pixels_count() -> None:
    frame = np.full((80, 100, 3), 90, np.uint8)
    frame[:, 50:] = FRAME[:, 50:]
    assert sharpness_of(frame, Box(5, 5, 45, 60)) == 0
    assert sharpness_of(frame, Box(55, 5, 95, 60)) == laplacian_variance(frame[5:60, 55:95])


def test_a_box_over_the_edge_is_measured_where_there_are_pixels() -> None:
    assert sharpness_of(FRAME, Box(-20, -10, 30, 40)) == laplacian_variance(FRAME[:40, :30])
    assert sharpness_of(FRAME, Box(200, 10, 250, 60)) == 0
    assert sharpness_of(FRAME, Box(-50, -50, -10, -10)) == 0
