"""Faces over time: where they are searched for, what a track is, and its box in every frame.

Everything here is local: what is said about a frame follows from the cells about it that `DetectionGrid.window` counts.
Two shards that both see that neighbourhood say the same, which is what lets a video be cut anywhere (promise 4 of the
design).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from actors import scene_cuts
from actors.geometry import Box, Landmarks, Rect
from actors.routing import MEMORY, WINDOW_RADIUS
from actors.scene_cuts import SceneCuts
from actors.smoothing import REACH, STAYING_REACH, STILL, smoothed
from actors.tiles import Tiles
from storage.probe import VideoProbe
from storage.shards import PtsRange

FARTHEST_LINK = 2
"""Grid points from a detection to the next of its track: a link may step over one missed detection."""

FADE_SECONDS = Fraction(1, 5)
"""Time in which a restored face comes and goes, of the video's own: no pop, and little of a face's time."""

NEIGHBOUR_FRAMES = Fraction(3, 2)
"""Nominal frames from a frame to its neighbour at most: what is farther is another moment."""

NEIGHBOURS = 4
"""Frames on either side that steady a face."""

_LEAD_IN = MEMORY + WINDOW_RADIUS + FARTHEST_LINK
"""Cells before one that is faded over of which the detections count for a decision there and for a link."""

_FILLED_IN = FARTHEST_LINK - 1
"""Cells from a missed detection to the farther one of the two between which it is filled in."""

LOOKS_BACK, LOOKS_AHEAD = 2, 3
"""Grid points from a frame's own to the farthest by whose witnesses it is judged: those at most two from either of the
grid points that it lies between."""

KEYS_BACK, KEYS_AHEAD = 4, 5
"""Grid points, from a frame's own, at which a face that stays in its place is looked at to show it in that frame."""


@dataclass(frozen=True)
class DetectionGrid:
    """The instants at which faces are detected: the first frame of every cell of a grid fixed by the video alone."""

    origin: Fraction
    """Half a nominal frame before the video's first pts, so that rounded timestamps do not straddle a grid point."""
    step: Fraction
    """Ticks from one grid point to the next."""
    frame: Fraction
    """Ticks of a nominal frame."""
    fade: Fraction
    """Ticks in which a restored face comes and goes."""

    @classmethod
    def of(cls, probe: VideoProbe, detect_every: int) -> DetectionGrid:
        """A grid of one detection in every `detect_every` nominal frames."""
        step = max(Fraction(1), probe.frame_ticks * detect_every)
        return cls(probe.first_pts - probe.frame_ticks / 2, step, probe.frame_ticks, FADE_SECONDS / probe.time_base)

    def cell(self, pts: int) -> int:
        """Index of the cell that holds `pts`."""
        return math.floor((pts - self.origin) / self.step)

    def start_of(self, cell: int) -> int:
        """The lowest pts in a cell."""
        return math.ceil(self.origin + cell * self.step)

    def window(self, wanted: PtsRange) -> PtsRange:
        """The frames that must be looked at to say where faces are in `wanted`: whole cells on both sides."""
        start = end = None
        near = self.with_neighbours(wanted)
        if near.start is not None:
            start = self.start_of(self.cell(near.start) - self.lead_in_cells)
        if near.end is not None:
            end = self.start_of(self.cell(near.end - 1) + self.lead_out_cells + 1)
        return PtsRange(start, end)

    @property
    def neighbour(self) -> int:
        """Ticks from a frame to the farthest that counts as the next one to it."""
        return math.ceil(NEIGHBOUR_FRAMES * self.frame)

    def with_neighbours(self, wanted: PtsRange) -> PtsRange:
        """A range grown by the frames next to it, whose faces steady its own."""
        reach = NEIGHBOURS * self.neighbour
        return PtsRange(
            None if wanted.start is None else wanted.start - reach, None if wanted.end is None else wanted.end + reach
        )

    @property
    def lead_in_cells(self) -> int:
        """Cells before a shard that count for what is said in it."""
        # A witness that was missed is stood in for by the one before. Its rectangle follows from the STAYING_REACH grid
        # points before it, the first of which may be filled in from one farther back.
        seen = LOOKS_BACK + _FILLED_IN + STAYING_REACH + _FILLED_IN
        return max(self._cells(self.fade) + _LEAD_IN, seen) + self._cells(self.cut_reach)

    @property
    def lead_out_cells(self) -> int:
        """Cells after a shard, likewise."""
        # A frame before its track's first grid point is told of by that one, which is the next.
        seen = 1 + max(LOOKS_AHEAD + STAYING_REACH, KEYS_AHEAD) + _FILLED_IN
        faded = self._cells(self.fade) + WINDOW_RADIUS + FARTHEST_LINK
        return max(faded, seen) + self._cells(self.cut_reach)

    @property
    def cut_reach(self) -> Fraction:
        """Ticks on either side of a frame in which it shows whether a scene begins with it."""
        return max(self.step, scene_cuts.NEIGHBOURS * self.frame)

    def _cells(self, ticks: Fraction) -> int:
        return math.ceil(ticks / self.step)


@dataclass(frozen=True)
class Detection:
    """One face found in one frame."""

    box: Box
    landmarks: Landmarks
    score: float
    """0 to 1."""
    sharpness: float
    """Variance of the Laplacian inside the box."""
    identifier: str = ""
    """`pts:index`, the same in whichever shard the frame is looked at; empty where a missed detection was filled in."""
    appearance: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
    """`actors.appearance.appearance_of` it; None where it is not known."""


@dataclass(frozen=True)
class DetectedFrame:
    """The faces found at one grid point."""

    pts: int
    faces: tuple[Detection, ...]
    searched: bool = True
    """False for a cell in which the video has no frame: nothing is known of it, and `pts` is where it begins."""


@dataclass(frozen=True)
class Track:
    """One face over consecutive grid points, missed detections filled in."""

    first: int
    """Index of its first grid point among the detected frames."""
    detections: tuple[Detection, ...]


def blended(before: Landmarks, after: Landmarks, share: float) -> Landmarks:
    """Points on the way from one place to the other, `share` of the way along."""
    return tuple(
        (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share) for (x0, y0), (x1, y1) in zip(before, after, strict=True)
    )


def smoothed_boxes(track: Track) -> list[Box]:
    """The track's boxes without the detector's jitter."""
    boxes = np.array([found.box for found in track.detections], dtype=np.float64)
    return [Box(*map(float, box)) for box in smoothed(boxes, _widths(track))]


def smoothed_landmarks(track: Track) -> list[Landmarks]:
    """The track's landmarks without the detector's jitter."""
    places = np.array([found.landmarks for found in track.detections], dtype=np.float64)
    steady = smoothed(places.reshape(len(places), -1), _widths(track)).reshape(places.shape)
    return [tuple((float(x), float(y)) for x, y in landmarks) for landmarks in steady]


def _widths(track: Track) -> np.ndarray:
    return np.array([found.box.width for found in track.detections], dtype=np.float64)


def _steady_tiles(tiles: Sequence[Rect]) -> tuple[Rect, ...]:
    """At each grid point of a track, what is in all of its tiles near it: an edge may be missed at one of them.

    Where an edge appears or goes beside a face that keeps its place, its crop ends there that much earlier, or longer.
    """
    steady = []
    for at in range(len(tiles)):
        near = tiles[max(0, at - REACH) : at + REACH + 1]
        steady.append(
            Rect(
                max(tile.x0 for tile in near),
                max(tile.y0 for tile in near),
                min(tile.x1 for tile in near),
                min(tile.y1 for tile in near),
            )
        )
    return tuple(steady)


def _appears(before: DetectedFrame, first: int, box: Box, cuts: SceneCuts) -> tuple[int, bool]:
    """pts from which a face is there that is found at `first`, not at the grid point before; and whether all at once.

    It is by a cut, and behind a gap, where the face may have been before: a window that begins there looks the same.
    """
    if not before.searched:
        return first, True
    begun = list(cuts.within(box, box, before.pts, first))
    return (begun[-1], True) if begun else ((before.pts + first + 1) // 2, False)


def _goes(last: int, after: DetectedFrame, box: Box, cuts: SceneCuts) -> tuple[int, bool]:
    """pts from which a face is gone that is found at `last`, not at the grid point after; and whether all at once."""
    begun = next(cuts.within(box, box, last, after.pts), None)
    if begun is not None:
        return begun, True
    return ((last + after.pts + 1) // 2, False) if after.searched else (after.pts, True)


@dataclass(frozen=True)
class TrackTimeline:
    """A track's smoothed boxes and landmarks on the grid, ready to be asked for any frame."""

    track: Track
    grid_pts: tuple[int, ...]
    """pts of the track's grid points."""
    boxes: tuple[Box, ...]
    landmarks: tuple[Landmarks, ...]
    tiles: tuple[Rect, ...]
    """The tile of a meeting that the face is in, source pixels: the frame where there is no grid."""
    starts: int | None
    """pts from which the face is there; None: from the beginning of the video."""
    ends: int | None
    """pts from which it is gone; None: it stays to the end."""
    fades_in: int | None
    """`starts`, or None where a cut, a gap or the video's beginning is there: the face does not appear, it is seen."""
    fades_out: int | None
    """`ends`, likewise."""

    @classmethod
    def of(
        cls, track: Track, frames: Sequence[DetectedFrame], cuts: SceneCuts, tiles: Tiles, *, smoothing: bool = True
    ) -> TrackTimeline:
        """A track is there from half-way after the last grid point without it to half-way before the next such.

        Where a cut bounds the track, it is there up to the cut; where a gap in the video, not a search without it,
        does, up to the gap.
        """
        last = track.first + len(track.detections) - 1
        pts = tuple(frames[at].pts for at in range(track.first, last + 1))
        starts = ends = fades_in = fades_out = None
        if track.first > 0:
            starts, at_once = _appears(frames[track.first - 1], pts[0], track.detections[0].box, cuts)
            fades_in = None if at_once else starts
        if last < len(frames) - 1:
            ends, at_once = _goes(pts[-1], frames[last + 1], track.detections[-1].box, cuts)
            fades_out = None if at_once else ends
        boxes = smoothed_boxes(track) if smoothing else [found.box for found in track.detections]
        landmarks = smoothed_landmarks(track) if smoothing else [found.landmarks for found in track.detections]
        own = _steady_tiles([tiles.tile_of(at, found.box) for at, found in zip(pts, track.detections, strict=True)])
        return cls(track, pts, tuple(boxes), tuple(landmarks), own, starts, ends, fades_in, fades_out)

    def position(self, pts: int) -> int | None:
        """Index of the grid point whose cell `pts` is in, clamped to the track; None where the face is not there."""
        if (self.starts is not None and pts < self.starts) or (self.ends is not None and pts >= self.ends):
            return None
        return max(0, bisect_right(self.grid_pts, pts) - 1)

    def box_at(self, pts: int) -> Box:
        """The box at `pts`: linear between grid points, held beyond the first and the last."""
        before, after, share = self._between(pts)
        return Box(*(a + (b - a) * share for a, b in zip(self.boxes[before], self.boxes[after], strict=True)))

    def still_box_at(self, pts: int) -> Box | None:
        """What holds every box found near `pts`, where the face stays in its place; None where it moves.

        Near are the grid points at most `REACH` away.
        """
        before, after, share = self._between(pts)
        last = after if share > 0 else before
        found = np.array([found.box for found in self.track.detections[max(0, before - REACH) : last + REACH + 1]])
        low, high = found.min(axis=0), found.max(axis=0)
        if (high - low).max() > STILL * self.boxes[before].width:
            return None
        return Box(float(low[0]), float(low[1]), float(high[2]), float(high[3]))

    def landmarks_at(self, pts: int) -> Landmarks:
        """The landmarks at `pts`, as the box."""
        before, after, share = self._between(pts)
        return blended(self.landmarks[before], self.landmarks[after], share)

    def along(self, pts: int) -> float:
        """How far `pts` is from the grid point at or before it to the next, 0 to 1; 0 beyond the first and the last."""
        return self._between(pts)[2]

    def _between(self, pts: int) -> tuple[int, int, float]:
        """Indices of the grid points around `pts`, and how far it is from the one to the other, 0 to 1."""
        after = bisect_right(self.grid_pts, pts)
        if after in (0, len(self.grid_pts)):
            held = max(0, after - 1)
            return held, held, 0.0
        start, end = self.grid_pts[after - 1], self.grid_pts[after]
        return after - 1, after, (pts - start) / (end - start)

    def anchor_before(self, pts: int | None) -> str:
        """Identifier of the track's last real detection before `pts`; empty when there is none.

        The two shards that meet at `pts` both know it, so equal anchors there mean the same face.
        """
        if pts is None:
            return ""
        for at in range(len(self.grid_pts) - 1, -1, -1):
            if self.grid_pts[at] < pts and self.track.detections[at].identifier:
                return self.track.detections[at].identifier
        return ""
