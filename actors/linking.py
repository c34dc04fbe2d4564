"""Detections on the grid become tracks: by overlap, by looks where faces pass each other, never across a cut or a tile.

A link follows from the two grid points it joins, those in between and what `SceneCuts` and `Tiles` say of them: this is
local, as all of `actors.tracking`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from actors.appearance import likeness
from actors.geometry import Box
from actors.scene_cuts import SceneCuts
from actors.tiles import Tiles
from actors.tracking import FARTHEST_LINK, DetectedFrame, Detection, Track, blended

MIN_IOU = 0.3
"""Two detections of neighbouring grid points are one face when their boxes overlap at least this much."""

LIKENESS_WEIGHT = 4.0
"""What a face's likeness to another counts beside their overlap, where more than one may be its next detection."""

LEAST_ALIKE = 0.68
"""Likeness below which no link steps over a missed detection: where one of two who pass each other is hidden, the other
is soon at its place. Measured: two people are alike to 0.67 at most, one person from search to search to 0.9."""

STILL_ALIKE = 0.8
"""Likeness from which on a face that stays where it is is the same whatever becomes of the layout about it: an edge
that is taken for a tile's, a shelf or a door behind somebody, comes and goes. Measured there: 0.86 and more."""

FARTHEST_MOVE = 1.2
"""Widths of a face from one search to the next within which another detection may be it."""


def link_tracks(frames: Sequence[DetectedFrame], cuts: SceneCuts, tiles: Tiles) -> list[Track]:
    """Chain detections into tracks, ordered by first grid point and then by position in that frame.

    Neighbouring grid points are matched by the assignment that maximises the total overlap, and likeness where boxes
    cross; what stays unmatched on both sides of one grid point is then matched across it. Nothing is matched across a
    cut, nor from one tile of a meeting to another.
    """
    following = _links(frames, cuts, tiles)
    has_past = {(at, index) for at, index in following.values()}
    return [
        _chain(frames, following, at, index)
        for at, frame in enumerate(frames)
        for index in range(len(frame.faces))
        if (at, index) not in has_past
    ]


def _links(frames: Sequence[DetectedFrame], cuts: SceneCuts, tiles: Tiles) -> dict[tuple[int, int], tuple[int, int]]:
    """(grid point, index) of each linked detection -> the same of its successor."""
    links: dict[tuple[int, int], tuple[int, int]] = {}
    for at in range(len(frames) - 1):
        everyone = range(len(frames[at].faces)), range(len(frames[at + 1].faces))
        for here, there in _match(frames[at], frames[at + 1], *everyone, 1, cuts, tiles):
            links[at, here] = (at + 1, there)
    taken = set(links.values())
    direct = set(links)
    for at in range(len(frames) - FARTHEST_LINK):
        ended = [i for i in range(len(frames[at].faces)) if (at, i) not in direct]
        begun = [i for i in range(len(frames[at + FARTHEST_LINK].faces)) if (at + FARTHEST_LINK, i) not in taken]
        for here, there in _match(frames[at], frames[at + FARTHEST_LINK], ended, begun, FARTHEST_LINK, cuts, tiles):
            links[at, here] = (at + FARTHEST_LINK, there)
    return links


def _match(
    before: DetectedFrame,
    after: DetectedFrame,
    rows: Sequence[int],
    columns: Sequence[int],
    searches: int,
    cuts: SceneCuts,
    tiles: Tiles,
) -> list[tuple[int, int]]:
    """Pairs of faces, of `rows` before and of `columns` `searches` later, that are one."""
    if not rows or not columns:
        return []

    def shared(one: Detection, other: Detection) -> float:
        overlap = iou(one.box, other.box)
        asked = one.box, other.box, before.pts, after.pts
        parted = overlap >= MIN_IOU and (
            tiles.apart(*asked) or cuts.between(*asked) or (tiles.change(*asked) and _alike(one, other) < STILL_ALIKE)
        )
        return 0.0 if parted else overlap

    here, there = [before.faces[i] for i in rows], [after.faces[j] for j in columns]
    overlap = np.array([[shared(one, other) for other in there] for one in here])
    if searches > 1:
        overlap[[[_alike(one, other) < LEAST_ALIKE for other in there] for one in here]] = 0
    possible = overlap >= MIN_IOU
    chosen = linear_sum_assignment(_worth(here, there, overlap, searches), maximize=True)
    pairs = [(int(i), int(j)) for i, j in zip(*chosen, strict=True)]
    return [(rows[i], columns[j]) for i, j in pairs if possible[i, j]]


def _worth(
    here: Sequence[Detection], there: Sequence[Detection], overlap: NDArray[np.float64], searches: int
) -> NDArray[np.float64]:
    """What each pair is worth: its overlap, and where a face has more than one near it, its likeness.

    A pair that cannot be is worth nothing, so that it never costs another its partner. One that is near but does not
    overlap may: of two that pass each other quickly, each may overlap with the other alone, and better none is linked.
    """
    possible = np.asarray(overlap >= MIN_IOU)
    quick = [[_near(one.box, other.box, searches) for other in there] for one in here]
    near = np.asarray(possible | np.array(quick), np.bool_)
    rivals = near & np.logical_or.outer(near.sum(axis=1) > 1, near.sum(axis=0) > 1)
    rivals &= np.logical_or.outer(possible.any(axis=1), possible.any(axis=0))
    worth = np.where(possible, overlap, 0.0)
    for i, j in zip(*np.nonzero(rivals), strict=True):
        worth[i, j] += LIKENESS_WEIGHT * _alike(here[i], there[j])
    return worth


def _alike(one: Detection, other: Detection) -> float:
    """Likeness, 0 to 1; 1 where it is not known."""
    if one.appearance is None or other.appearance is None:
        return 1.0
    return likeness(one.appearance, other.appearance)


def _near(one: Box, other: Box, searches: int) -> bool:
    """Whether a quick face may have come from one place to the other in so many searches."""
    across = (one.x0 + one.x1 - other.x0 - other.x1) / 2
    down = (one.y0 + one.y1 - other.y0 - other.y1) / 2
    width = (one.width + other.width) / 2
    return math.hypot(across, down) <= searches * FARTHEST_MOVE * width and abs(one.width - other.width) < width / 2


def _chain(
    frames: Sequence[DetectedFrame], following: dict[tuple[int, int], tuple[int, int]], at: int, index: int
) -> Track:
    first, chain = at, [frames[at].faces[index]]
    while (at, index) in following:
        next_at, next_index = following[at, index]
        found = frames[next_at].faces[next_index]
        if next_at - at > 1:
            chain.append(_between(chain[-1], found))
        chain.append(found)
        at, index = next_at, next_index
    return Track(first, tuple(chain))


def _between(before: Detection, after: Detection) -> Detection:
    box = Box(*((a + b) / 2 for a, b in zip(before.box, after.box, strict=True)))
    landmarks = blended(before.landmarks, after.landmarks, 0.5)
    return Detection(box, landmarks, (before.score + after.score) / 2, (before.sharpness + after.sharpness) / 2)


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    across = min(first.x1, second.x1) - max(first.x0, second.x0)
    down = min(first.y1, second.y1) - max(first.y0, second.y0)
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    return shared / (first.width * first.height + second.width * second.height - shared)
