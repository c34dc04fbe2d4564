"""The frames that a shard reads tell all that the identity gate judges its faces by (promise 4 of the design)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.fading import stretches
from actors.geometry import Box, Placement, Rect
from actors.identity import Embedding
from actors.linking import link_tracks
from actors.routing import RoutingBounds, route_track
from actors.scene_cuts import SceneCuts
from actors.searched_faces import SearchedFaces
from actors.tiles import Tiles
from actors.tracking import DetectedFrame, Detection, DetectionGrid, TrackTimeline
from actors.witnesses import Witnesses
from storage.shards import PtsRange
from tests.actors.test_work import face

SIZE = (320, 240)
PLACEMENT = Placement(SIZE, (640, 480))
CELLS = 40
BOUNDS = RoutingBounds()
OWN = 20
"""The cell of the frame that is asked about."""


class Searched(SearchedFaces):
    """Every face that was found is kept, and its embedding says which it is."""

    def cut(self, found: Detection, crop: Rect) -> NDArray[np.uint8] | None:
        return np.zeros((crop.height, crop.width, 3), np.uint8) if found.identifier else None

    def embedding(self, found: Detection) -> Embedding | None:
        if not found.identifier:
            return None
        return np.random.default_rng(zlib.crc32(found.identifier.encode())).normal(size=4).astype(np.float32)


class Film:
    """One face of 90 px that wavers, which some searches miss, in a picture that flashes at some frames."""

    def __init__(self, seed: int, every: int, missed: Iterable[int], flashes: Iterable[int]) -> None:
        rng = np.random.default_rng(seed)
        self.grid = DetectionGrid(Fraction(-1, 2), Fraction(every), Fraction(1), Fraction(5))
        picture = rng.integers(0, 255, (24, 32))
        flashing = {pts: rng.integers(0, 255, (24, 32)) for pts in flashes}
        self._lumas = {pts: flashing.get(pts, picture) for pts in range(every * CELLS)}
        missed = frozenset(missed)
        self._frames = [
            DetectedFrame(every * cell, () if cell in missed else (found_in(cell, rng),)) for cell in range(CELLS)
        ]

    def said_of(self, pts: int, seen: PtsRange) -> list[object]:
        """What each witness of the face at a frame is, by what the frames in a range show."""
        cuts, tiles = SceneCuts(SIZE, self.grid.cut_reach), Tiles(SIZE)
        for at, luma in self._lumas.items():
            if at in seen:
                cuts.add_luma(at, luma.astype(np.uint8))
        frames = [frame for frame in self._frames if frame.pts in seen]
        timelines = [TrackTimeline.of(track, frames, cuts, tiles) for track in link_tracks(frames, cuts, tiles)]
        said: list[object] = []
        for timeline in timelines:
            at, found = timeline.position(pts), timeline.track.detections
            if at is not None:
                route = route_track([each.box.width for each in found], [each.sharpness for each in found], BOUNDS)
                own = stretches(timeline, [decision for _, decision in route])
                row = Witnesses(Searched(None, PLACEMENT, 0), PLACEMENT, {})
                one = replace(face(pts, 0, route[at][1]), track=0, box=timeline.box_at(pts), witnesses=())
                (told,) = row.of_faces([one], [timeline], [own])
                said.append((told.decision, told.along))
                said += [replace(row.called[each], crop_index=0) if each >= 0 else None for each in told.witnesses]
        return said


def found_in(cell: int, rng: np.random.Generator) -> Detection:
    box = Box(*map(float, np.array((100, 60, 190, 170)) + rng.normal(0, 0.4, 4)))
    points = ((30, 40), (60, 40), (45, 60), (30, 80), (60, 80))
    landmarks = tuple((box.x0 + x, box.y0 + y) for x, y in points)
    return Detection(box, landmarks, 0.9, 50 + float(rng.normal()), f"{cell}:0")


def unlucky(seed: int, every: int) -> Film:
    rng = np.random.default_rng([seed, every])
    missed = np.flatnonzero(rng.random(CELLS) < 0.25)
    flashes = every * np.flatnonzero(rng.random(CELLS) < 0.15) + rng.integers(0, min(3, every))
    return Film(seed, every, missed, map(int, flashes))


def missed_far_back(seed: int, every: int) -> Film:
    """A witness that is stood in for, and far before it a search to fill in, where a scene may begin."""
    return Film(seed, every, {OWN - 2, OWN - 11}, {every * (OWN - 12)})


def late(seed: int, every: int) -> Film:
    """The face appears behind the frame that it is said to be in, and far behind it a search is to fill in."""
    return Film(seed, every, {*range(OWN + 1), OWN + 12}, {every * (OWN + 13)})


@pytest.mark.parametrize("film_of", [unlucky, missed_far_back, late])
@pytest.mark.parametrize("every", [2, 3, 5, 9, 25])
def test_a_shards_window_tells_what_the_whole_video_tells(film_of: Callable[[int, int], Film], every: int) -> None:
    told = 0
    for seed in range(6):
        film = film_of(seed, every)
        for within in {every // 2, (every // 2 + 1) % every, every - 1}:
            pts = every * OWN + within
            whole = film.said_of(pts, PtsRange(None, None))
            assert film.said_of(pts, film.grid.window(PtsRange(pts, pts + 1))) == whole
            told += len(whole)
    assert told
