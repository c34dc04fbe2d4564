"""Blending a restored face into the upscaled frame: Poisson seamless cloning under a soft mask.

Pérez, Gangnet, Blake, "Poisson Image Editing", SIGGRAPH 2003. On a rectangle the equation has a closed form: the
result is the patch plus the membrane (the harmonic function) that equals frame minus patch on the rectangle's border,
and a discrete sine transform gives the membrane directly.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dstn, idstn

from actors.geometry import CROP_MARGIN, Box, Rect

_MASK_POWER = 4
"""Exponent of the superellipse |x|^p + |y|^p = 1 that the mask follows: rounder than a box, fuller than an ellipse."""


def harmonic_membrane(difference: np.ndarray) -> np.ndarray:
    """The function with zero Laplacian that equals `difference` on the outermost ring.

    Five-point Laplacian, Dirichlet border, solved by a type-I discrete sine transform in O(N log N).

    Args:
        difference: (H, W) float32; only its outermost ring is read.

    Returns:
        (H, W) float32.
    """
    height, width = difference.shape
    membrane = difference.copy()
    if height < 3 or width < 3:
        return membrane
    known = np.zeros((height - 2, width - 2), dtype=np.float32)
    known[0] += difference[0, 1:-1]
    known[-1] += difference[-1, 1:-1]
    known[:, 0] += difference[1:-1, 0]
    known[:, -1] += difference[1:-1, -1]
    modes = _laplacian_modes(height - 2)[:, None] + _laplacian_modes(width - 2)[None, :]
    membrane[1:-1, 1:-1] = idstn(dstn(known, type=1) / modes, type=1)
    return membrane


def _laplacian_modes(count: int) -> np.ndarray:
    """Eigenvalues of the negated 1-D second difference with zero borders, (count,) float32."""
    return (2 - 2 * np.cos(np.pi * np.arange(1, count + 1) / (count + 1))).astype(np.float32)


def seamless_clone(background: np.ndarray, patch: np.ndarray, mask: np.ndarray, *, bits: int = 8) -> np.ndarray:
    """One plane of a frame with a patch cloned into it.

    Args:
        background: (H, W) the frame's plane inside the patch's rectangle, uint8 or uint16.
        patch: (H, W) of the same type.
        mask: (H, W) float32, 0 where the background stays to the bit, 1 where the patch's gradients rule.
        bits: a sample's; values end at 2**bits - 1.

    Returns:
        (H, W) of the background's type; equal to it wherever the mask is 0.
    """
    below = background.astype(np.float32)
    above = patch.astype(np.float32)
    cloned = above + harmonic_membrane(below - above)
    mixed = below + mask * (cloned - below)
    return np.clip(np.rint(mixed), 0, (1 << bits) - 1).astype(background.dtype)


def face_mask(rect: Rect, box: Box, step: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Soft mask of a face: 1 on the face, falling smoothly to 0 at the margin's edge.

    Args:
        rect: the patch's rectangle in the result.
        box: the face's box in the result. The mask falls off outside it and is 0 where the box grown by the crop's
            margin ends, whether or not the frame cuts the rectangle off before.
        step: result pixels per sample of the plane the mask is for, (across, down).

    Returns:
        (ceil(H / step), ceil(W / step)) float32, 0 to 1.
    """
    centre_x, centre_y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    reach = 0.5 + CROP_MARGIN
    across = _sample_centres(rect.x0, rect.x1, step[0]) - centre_x
    down = _sample_centres(rect.y0, rect.y1, step[1]) - centre_y
    u = np.abs(across / (reach * box.width))[None, :] ** _MASK_POWER
    v = np.abs(down / (reach * box.height))[:, None] ** _MASK_POWER
    radius = (u + v) ** (1 / _MASK_POWER)  # 1 on the superellipse that touches the margin's edges
    inner = 0.5 / reach
    fade = np.clip((1 - radius) / (1 - inner), 0, 1)
    return (fade * fade * (3 - 2 * fade)).astype(np.float32)


def _sample_centres(start: int, end: int, step: int) -> np.ndarray:
    count = -(-(end - start) // step)
    return start + step * (np.arange(count, dtype=np.float64) + 0.5)


def blend_patch(
    planes: tuple[np.ndarray, ...],
    patch_planes: tuple[np.ndarray, ...],
    rect: Rect,
    box: Box,
    chroma_step: tuple[int, int],
    *,
    strength: float = 1.0,
    bits: int = 8,
) -> None:
    """Clone a patch into a frame's planes, in place.

    Args:
        planes: Y, Cb, Cr of the frame, (H, W) each, writable.
        patch_planes: the same planes of the patch.
        rect: the patch's rectangle in luma pixels, its corner on a chroma sample.
        box: the face's box in luma pixels.
        chroma_step: luma pixels per chroma sample, (across, down).
        strength: share of the patch where the mask is 1, 0 to 1.
        bits: a sample's.
    """
    for number, (plane, patch) in enumerate(zip(planes, patch_planes, strict=True)):
        across, down = (1, 1) if number == 0 else chroma_step
        rows = slice(rect.y0 // down, -(-rect.y1 // down))
        columns = slice(rect.x0 // across, -(-rect.x1 // across))
        mask = np.float32(strength) * face_mask(rect, box, (across, down))
        plane[rows, columns] = seamless_clone(plane[rows, columns], patch, mask, bits=bits)
