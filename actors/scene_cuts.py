"""Where the picture about a face changes from one frame to the next: cuts, which nothing said of a face reaches across.

Cuts are looked for where faces are, not in whole pictures. When a slide changes beside a speaker, the speaker goes on;
when one tile of a meeting changes to someone else, only that tile has a cut.

As in PySceneDetect's AdaptiveDetector a change counts against what changes before and after it, so that motion is no
cut. In addition every frame shortly before is compared with every frame shortly after: after a flash they agree. The
measure is the structure term of SSIM (Wang et al., 2004) on small luma pictures: light that changes, changes it little.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame

from actors.colour import plane_views
from actors.geometry import Box

LONG_SIDE = 128
"""Of a luma thumbnail, pixels."""

NEIGHBOURS = 3
"""Frames on each side of a change that are compared: a flash of fewer frames is no cut."""

_REGION_MARGIN = 0.4
"""The region of a face is its box widened by this share of its size on each side: hair, shoulders, background."""

_SMALLEST_REGION = 8
"""Thumbnail pixels a side."""

_QUIET = 2.0
"""Mean change of a region from frame to frame, levels, below which it is not looked at closely."""

_NOISE = 6.0
"""Standard deviation, levels, of what is taken for noise: below it, pictures agree."""


_MOST_GAIN = 2.0
"""By which a picture of less contrast is raised before it is compared."""


class _Bound(NamedTuple):
    """What makes a change a cut."""

    difference: float
    """Least difference of the frames on either side of it, 0 to 1."""
    ratio: float
    """How many times the difference of neighbouring frames on the same side that must be."""


_OF_THE_PICTURE = _Bound(0.12, 2.5)
_WITH_THE_PICTURE = _Bound(0.08, 2.0)
_ALONE = _Bound(0.35, 3.0)
"""A region that changes when the whole picture does needs less than one that changes alone: a hand before the face."""

_Region = tuple[slice, slice]


def luma_thumbnail(frame: VideoFrame) -> np.ndarray:
    """(h, w) uint8, at most `LONG_SIDE` a side: the luma of a decoded frame, averaged."""
    shrink = min(1.0, LONG_SIDE / max(frame.width, frame.height))
    size = max(1, round(frame.width * shrink)), max(1, round(frame.height * shrink))
    bits = frame.format.components[0].bits
    if frame.format.is_planar and bits <= 16:
        luma = cv2.resize(plane_views(frame)[0], size, interpolation=cv2.INTER_AREA)
        return (luma.astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    return cv2.resize(frame.to_ndarray(format="gray"), size, interpolation=cv2.INTER_AREA)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """How little two luma pictures (h, w) of one size have in common: 0 the same structure, 1 none, above 1 opposed.

    Contrast counts only as far as it is more than doubled: light may be switched on.
    """
    a = first.astype(np.float32) - first.mean(dtype=np.float32)
    b = second.astype(np.float32) - second.mean(dtype=np.float32)
    var_a, var_b, both = float((a * a).mean()), float((b * b).mean()), float((a * b).mean())
    low, high = min(var_a, var_b), max(var_a, var_b)
    gain = min(_MOST_GAIN, math.sqrt(high / low)) if low > 0 else _MOST_GAIN
    noise = _NOISE**2
    return 1 - (2 * both * gain + noise) / (low * gain**2 + high + noise)


class SceneCuts:
    """Every frame of a window of the video, small, and the cuts that they show.

    Whether a frame begins a scene follows from `NEIGHBOURS` frames on each side, those at most `reach` away.
    """

    def __init__(self, frame_size: tuple[int, int], reach: Fraction) -> None:
        """
        Args:
            frame_size: (width, height) of the frames that boxes are told in, pixels.
            reach: ticks.
        """
        self._frame_size, self._reach = frame_size, reach
        self._pts: list[int] = []
        self._lumas: list[np.ndarray] = []
        self._picture_changes: dict[int, bool] = {}

    def add(self, frame: VideoFrame) -> None:
        """The next frame of the window; all are added before the first question."""
        assert frame.pts is not None
        self.add_luma(frame.pts, luma_thumbnail(frame))

    def add_luma(self, pts: int, luma: np.ndarray) -> None:
        """As `add`, of a frame whose `luma_thumbnail` is made."""
        self._pts.append(pts)
        self._lumas.append(luma)

    def within(self, here: Box, there: Box, after: int, until: int) -> Iterator[int]:
        """pts of each frame in (after, until] that shows another scene than the one before it, where a face is.

        Args:
            here: the face's box at `after`, source pixels.
            there: its box at `until`; on the way it moves evenly.
            after: pts of a frame of the window.
        """
        for at in range(bisect_right(self._pts, after), bisect_right(self._pts, until)):
            share = (self._pts[at] - after) / (until - after)
            box = Box(*(a + (b - a) * share for a, b in zip(here, there, strict=True)))
            if self._begins_scene(at, self._region(box)):
                yield self._pts[at]

    def between(self, here: Box, there: Box, after: int, until: int) -> bool:
        """Whether there is a cut within (after, until]."""
        return any(True for _ in self.within(here, there, after, until))

    def _begins_scene(self, at: int, region: _Region) -> bool:
        if at == 0 or self._change(at, region) < _QUIET:
            return False
        bound = _WITH_THE_PICTURE if self._picture_changes_at(at) else _ALONE
        return self._passes(at, region, bound)

    def _picture_changes_at(self, at: int) -> bool:
        if at not in self._picture_changes:
            self._picture_changes[at] = self._passes(at, (slice(None), slice(None)), _OF_THE_PICTURE)
        return self._picture_changes[at]

    def _change(self, at: int, region: _Region) -> float:
        return float(cv2.absdiff(self._lumas[at - 1][region], self._lumas[at][region]).mean())

    def _passes(self, at: int, region: _Region, bound: _Bound) -> bool:
        """Whether no frame before is like a frame after, and neighbours on either side are much more alike."""
        before = self._near(at - 1, -1)
        after = self._near(at, 1)
        pictures = {i: self._lumas[i][region] for i in (*before, *after)}
        if difference(pictures[at - 1], pictures[at]) <= bound.difference:
            return False
        beside = [difference(pictures[side[0]], pictures[side[1]]) for side in (before, after) if len(side) > 1]
        least = max(bound.difference, bound.ratio * max(beside, default=0.0))
        return all(difference(pictures[i], pictures[j]) > least for i, j in product(before, after))

    def _near(self, at: int, step: int) -> list[int]:
        """Frames from `at` on, forwards or backwards."""
        indices = range(at, at + step * NEIGHBOURS, step)
        return [i for i in indices if 0 <= i < len(self._pts) and abs(self._pts[i] - self._pts[at]) <= self._reach]

    def _region(self, box: Box) -> _Region:
        """Index of the thumbnail pixels about a face, inside the picture."""
        height, width = self._lumas[0].shape
        across, down = width / self._frame_size[0], height / self._frame_size[1]
        return (
            _span(box.y0 * down, box.y1 * down, height),
            _span(box.x0 * across, box.x1 * across, width),
        )


def _span(start: float, end: float, size: int) -> slice:
    """[start, end) with its margin, at least `_SMALLEST_REGION` long where `size` allows it."""
    half = max(_SMALLEST_REGION / 2, (end - start) * (0.5 + _REGION_MARGIN))
    first = min(max(0, round((start + end) / 2 - half)), max(0, size - _SMALLEST_REGION))
    return slice(first, max(min(size, round((start + end) / 2 + half)), min(size, first + _SMALLEST_REGION)))
