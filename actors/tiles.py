"""The tiles of a meeting grid: straight, long, still edges at which one picture ends and another begins.

A frame is cut along edges from side to side, then each part along edges from side to side of it, and so on (the X-Y cut
of Nagy and Seth, 1984): a gallery, a speaker beside a strip of others, a slide beside a speaker. Where nothing runs
from side to side there is one tile, the frame: the boxes on a slide, a door, a shelf make none.

A cell of the detection grid shows an edge where two of the cells next to it and itself do, at the same pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Box, Landmarks, Rect

_BANDS = 96
"""An edge is looked for in so many stretches of a frame's width or height, each averaged along it."""

_LEAST_STEP = 10
"""Levels in any colour between the two sides of an edge."""

_STEP_RATIO = 1.5
"""How many times what the picture changes beside an edge, over as many pixels, the step must be."""

_ACROSS = 3
"""Pixels over which a step is measured: scaling and coarse chroma soften an edge."""

_SEEN = 0.75
"""Share of an edge's stretches in which it must show. Measured: 0.91 and more in a real grid, up to 0.56 elsewhere."""

_LEAST_CHANGE = 12
"""Mean levels from one pixel to the next along an edge: those of a coarse codec's blocks reach 10, real ones had 90."""

_STILL_SEEN = 0.4
"""Share below which an edge that was there is gone: the layout has changed."""

_SAME_PLACE = 3
"""Pixels within which two edges are one."""

_LEAST_SIDE = 1 / 12
"""Share of the frame's side below which a part is a gap between tiles."""

_FACE_SHARE = 0.05
"""Share of its width by which the landmarks of a face that lies across an edge reach over it, on both sides."""


class _Map(NamedTuple):
    """Edges across one side of the frame, in stretches of the other side."""

    band: int
    """Pixels of the other side to a stretch."""
    shown: NDArray[np.bool_]
    """(B, N): whether a stretch shows an edge between pixels n - 1 and n."""
    change: NDArray[np.uint8]
    """(B, N): levels from pixel n - 1 to n."""

    def part(self, start: int, end: int, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of [start, end), in the stretches inside [first, last): share with an edge, mean change; (N,) each."""
        begin = min(-(-first // self.band), len(self.shown) - 1)
        rows = slice(begin, max(begin + 1, last // self.band))
        return self.shown[rows, start:end].mean(axis=0), self.change[rows, start:end].mean(axis=0)


class _Edges(NamedTuple):
    """Where a frame shows edges."""

    upright: _Map
    """Between pixels x - 1 and x."""
    level: _Map
    """Between pixels y - 1 and y."""


class Tiles:
    """The tiles at every cell of a window in which faces are searched; all are added before the first question."""

    def __init__(self, frame_size: tuple[int, int]) -> None:
        """
        Args:
            frame_size: (width, height), pixels.
        """
        self._frame = Rect(0, 0, *frame_size)
        self._cells: dict[int, int] = {}
        self._edges: dict[int, _Edges] = {}
        self._faces: dict[int, tuple[Landmarks, ...]] = {}
        self._agreed: dict[int, _Edges] = {}
        self._found: dict[tuple[int, tuple[float, float]], Rect] = {}

    def add(self, cell: int, pts: int, frame_rgb: NDArray[np.uint8], faces: Sequence[Landmarks] = ()) -> None:
        """A frame that was searched.

        Args:
            cell: of the detection grid; only neighbours in it are compared.
            frame_rgb: (H, W, 3).
            faces: found in it: where one lies across an edge, it is no edge of a tile.
        """
        self._cells[pts] = cell
        self._faces[cell] = tuple(faces)
        self._edges[cell] = _edges_of(frame_rgb)

    def tile_of(self, pts: int, box: Box) -> Rect:
        """The tile in which a face's middle lies, pixels; the frame where there is no grid.

        Args:
            pts: of a frame that was added; of others nothing is known, and the tile is the frame.
        """
        cell = self._cells.get(pts)
        if cell is None:
            return self._frame
        asked = cell, _middle_of_box(box)
        if asked not in self._found:
            self._found[asked] = self._find(*asked)
        return self._found[asked]

    def _find(self, cell: int, middle: tuple[float, float]) -> Rect:
        edges, rect = self._edges_at(cell), self._frame
        while (part := self._part(edges, rect, middle, self._faces[cell])) != rect:
            rect = part
        return rect

    def apart(self, here: Box, there: Box, before: int, after: int) -> bool:
        """Whether an edge of a tile lies between two faces.

        Args:
            here: a face at pts `before`.
            there: a face at pts `after`.
        """
        own, its = self._tiles_of(here, there, before, after)
        return own != its and not (_is_inside(_middle_of_box(there), own) and _is_inside(_middle_of_box(here), its))

    def change(self, here: Box, there: Box, before: int, after: int) -> bool:
        """Whether the layout about two faces changes from the one to the other.

        Args:
            here: a face at pts `before`.
            there: a face at pts `after`.
        """
        own, its = self._tiles_of(here, there, before, after)
        return own != its and not (self._holds(own, self._cells[after]) and self._holds(its, self._cells[before]))

    def _tiles_of(self, here: Box, there: Box, before: int, after: int) -> tuple[Rect, Rect]:
        """The tiles of two faces; the frame for both where nothing is known of one of the moments."""
        if before not in self._cells or after not in self._cells:
            return self._frame, self._frame
        return self.tile_of(before, here), self.tile_of(after, there)

    def _edges_at(self, cell: int) -> _Edges:
        """Edges that two of a cell and its neighbours show; fewer where fewer were added."""
        if cell not in self._agreed:
            near = [self._edges[at] for at in (cell - 1, cell, cell + 1) if at in self._edges]
            self._agreed[cell] = _Edges(*(_agreed([edges[side] for edges in near]) for side in (0, 1)))
        return self._agreed[cell]

    def _part(self, edges: _Edges, rect: Rect, middle: tuple[float, float], faces: tuple[Landmarks, ...]) -> Rect:
        """The part about `middle` of a rectangle that is cut along edges from side to side; itself without any."""
        faces = tuple(face for face in faces if _is_inside(_middle_of(face), rect))
        upright = _lines(*edges.upright.part(rect.x0, rect.x1, rect.y0, rect.y1), rect.x0, [_span(f, 0) for f in faces])
        level = _lines(*edges.level.part(rect.y0, rect.y1, rect.x0, rect.x1), rect.y0, [_span(f, 1) for f in faces])
        x0, x1 = _about(middle[0], upright, rect.x0, rect.x1, self._frame.width * _LEAST_SIDE)
        y0, y1 = _about(middle[1], level, rect.y0, rect.y1, self._frame.height * _LEAST_SIDE)
        return Rect(x0, y0, x1, y1)

    def _holds(self, tile: Rect, cell: int) -> bool:
        """Whether the edges of a tile of another cell are there in this."""
        edges, frame = self._edges_at(cell), self._frame
        return all(
            at in (0, side)
            or shown.part(max(0, at - _SAME_PLACE), at + _SAME_PLACE + 1, *along)[0].max() >= _STILL_SEEN
            for shown, at, side, along in (
                (edges.upright, tile.x0, frame.width, (tile.y0, tile.y1)),
                (edges.upright, tile.x1, frame.width, (tile.y0, tile.y1)),
                (edges.level, tile.y0, frame.height, (tile.x0, tile.x1)),
                (edges.level, tile.y1, frame.height, (tile.x0, tile.x1)),
            )
        )


def _edges_of(frame_rgb: NDArray[np.uint8]) -> _Edges:
    height, width = frame_rgb.shape[:2]
    down, across = -(-height // _BANDS), -(-width // _BANDS)
    # Whole pixels to a band: OpenCV averages these several times faster.
    rows = cv2.resize(frame_rgb[: height // down * down], (width, height // down), interpolation=cv2.INTER_AREA)
    columns = cv2.resize(
        frame_rgb[:, : width // across * across], (width // across, height), interpolation=cv2.INTER_AREA
    )
    columns = columns.transpose(1, 0, 2)
    return _Edges(_map_of(np.asarray(rows, np.uint8), down), _map_of(np.asarray(columns, np.uint8), across))


def _map_of(bands_rgb: NDArray[np.uint8], band: int) -> _Map:
    """Where the colour steps from one pixel of a band to the next, more than it changes on either side.

    Args:
        bands_rgb: (B, N, 3).
    """
    size = (bands_rgb.shape[0], bands_rgb.shape[1])
    shown, change = np.zeros(size, np.bool_), np.zeros(size, np.uint8)
    change[:, 1:] = _apart(bands_rgb, 1)
    reach = 2 * _ACROSS - 1
    if shown.shape[1] > 2 * reach:
        over = _apart(bands_rgb, _ACROSS).astype(np.uint16)
        # over[k] is from pixel k to k + 3: the step at n is over[n - 2].
        step, before, after = over[:, _ACROSS:-_ACROSS], over[:, : -2 * _ACROSS], over[:, 2 * _ACROSS :]
        shown[:, reach : reach + step.shape[1]] = (
            (step >= _LEAST_STEP) & (2 * step > _STEP_RATIO * (before + after)) & (step > 2 * np.minimum(before, after))
        )
    return _Map(band, shown, change)


def _apart(bands_rgb: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """(B, N - pixels): levels from each pixel of a band to another, in the colour where these are most."""
    colours = [np.ascontiguousarray(bands_rgb[:, :, colour]) for colour in range(3)]
    red, green, blue = (cv2.absdiff(plane[:, pixels:], plane[:, :-pixels]) for plane in colours)
    return np.asarray(np.maximum(np.maximum(red, green), blue), np.uint8)


def _agreed(near: Sequence[_Map]) -> _Map:
    """What two of these show, or all where they are fewer, and the mean of their changes."""
    votes, change = np.zeros(near[0].shown.shape, np.uint8), np.zeros(near[0].shown.shape, np.uint16)
    for each in near:
        votes += each.shown
        change += each.change
    return _Map(near[0].band, np.asarray(votes >= min(2, len(near))), (change // len(near)).astype(np.uint8))


def _lines(
    shares: NDArray[np.float64], changes: NDArray[np.float64], start: int, faces: Sequence[tuple[float, float]]
) -> list[int]:
    """Places of edges from side to side of a rectangle, in order, without those that a face lies across.

    Args:
        shares: (N,) of the rectangle's other side, in which there is an edge at each of its pixels.
        changes: (N,) levels from the pixel before; an edge is where the change is steepest.
        start: the rectangle's first pixel.
        faces: from where to where each one reaches.
    """
    places: list[int] = []
    strong = np.flatnonzero(shares >= _SEEN)
    strong = strong[(strong > _SAME_PLACE) & (strong < len(shares) - _SAME_PLACE)]  # the ends are edges already
    for run in np.split(strong, np.flatnonzero(np.diff(strong) > _SAME_PLACE) + 1):
        if len(run):
            place = start + int(run[0]) + int(changes[run[0] : run[-1] + 1].argmax())
            crossed = any(first < place < last for first, last in faces)
            if not crossed and changes[place - start] >= _LEAST_CHANGE:
                places.append(place)
    return places


def _about(middle: float, lines: Sequence[int], start: int, end: int, least: float) -> tuple[int, int]:
    """The neighbours of `middle` among the lines and the ends; the ends where those are nearer than `least`."""
    inside = min(max(middle, start), end - 1)
    before = max(place for place in (start, *lines) if place <= inside)
    after = min(place for place in (*lines, end) if place > inside)
    return (before, after) if after - before >= least else (start, end)


def _span(face: Landmarks, axis: int) -> tuple[float, float]:
    """From where to where a face's landmarks reach, a little less."""
    along = [point[axis] for point in face]
    less = _FACE_SHARE * (max(along) - min(along))
    return min(along) + less, max(along) - less


def _middle_of(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _middle_of_box(box: Box) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def _is_inside(point: tuple[float, float], rect: Rect) -> bool:
    return rect.x0 <= point[0] < rect.x1 and rect.y0 <= point[1] < rect.y1
