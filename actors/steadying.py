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

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import NamedTuple

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
"""Px of a crop's side under which no flow is searched for: such a frame stays as it is, and is no neighbour."""

_SHARES = (1.0, 0.8, 0.6, 0.3)
"""What each of the `NEIGHBOURS` on a side counts, the nearest first: under a window that falls to its ends results are
as steady as under an even one, and keep more of their detail."""

_REMEMBERED = 16
"""Motions of pairs of frames that are kept: those that the next frame asks for again, of both fields of a face."""

_SAME, _OTHER = 3.0, 6.0
"""Grey levels by which the source may differ from that of a grid point, over a px or two, and is the same; and from
which on it is something else."""

_SAME_SIGMA = 1.5
"""Px of the source over which that is looked at."""

_FLAT = 0.75
"""Share of the window that does not fade."""

_NOWHERE = -1e4
"""A place that no patch has."""

_MEAN_OF_CHANNELS = np.full((1, 3), 1 / 3, np.float32)

_ENOUGH = 0.5
"""Share of the weights in grid points that show the same by which it counts whole."""

_LEAST_WEIGHT = np.float32(1e-6)
"""Where no grid point shows the same, there is nothing to divide by."""


@dataclass(frozen=True, eq=False)
class Shown:
    """One face in one frame; known by itself, not by what it holds, so that motions can be remembered by it.

    Attributes:
        crop_rgb: (H, W, 3) uint8, the frame's pixels in `rect`.
        patch_rgb: (k * H, k * W, 3) uint8, restored, k an expert's scale.
        rect: in the frame.
    """

    crop_rgb: NDArray[np.uint8]
    patch_rgb: NDArray[np.uint8]
    rect: Rect


class _Places(NamedTuple):
    """Where the pixels of one patch lie in another; both (kH, kW) float32, in px of the other."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]


class Motions:
    """How a face moves from one frame to the next: each pair is searched once, and the last few are remembered."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Shown, Shown], _Places] = OrderedDict()

    def along(self, face: Shown, side: Sequence[Shown]) -> Iterator[_Places]:
        """Where a face's pixels lie in each patch of a side, the nearest first: the way leads over those before it."""
        places: _Places | None = None
        for pair in pairwise([face, *side]):
            onward = self._next(*pair)
            places = onward if places is None else _Places(*(_looked_up(of, places) for of in onward))
            yield places

    def _next(self, face: Shown, other: Shown) -> _Places:
        if (face, other) not in self._known:
            self._known[face, other] = self._searched(face, other)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[face, other]

    def _searched(self, face: Shown, other: Shown) -> _Places:
        height, width = face.crop_rgb.shape[:2]
        tall, wide = face.patch_rgb.shape[:2]
        across, down = other.rect.x0 - face.rect.x0, other.rect.y0 - face.rect.y0
        shifted = np.array([[1, 0, across], [0, 1, down]], np.float64)
        there = cv2.warpAffine(_grey(other.crop_rgb), shifted, (width, height), borderMode=cv2.BORDER_REPLICATE)
        first, second = (_enlarged(picture) for picture in (_grey(face.crop_rgb), np.asarray(there, np.uint8)))
        # A finder of its own: one that has seen a small picture searches larger ones otherwise from then on.
        finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = cv2.resize(dense_flow(finder, first, second), (wide, tall), interpolation=cv2.INTER_LINEAR)
        flow *= wide / width / _FLOW_SCALE
        unmoved = _unmoved(face, other)
        return _Places(unmoved.x + flow[..., 0], unmoved.y + flow[..., 1])


def steadied(face: Shown, before: Sequence[Shown], after: Sequence[Shown], motions: Motions) -> NDArray[np.uint8]:
    """The face's patch, averaged with its neighbours'; equal to it where none agrees.

    Where a source repeats its frames, repetitions count, and so does what is next before and behind them all: so that
    repeated frames are shown alike.

    Args:
        before, after: the same face in the frames on either side, the nearest first, restored by the same expert.
        motions: remembers the search for them; any, the result is the same.
    """
    if _is_narrow(face):
        return face.patch_rgb
    before, after = (list(takewhile(lambda each: not _is_narrow(each), side)) for side in (before, after))
    repeated = any(_repeats(face, near[0]) for near in (before, after) if near)
    neighbours = [each for side in (before, after) for each in _counting(face, side, motions, repeated=repeated)]
    if not neighbours:
        return face.patch_rgb
    total = face.patch_rgb.astype(np.float32)
    weights = np.ones(total.shape[:2], np.float32)
    for neighbour, places, share in neighbours:
        there, seen = _at(neighbour, places)
        apart = cv2.GaussianBlur(_apart(there, face.patch_rgb), (0, 0), _AGREEMENT_SIGMA)
        weight = cv2.exp(cv2.multiply(apart, apart, scale=-1 / TOLERANCE**2)) * (share * seen)
        total += cv2.multiply(there, cv2.merge((weight, weight, weight)), dtype=cv2.CV_32F)
        weights += weight
    return np.clip(np.rint(total / weights[..., None]), 0, 255).astype(np.uint8)


def _counting(
    face: Shown, side: Sequence[Shown], motions: Motions, *, repeated: bool
) -> list[tuple[Shown, _Places, float]]:
    """Of the neighbours on one side those that count, where the face's pixels lie in them, and how much they count.

    Args:
        repeated: whether a neighbour of the face repeats it. Then those up to the first that does not count, all alike;
            otherwise all do.
    """
    if not repeated:
        return list(zip(side, motions.along(face, side), _SHARES, strict=False))
    found: list[tuple[Shown, _Places, float]] = []
    for neighbour in side:
        if not _repeats(face, neighbour):
            return [*found, (neighbour, next(motions.along(face, [neighbour])), 1.0)]
        found.append((neighbour, _unmoved(face, neighbour), 1.0))
    return found


def _is_narrow(face: Shown) -> bool:
    return min(face.crop_rgb.shape[:2]) < _NARROWEST


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
        apart = cv2.GaussianBlur(_apart(key.crop_rgb, face.crop_rgb), (0, 0), _SAME_SIGMA)
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


def _unmoved(face: Shown, other: Shown) -> _Places:
    """Where the face's pixels lie in another's patch if nothing has moved in the picture."""
    tall, wide = face.patch_rgb.shape[:2]
    scale = wide / face.crop_rgb.shape[1]
    rows, columns = np.indices((tall, wide), np.float32)
    across, down = other.rect.x0 - face.rect.x0, other.rect.y0 - face.rect.y0
    return _Places(columns - np.float32(scale * across), rows - np.float32(scale * down))


def _looked_up(picture: NDArray[np.float32], places: _Places) -> NDArray[np.float32]:
    """(kH, kW): a picture's values at places in it; `_NOWHERE` where it has none."""
    found = np.asarray(cv2.remap(picture, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    found[~_inside(places, picture.shape)] = _NOWHERE
    return found


def _inside(places: _Places, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which places lie in a picture of that (height, width)."""
    inside: NDArray[np.bool_] = (places.x >= 0) & (places.y >= 0)
    inside &= (places.x <= shape[1] - 1) & (places.y <= shape[0] - 1)
    return inside


def _at(neighbour: Shown, places: _Places) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A neighbour's patch at places in it, and (kH, kW) 1 where it has pixels there, else 0."""
    moved = cv2.remap(neighbour.patch_rgb, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8), _inside(places, neighbour.patch_rgb.shape).astype(np.float32)


def _apart(first_rgb: NDArray[np.uint8], second_rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W): by how many grey levels two pictures differ, mean of the channels."""
    differing = cv2.absdiff(first_rgb, second_rgb).astype(np.float32)
    return np.asarray(cv2.transform(differing, _MEAN_OF_CHANNELS), np.float32)


def dense_flow(finder: cv2.DISOpticalFlow, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 2) px that each pixel of the first of two grey pictures moves, across and down."""
    return np.asarray(finder.calc(first, second, np.zeros((*first.shape, 2), np.float32)), np.float32)


def _grey(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _enlarged(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(grey, None, fx=_FLOW_SCALE, fy=_FLOW_SCALE, interpolation=cv2.INTER_CUBIC), np.uint8)
