"""What is measured on a face before it is routed."""

from __future__ import annotations

import cv2
import numpy as np

from actors.geometry import Box


def laplacian_variance(face_rgb: np.ndarray) -> float:
    """Sharpness q: variance of the Laplacian of the 8-bit grey crop at source resolution. Higher is sharper.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.

    Args:
        face_rgb: (H, W, 3) uint8 RGB; 0.0 for an empty crop.
    """
    if face_rgb.size == 0:
        return 0.0
    grey = cv2.cvtColor(np.ascontiguousarray(face_rgb), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def sharpness_of(frame_rgb: np.ndarray, box: Box) -> float:
    """`laplacian_variance` of the pixels of `box` that lie in the frame, (H, W, 3) uint8 RGB."""
    height, width = frame_rgb.shape[:2]
    x0, x1 = max(0, round(box.x0)), min(width, round(box.x1))
    y0, y1 = max(0, round(box.y0)), min(height, round(box.y1))
    return laplacian_variance(frame_rgb[y0:y1, x0:x1] if x1 > x0 and y1 > y0 else frame_rgb[:0, :0])
