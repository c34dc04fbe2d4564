"""Faces to the template that face restorers are trained on, and back: geometry and pixels, no networks.

Coordinates of landmarks are real-valued, the first pixel being [0, 1); OpenCV puts that pixel's centre at 0. Every
matrix here speaks OpenCV's language.
"""

from __future__ import annotations

import cv2
import numpy as np

from actors.geometry import Landmarks, similarity_transform

TEMPLATE_SIDE = 512
"""Side of an aligned face, px."""

TEMPLATE_XY = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Where the five landmarks lie in an aligned face: FFHQ's alignment (Karras et al., StyleGAN, 2019) at 512 px, averaged
as in facexlib, which GFPGAN, RestoreFormer and CodeFormer were published with."""

FEATHER = 1 / 12
"""Share of the template's side over which a pasted face fades out at each edge."""

_LEAST_SPREAD = 2.0
"""Root mean square distance of the landmarks from their centre, px, below which they say nothing about a face."""


def alignment(landmarks: Landmarks) -> np.ndarray | None:
    """The matrix that brings a crop's pixels onto the template: turn, scale and shift, no shear, no mirroring.

    Args:
        landmarks: in the crop's pixels.

    Returns:
        (2, 3) float64; None where the landmarks fall together.
    """
    places = np.asarray(landmarks, np.float64) - 0.5
    if np.sqrt(np.square(places - places.mean(0)).sum(1).mean()) < _LEAST_SPREAD:
        return None
    return similarity_transform(places, TEMPLATE_XY)


def align_face(crop_rgb: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Resample a crop onto the template.

    Args:
        crop_rgb: (H, W, 3) uint8.
        matrix: see :func:`alignment`.

    Returns:
        (512, 512, 3) uint8; beyond the crop's edge it is mirrored.
    """
    size = (TEMPLATE_SIDE, TEMPLATE_SIDE)
    smooth_rgb = _low_pass(crop_rgb, 1 / _scale_of(matrix))
    aligned = cv2.warpAffine(smooth_rgb, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(aligned, np.uint8)


def paste_face(enlarged_rgb: np.ndarray, face_rgb: np.ndarray, matrix: np.ndarray, scale: int) -> np.ndarray:
    """Put a restored face back into the enlarged crop that it was aligned from.

    Args:
        enlarged_rgb: (scale * H, scale * W, 3) uint8: the crop, plainly enlarged.
        face_rgb: (k * 512, k * 512, 3) uint8.
        matrix: that aligned the crop; see :func:`alignment`.
        scale: of `enlarged_rgb`.

    Returns:
        (scale * H, scale * W, 3) uint8. Inside the template the face, outside of it the enlarged crop, to the bit; they
        fade into each other over :data:`FEATHER` of the template's side.
    """
    height, width = enlarged_rgb.shape[:2]
    face_scale = face_rgb.shape[0] / TEMPLATE_SIDE
    there = _rescaled(matrix, scale, face_scale)  # from the enlarged crop to the restored face
    smooth_rgb = _low_pass(face_rgb, _scale_of(there))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    pasted = cv2.warpAffine(smooth_rgb, there, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    share = _template_share(_rescaled(matrix, scale, 1), (height, width))[..., None]
    blended = enlarged_rgb + share * (pasted.astype(np.float32) - enlarged_rgb)
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _template_share(there: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) float32: 1 well inside the template, 0 outside of it, a smooth step between; `there` leads onto it."""
    rows, columns = np.indices(shape, np.float32)
    x = there[0, 0] * columns + there[0, 1] * rows + there[0, 2] + 0.5
    y = there[1, 0] * columns + there[1, 1] * rows + there[1, 2] + 0.5
    inside = np.minimum(np.minimum(x, TEMPLATE_SIDE - x), np.minimum(y, TEMPLATE_SIDE - y))
    ramp = np.clip(inside / (FEATHER * TEMPLATE_SIDE), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def _rescaled(matrix: np.ndarray, source: float, target: float) -> np.ndarray:
    """The same map between pictures that are `source` and `target` times as large, pixel centres kept in place."""
    outward = np.array([[1 / source, 0, 0.5 / source - 0.5], [0, 1 / source, 0.5 / source - 0.5], [0, 0, 1]])
    grown = target * (matrix @ outward)
    grown[:, 2] += 0.5 * target - 0.5
    return grown


def _scale_of(matrix: np.ndarray) -> float:
    return float(np.hypot(matrix[0, 0], matrix[1, 0]))


def _low_pass(image_rgb: np.ndarray, step: float) -> np.ndarray:
    """Without the detail that would alias when every result pixel is `step` pixels from the next."""
    return image_rgb if step <= 1 else np.asarray(cv2.GaussianBlur(image_rgb, (0, 0), sigmaX=0.4 * step), np.uint8)
