"""Where a restored face shows: a soft oval that turns and leans with the face's landmarks, held by its box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.alignment import alignment
from actors.geometry import CROP_MARGIN, Box, Landmarks, Rect

_BOX_POWER = 4
"""Exponent of the superellipse |x|^p + |y|^p = 1 about the box: rounder than a box, fuller than an ellipse."""

_OVAL_POWER = 2.5
"""Of the one about the face."""

_OVAL_CENTRE = (256.0, 296.0)
_OVAL_REACH = (172.0, 225.0)
"""Where the oval ends in the template of `actors.alignment`, half its width and height. Inside three quarters of it,
from over the brow to the chin and from cheek to cheek, the mask is 1."""

_TEMPLATE_BOX = (271.0, 360.0)
"""Width and height of the detector's box there: medians of 40 people."""

_BELOW_BOX = 18.0
"""How far the oval's middle lies below the box's there."""

_SCALE_BOUND = 1.15
"""Factor by which the oval may be larger or smaller than the box lets expect: landmarks of a profile nearly fall
together across."""

_LEAN_BOUND = 0.1
"""Share of the box by which it may lie beside where that lets expect it: landmarks of a turned face are at one side."""

_FADE = 0.25
"""Depth at which the mask reaches 1."""


def face_depth(rect: Rect, box: Box, landmarks: Landmarks, step: tuple[int, int] = (1, 1)) -> NDArray[np.float32]:
    """How deep in a face each sample lies: 1 at its middle, falling evenly, 0 from the oval's edge on.

    It is 0 where the box grown by the crop's margin ends, too. It does not depend on where the frame's edge cuts the
    rectangle off, and follows smoothly from box and landmarks, so that it moves as smoothly as these.

    Args:
        rect: the patch's rectangle in the result.
        box: the face's box in the result.
        landmarks: in the result; where these fall together or there are none, the box alone counts.
        step: result pixels per sample of the plane it is for, (across, down).

    Returns:
        (ceil(H / step), ceil(W / step)) float32, 0 to 1.
    """
    x = _sample_centres(rect.x0, rect.x1, step[0])[None, :]
    y = _sample_centres(rect.y0, rect.y1, step[1])[:, None]
    to_template = alignment(landmarks) if landmarks else None
    if to_template is None:
        return np.clip(1 - _box_radius(x, y, box), 0, 1).astype(np.float32)
    oval = np.clip(1 - _oval_radius(x, y, box, to_template), 0, 1)
    return (oval * _smooth((1 - _box_radius(x, y, box)) / (1 - 0.5 / _BOX_REACH))).astype(np.float32)


def soft_mask(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of the restored face at each depth: 0 at none, 1 from a quarter on, smooth in between."""
    return _smooth(depth / np.float32(_FADE))


_BOX_REACH = 0.5 + CROP_MARGIN


def _box_radius(x: NDArray[np.float32], y: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """1 on the superellipse that touches the edges of the box grown by the crop's margin, 0 in the middle."""
    u = (x - (box.x0 + box.x1) / 2) / (_BOX_REACH * box.width)
    v = (y - (box.y0 + box.y1) / 2) / (_BOX_REACH * box.height)
    return (np.abs(u) ** _BOX_POWER + np.abs(v) ** _BOX_POWER) ** (1 / _BOX_POWER)


def _oval_radius(
    x: NDArray[np.float32], y: NDArray[np.float32], box: Box, to_template: NDArray[np.float64]
) -> NDArray[np.float32]:
    """1 on the oval's edge, 0 in its middle."""
    of_box = np.sqrt(_TEMPLATE_BOX[0] * _TEMPLATE_BOX[1] / (box.width * box.height))
    found = np.hypot(*to_template[:, 0])
    scale = np.clip(found, of_box / _SCALE_BOUND, of_box * _SCALE_BOUND)
    turn = to_template[:, :2] / found
    centre = turn.T @ (np.array(_OVAL_CENTRE) - to_template[:, 2]) / found + 0.5
    below = turn.T @ (0.0, _BELOW_BOX) / scale
    expected = np.array(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)) + below
    most = _LEAN_BOUND * np.array((box.width, box.height))
    centre_x, centre_y = expected + np.clip(centre - expected, -most, most)
    across, down = x - centre_x, y - centre_y
    u = scale * (turn[0, 0] * across + turn[0, 1] * down) / _OVAL_REACH[0]
    v = scale * (turn[1, 0] * across + turn[1, 1] * down) / _OVAL_REACH[1]
    return (np.abs(u) ** _OVAL_POWER + np.abs(v) ** _OVAL_POWER) ** (1 / _OVAL_POWER)


def _smooth(share: NDArray) -> NDArray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _sample_centres(start: int, end: int, step: int) -> NDArray[np.float32]:
    count = -(-(end - start) // step)
    return np.asarray(start + step * (np.arange(count) + 0.5), np.float32)  # exact up to 2**23
