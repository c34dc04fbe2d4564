"""The tiles of a meeting are found where they are, for as long as they are there; nothing else is taken for one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from actors.appearance import appearance_of, likeness
from actors.blending import Patch, blend_patches
from actors.geometry import Box, Landmarks, Placement, Rect
from actors.linking import LEAST_ALIKE, link_tracks
from actors.tiles import Tiles
from actors.tracking import DetectedFrame, TrackTimeline
from tests.actors.test_tracking import NO_CUTS, NO_TILES, detection, landmarks_in

SIZE = (384, 288)
FRAME = Rect(0, 0, *SIZE)

Picture = NDArray[np.uint8]


def scene(seed: int, size: tuple[int, int] = SIZE) -> Picture:
    """A picture of soft shapes in colour with a little noise, as a camera sees a room."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 220, (5, 7, 3)).astype(np.float32)
    picture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


def meeting(tiles: list[Rect], seed: int = 0, back: int = 20) -> Picture:
    """Scenes in tiles before a plain background."""
    frame = np.full((SIZE[1], SIZE[0], 3), back, np.uint8)
    for number, tile in enumerate(tiles):
        frame[tile.slices] = scene(100 * seed + number, (tile.width, tile.height))
    return frame


def grid(columns: int, rows: int, gap: int = 0) -> list[Rect]:
    width, height = SIZE[0] // columns, SIZE[1] // rows
    return [
        Rect(x * width + gap, y * height + gap, (x + 1) * width - gap, (y + 1) * height - gap)
        for y, x in itertools.product(range(rows), range(columns))
    ]


def compressed(frame: Picture, quality: int = 40) -> Picture:
    _, coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def tiles_of(*frames: Picture, faces: tuple[Landmarks, ...] = ()) -> Tiles:
    """Of a video in which each frame is a cell, its pts the cell's number."""
    tiles = Tiles(SIZE)
    for cell, frame in enumerate(frames):
        tiles.add(cell, cell, frame, faces)
    return tiles


def middle(rect: Rect) -> Box:
    x, y = (rect.x0 + rect.x1) / 2, (rect.y0 + rect.y1) / 2
    return Box(x - 20, y - 25, x + 20, y + 25)


STRIP = [Rect(0, 0, 256, 288), *(Rect(256, y, 384, y + 96) for y in (0, 96, 192))]
LAST_ROW_CENTRED = [*grid(3, 2)[:3], Rect(64, 144, 192, 288), Rect(192, 144, 320, 288)]


@pytest.mark.parametrize(
    "layout",
    [*(grid(n, n, gap) for n in (2, 3) for gap in (0, 1, 4)), grid(4, 3), STRIP, LAST_ROW_CENTRED],
)
def test_each_tile_of_a_layout_is_found_to_two_pixels(layout: list[Rect]) -> None:
    tiles = tiles_of(*[compressed(meeting(layout))] * 3)
    for tile in layout:
        assert np.abs(np.subtract(tiles.tile_of(1, middle(tile)), tile)).max() <= 2


@pytest.mark.parametrize("quality", [20, 40, 90])
@pytest.mark.parametrize("seed", range(4))
def test_a_picture_without_a_grid_is_one_tile_however_blocky(seed: int, quality: int) -> None:
    tiles = tiles_of(*[compressed(scene(seed), quality)] * 3)
    assert {tiles.tile_of(1, middle(part)) for part in grid(3, 3)} == {FRAME}


def test_boxes_on_a_slide_are_no_tiles() -> None:
    slide = np.full((SIZE[1], SIZE[0], 3), 245, np.uint8)
    for x, y, width, height in ((20, 90, 110, 60), (150, 60, 90, 150), (20, 200, 80, 60), (270, 160, 90, 90)):
        cv2.rectangle(slide, (x, y), (x + width, y + height), (30, 60, 160), 2)
        cv2.putText(slide, "why", (x + 10, y + 50), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (10, 10, 10), 2)
    slide[:40, 40:200] = (20, 40, 90)
    slide[20:140, 260:370] = scene(3, (110, 120))
    tiles = tiles_of(*[compressed(slide)] * 3)
    assert tiles.tile_of(1, Box(290, 50, 330, 100)) == FRAME


def test_an_edge_that_moves_is_none_of_a_tile() -> None:
    tiles = tiles_of(*(meeting([Rect(0, 0, 180 + 8 * n, 288), Rect(180 + 8 * n, 0, 384, 288)]) for n in range(3)))
    assert tiles.tile_of(1, Box(40, 100, 80, 150)) == FRAME


def test_no_edge_runs_through_a_face() -> None:
    picture = meeting(grid(2, 1))
    assert tiles_of(picture).tile_of(0, middle(FRAME)) != FRAME
    assert tiles_of(picture, faces=(landmarks_in(middle(FRAME)),)).tile_of(0, middle(FRAME)) == FRAME


def test_an_edge_that_one_search_misses_is_there() -> None:
    tiles = tiles_of(*(meeting(grid(2, 2)), scene(5), meeting(grid(2, 2))))
    assert tiles.tile_of(1, middle(grid(2, 2)[0])) == grid(2, 2)[0]


def test_faces_in_neighbouring_tiles_are_apart_and_those_in_one_are_not() -> None:
    tiles = tiles_of(*[meeting(grid(2, 2))] * 3)
    left, right = Box(150, 50, 190, 100), Box(194, 50, 234, 100)
    assert tiles.apart(left, right, 0, 1)
    assert not tiles.apart(left, Box(140, 50, 180, 100), 0, 1)


def test_a_layout_that_changes_parts_a_face_that_stays_where_it_is_but_for_one_that_looks_the_same() -> None:
    face = Box(30, 30, 70, 80)
    before, after = meeting(grid(2, 2)), meeting(grid(3, 3))
    tiles = tiles_of(before, before, before, after, after, after)
    assert [tiles.change(face, face, at, at + 1) for at in range(5)] == [False, False, True, False, False]
    assert not any(tiles.apart(face, face, at, at + 1) for at in range(5))
    somebody, other = (appearance_of(scene(seed), face) for seed in (1, 2))
    assert likeness(somebody, other) < LEAST_ALIKE
    for later, firsts in ((somebody, [0]), (other, [0, 3])):
        looks = [somebody] * 3 + [later] * 3
        frames = [DetectedFrame(at, (replace(detection(face), appearance=look),)) for at, look in enumerate(looks)]
        assert [track.first for track in link_tracks(frames, NO_CUTS, tiles)] == firsts


def test_an_edge_that_weakens_for_a_while_parts_nothing() -> None:
    halves = grid(2, 1)
    weak = meeting(halves)
    weak[:120, 180:204] = cv2.resize(weak[:120, [180, 203]], (24, 120), interpolation=cv2.INTER_LINEAR)
    tiles = tiles_of(*[meeting(halves)] * 3, *[weak] * 3)
    face = Box(60, 180, 100, 230)
    assert tiles.tile_of(4, face) == FRAME
    assert not any(tiles.apart(face, face, at, at + 1) or tiles.change(face, face, at, at + 1) for at in range(5))


def test_a_track_ends_where_its_face_would_jump_to_the_next_tile() -> None:
    tiles = tiles_of(*[meeting(grid(2, 2))] * 6)
    inside, beyond = Box(120, 20, 230, 120), Box(160, 20, 270, 120)
    frames = [DetectedFrame(at, (detection(inside if at < 3 else beyond),)) for at in range(6)]
    assert [track.first for track in link_tracks(frames, NO_CUTS, NO_TILES)] == [0]
    assert [track.first for track in link_tracks(frames, NO_CUTS, tiles)] == [0, 3]


def test_the_crop_of_a_face_at_the_edge_of_its_tile_stays_inside_at_any_scale() -> None:
    tile = Rect(127, 96, 255, 193)
    for result in ((768, 576), (384, 288), (512, 384), (1000, 750)):
        placement = Placement(SIZE, result, (2, 2))
        crop = placement.crop_rect(Box(120, 90, 200, 200), tile)
        (fx, fy), place = placement.factors, placement.result_rect(crop)
        assert tile.x0 <= crop.x0 < crop.x1 <= tile.x1
        assert tile.y0 <= crop.y0 < crop.y1 <= tile.y1
        assert (tile.x0 * fx, tile.y0 * fy) == tuple(np.minimum(place[:2], (tile.x0 * fx, tile.y0 * fy)))
        assert (tile.x1 * fx, tile.y1 * fy) == tuple(np.maximum(place[2:], (tile.x1 * fx, tile.y1 * fy)))


def test_an_edge_that_is_missed_for_a_while_does_not_let_a_crop_out() -> None:
    left, hidden = grid(2, 1)[0], meeting(grid(2, 1))
    hidden[:120, 180:204] = cv2.resize(hidden[:120, [180, 203]], (24, 120), interpolation=cv2.INTER_LINEAR)
    tiles = tiles_of(*[meeting(grid(2, 1))] * 3, *[hidden] * 4)
    frames = [DetectedFrame(at, (detection(middle(left)),)) for at in range(7)]
    (track,) = link_tracks(frames, NO_CUTS, tiles)
    assert tiles.tile_of(5, middle(left)) == FRAME
    assert set(TrackTimeline.of(track, frames, NO_CUTS, tiles).tiles) == {left}


def test_a_face_at_the_edge_is_blended_up_to_it_and_not_beyond() -> None:
    tile, box = Rect(0, 0, 192, 288), Box(125, 90, 215, 180)
    rect = Placement(SIZE, SIZE, (1, 1)).crop_rect(box, tile)
    plane = np.full((SIZE[1], SIZE[0]), 100, np.uint8)
    patch = Patch((np.full((rect.height, rect.width), 160, np.uint8),), rect, box)
    blend_patches([plane], [patch], (1, 1), blend="feather")
    assert set(plane[:, 192:].ravel()) == {100}
    assert plane[135, 191] == 160
