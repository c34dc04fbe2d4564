"""What a person looks like in a few numbers, so that two who pass each other are told apart."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Box

_ACROSS, _DOWN = 6, 9
"""Samples of the face and the clothing below it."""

_BELOW = 0.5
"""Share of the box's height that is looked at below it."""

_UNLIKE = 60.0
"""Levels, root mean square, from which on two pictures are of nothing alike: those of a person differ by few."""


def appearance_of(frame_rgb: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """A face and the clothing below it, very small.

    Args:
        frame_rgb: (H, W, 3).
        box: source pixels; what is outside of the frame is left out.

    Returns:
        (9, 6, 3), Y, Cr and Cb.
    """
    height, width = frame_rgb.shape[:2]
    x0, x1 = max(0, round(box.x0)), min(width, round(box.x1))
    y0, y1 = max(0, round(box.y0)), min(height, round(box.y1 + _BELOW * box.height))
    if x1 <= x0 or y1 <= y0:
        return np.full((_DOWN, _ACROSS, 3), 128, np.uint8)
    small = cv2.resize(frame_rgb[y0:y1, x0:x1], (_ACROSS, _DOWN), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb), np.uint8)


def likeness(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How alike two appearances are, 0 to 1; light that changes does not count.

    Args:
        one, other: of `appearance_of`.
    """
    apart = one.astype(np.float64) - other
    apart[..., 0] -= apart[..., 0].mean()
    return max(0.0, 1 - float(np.sqrt(np.square(apart).mean())) / _UNLIKE)
