"""Multi-band blending: coarse structure mixes over a wide border, fine structure over a narrow one.

Burt and Adelson, "A Multiresolution Spline With Application to Image Mosaics", ACM Transactions on Graphics, 1983.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

_COARSEST = 8
"""No level is narrower, px."""

_MOST_LEVELS = 5


def multiband_blend(
    background: NDArray[np.float32], patch: NDArray[np.float32], mask: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Both pictures in one: each octave of detail is mixed by the mask as coarse as that octave.

    Args:
        background, patch: (H, W) float32, one plane.
        mask: (H, W) float32, 1 where the patch is wanted. What it is blurred over grows with the octave, so the result
            differs from the background a little way beyond it.

    Returns:
        (H, W) float32.
    """
    levels = 1 + max(0, min(_MOST_LEVELS, int(np.log2(max(1, min(mask.shape)) / _COARSEST))))
    masks = _gaussian_pyramid(mask, levels)
    differences = _laplacian_pyramid(patch - background, levels)
    mixed = [share * octave for share, octave in zip(masks, differences, strict=True)]
    change = mixed.pop()
    while mixed:
        finer = mixed.pop()
        change = finer + _enlarged(change, finer)
    return background + change


def _gaussian_pyramid(image: NDArray[np.float32], levels: int) -> list[NDArray[np.float32]]:
    pyramid = [image]
    for _ in range(levels - 1):
        pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1]), np.float32))
    return pyramid


def _laplacian_pyramid(image: NDArray[np.float32], levels: int) -> list[NDArray[np.float32]]:
    """From fine to coarse; the last is what is left, blurred. Their sum, enlarged, is the image."""
    gaussian = _gaussian_pyramid(image, levels)
    return [fine - _enlarged(coarse, fine) for fine, coarse in pairwise(gaussian)] + gaussian[-1:]


def _enlarged(coarse: NDArray[np.float32], to: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.pyrUp(coarse, dstsize=to.shape[1::-1]), np.float32)
