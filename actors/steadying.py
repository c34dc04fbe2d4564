"""Restored faces without what an expert draws anew in every frame: each is averaged with its neighbours in time.

A neighbour is brought to its place by dense optical flow between the source crops (Kroeger et al., "Fast Optical Flow
using Dense Inverse Search", 2016, as OpenCV has it) and counts as far as it shows the same (bilateral in time: Tomasi
and Manduchi, 1998): what moves in another way, a blink or a hand, keeps its own frame's pixels. Before and after count
alike, so nothing lags.

A face that stays in its place needs no flow, and more than its neighbours to be steady: what a codec changes in it
stays changed, and an expert makes the change stronger. Where its source is what it is at the grid points about it, it
is shown by the mean of what was restored at ten of these, under a window that fades to its ends, so that nothing comes
or goes at once (Tukey, "An introduction to the calculations of numerical spectrum analysis", 1967).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Rect
from actors.tracking import KEYS_AHEAD, KEYS_BACK

TOLERANCE = 8.0
"""Grey levels by which a neighbour may differ and still count for about a third."""

_AGREEMENT_SIGMA = 2.0
"""Px of the patch over which that is looked at."""

_FLOW_SCALE = 2
"""Crops are enlarged so for the search of their flow: it finds fractions of their pixels."""

_REPEATED = 0.5
"""Grey levels by which two frames of a source differ at most, in the mean, if one only repeats the other."""

_NARROWEST = 16
"""Px of a crop's side under which no flow is searched for, and the frame stays as it is."""


_SAME, _OTHER = 3.0, 6.0
"""Grey levels by which the source may differ from that of a grid point, over a px or two, and is the same; and from
which on it is something else."""

_SAME_SIGMA = 1.5
"""Px of the source over which that is looked at."""

_FLAT = 0.75
"""Share of the window that does not fade."""

_MEAN_OF_CHANNELS = np.full((1, 3), 1 / 3, np.float32)

_ENOUGH = 0.5
"""Share of the weights in grid points that show the same by which it counts whole."""

_LEAST_WEIGHT = np.float32(1e-6)
"""Where no grid point shows the same, there is nothing to divide by."""


@dataclass(frozen=True)
class Shown:
    """One face in one frame.

    Attributes:
        crop_rgb: (H, W, 3) uint8, the frame's pixels in `rect`.
        patch_rgb: (k * H, k * W, 3) uint8, restored, k an expert's scale.
        rect: in the frame.
    """

    crop_rgb: NDArray[np.uint8]
    patch_rgb: NDArray[np.uint8]
    rect: Rect


def steadied(face: Shown, before: Sequence[Shown], after: Sequence[Shown]) -> NDArray[np.uint8]:
    """The face's patch, averaged with its neighbours'; equal to it where none agrees.

    Where a source repeats its frames, repetitions count, and so does what comes before and behind them all: so that
    repeated frames are shown alike.

    Args:
        before, after: the same face in the frames on either side, the nearest first, restored by the same expert.
    """
    neighbours = [*_counting(face, before), *_counting(face, after)]
    if not neighbours or min(face.crop_rgb.shape[:2]) < _NARROWEST:
        return face.patch_rgb
    own = face.patch_rgb.astype(np.float32)
    total, weights = own.copy(), np.ones(own.shape[:2], np.float32)
    grey = _grey(face.crop_rgb)
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for neighbour, moves in neighbours:
        there, seen = _at(face, grey, neighbour, finder if moves else None)
        apart = cv2.GaussianBlur(np.abs(there - own).mean(axis=2), (0, 0), _AGREEMENT_SIGMA)
        weight = seen * np.exp(-((apart / TOLERANCE) ** 2))
        total += weight[..., None] * there
        weights += weight
    return np.clip(np.rint(total / weights[..., None]), 0, 255).astype(np.uint8)


def _counting(face: Shown, side: Sequence[Shown]) -> list[tuple[Shown, bool]]:
    """Of the neighbours on one side those up to the first that is no repetition; and of each whether it is none."""
    found: list[tuple[Shown, bool]] = []
    for neighbour in side:
        moves = not _repeats(face, neighbour)
        found.append((neighbour, moves))
        if moves:
            break
    return found


def _repeats(face: Shown, other: Shown) -> bool:
    """Whether the frame shows again what the other one does."""
    both = face.rect.intersection(other.rect)
    if not both.width or not both.height:
        return False
    here, there = face.crop_rgb[both.slices_in(face.rect)], other.crop_rgb[both.slices_in(other.rect)]
    return float(cv2.absdiff(here, there).mean()) <= _REPEATED


def key_weights(along: float) -> tuple[float, ...]:
    """Shares of the grid points from `KEYS_BACK` before a frame's own to `KEYS_AHEAD` after it; they sum to 1.

    Args:
        along: how far the frame is from its own grid point to the next, 0 to 1.
    """
    reach = np.abs(np.arange(-KEYS_BACK, KEYS_AHEAD + 1) - along) / KEYS_AHEAD
    window = np.cos(np.pi / 2 * np.clip((reach - _FLAT) / (1 - _FLAT), 0, 1)) ** 2
    return tuple(map(float, window / window.sum()))


def between_keys(face: Shown, keys: Sequence[tuple[Shown, float]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A face that stays in its place, from what was restored of it at grid points; its own patch is not looked at.

    Args:
        keys: the face there, in the same rectangle, and the share of each.

    Returns:
        (kH, kW, 3) its patch, and (kH, kW) how far that counts, 0 to 1: as far as the source shows the same there.
    """
    tall, wide = face.patch_rgb.shape[:2]
    total, weights = np.zeros((tall, wide, 3), np.float32), np.zeros((tall, wide), np.float32)
    for key, share in keys:
        differing = cv2.absdiff(key.crop_rgb, face.crop_rgb).astype(np.float32)
        apart = cv2.GaussianBlur(cv2.transform(differing, _MEAN_OF_CHANNELS), (0, 0), _SAME_SIGMA)
        same = np.clip((_OTHER - apart) / (_OTHER - _SAME), 0, 1)
        if same.min() == 1:  # as mostly, at a third of the cost
            cv2.addWeighted(key.patch_rgb, share, total, 1, 0, dst=total, dtype=cv2.CV_32F)
            weights += np.float32(share)
            continue
        weight = np.float32(share) * cv2.resize(same, (wide, tall), interpolation=cv2.INTER_LINEAR)
        total += cv2.multiply(key.patch_rgb, cv2.merge((weight, weight, weight)), dtype=cv2.CV_32F)
        weights += weight
    held = total / np.maximum(weights, _LEAST_WEIGHT)[..., None]
    return np.asarray(held, np.float32), np.asarray(np.minimum(weights / _ENOUGH, 1), np.float32)


def _at(
    face: Shown, grey: NDArray[np.uint8], neighbour: Shown, finder: cv2.DISOpticalFlow | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A neighbour's patch moved to where the face is, and (kH, kW) 1 where it has pixels for it, else 0.

    Without a finder nothing has moved.
    """
    height, width = face.crop_rgb.shape[:2]
    tall, wide = face.patch_rgb.shape[:2]
    across, down = neighbour.rect.x0 - face.rect.x0, neighbour.rect.y0 - face.rect.y0
    scale = wide / width
    rows, columns = np.indices((tall, wide), np.float32)
    at_x, at_y = columns - scale * across, rows - scale * down
    if finder is not None:
        shifted = np.array([[1, 0, across], [0, 1, down]], np.float64)
        other = cv2.warpAffine(_grey(neighbour.crop_rgb), shifted, (width, height), borderMode=cv2.BORDER_REPLICATE)
        first, second = (_enlarged(picture) for picture in (grey, np.asarray(other, np.uint8)))
        flow = cv2.resize(dense_flow(finder, first, second), (wide, tall), interpolation=cv2.INTER_LINEAR)
        flow *= scale / _FLOW_SCALE
        at_x, at_y = at_x + flow[..., 0], at_y + flow[..., 1]
    moved = cv2.remap(neighbour.patch_rgb, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    inside = (at_x >= 0) & (at_y >= 0)
    inside &= (at_x <= neighbour.patch_rgb.shape[1] - 1) & (at_y <= neighbour.patch_rgb.shape[0] - 1)
    return np.asarray(moved, np.float32), inside.astype(np.float32)


def dense_flow(finder: cv2.DISOpticalFlow, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 2) px that each pixel of the first of two grey pictures moves, across and down."""
    return np.asarray(finder.calc(first, second, np.zeros((*first.shape, 2), np.float32)), np.float32)


def _grey(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _enlarged(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(grey, None, fx=_FLOW_SCALE, fy=_FLOW_SCALE, interpolation=cv2.INTER_CUBIC), np.uint8)
