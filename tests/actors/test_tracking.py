"""Faces over time: no lag, no jitter, no dependence on where the video was cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.face_detector import _cells_near
from actors.fading import stretches
from actors.geometry import Box, Landmarks, Rect
from actors.linking import iou, link_tracks
from actors.routing import Decision, RoutingBounds, Tier, route_track
from actors.scene_cuts import SceneCuts
from actors.smoothing import REACH, STILL
from actors.tiles import Tiles
from actors.tracking import (
    FARTHEST_LINK,
    DetectedFrame,
    Detection,
    DetectionGrid,
    TrackTimeline,
)
from storage.shards import PtsRange
from tests.storage.test_shards import probe_of

BOUNDED = settings(max_examples=80, deadline=None, derandomize=True)
STEP = 5
FADE = 7
BOUNDS = RoutingBounds()
GRID = DetectionGrid(Fraction(-1, 2), Fraction(STEP), Fraction(1), Fraction(FADE))
NO_CUTS = SceneCuts((320, 240), GRID.cut_reach)
NO_TILES = Tiles((320, 240))


def landmarks_in(box: Box) -> Landmarks:
    """Five points of a face in this box, each at its share of it."""
    places = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
    return tuple((box.x0 + x * box.width, box.y0 + y * box.height) for x, y in places)


def detection(box: Box, score: float = 1, sharpness: float = 1, identifier: str = "") -> Detection:
    return Detection(box, landmarks_in(box), score, sharpness, identifier)


def frame_of(pts: int, *boxes: tuple[float, float, float, float], sharpness: float = 100.0) -> DetectedFrame:
    faces = tuple(detection(Box(*box), 0.99, sharpness, f"{pts}:{n}") for n, box in enumerate(sorted(boxes)))
    return DetectedFrame(pts, faces)


def moving(count: int, speed: float = 3.0) -> list[DetectedFrame]:
    """One face of 80 px that moves evenly."""
    return [frame_of(STEP * k, (speed * k, 10, speed * k + 80, 100)) for k in range(count)]


def timelines(frames: list[DetectedFrame], cuts: SceneCuts = NO_CUTS, tiles: Tiles = NO_TILES) -> list[TrackTimeline]:
    return [TrackTimeline.of(track, frames, cuts, tiles) for track in link_tracks(frames, cuts, tiles)]


@BOUNDED
@given(st.integers(1, 12), st.floats(-8, 8).filter(lambda speed: abs(speed) * REACH > STILL * 80), st.integers(0, 60))
def test_an_even_motion_is_followed_without_lag(count: int, speed: float, pts: int) -> None:
    (timeline,) = timelines(moving(count, speed))
    at = min(pts, STEP * (count - 1)) / STEP
    assert timeline.box_at(pts) == pytest.approx((speed * at, 10, speed * at + 80, 100))


@BOUNDED
@given(st.integers(1, 12), st.floats(-8, 8), st.integers(0, 60))
def test_landmarks_stay_where_they_are_in_a_box_that_moves(count: int, speed: float, pts: int) -> None:
    (timeline,) = timelines(moving(count, speed))
    np.testing.assert_allclose(timeline.landmarks_at(pts), landmarks_in(timeline.box_at(pts)), atol=1e-9)


def test_a_missed_detection_has_landmarks_between_its_neighbours() -> None:
    frames = [frame_of(0, (0, 0, 80, 90)), frame_of(STEP), frame_of(2 * STEP, (8, 4, 88, 94))]
    (track,) = link_tracks(frames, NO_CUTS, NO_TILES)
    np.testing.assert_allclose(track.detections[1].landmarks, landmarks_in(Box(4, 2, 84, 92)))


def test_between_grid_points_boxes_lie_on_a_line() -> None:
    (timeline,) = timelines([frame_of(0, (0, 0, 80, 80)), frame_of(10, (10, 0, 100, 80))])
    assert timeline.box_at(4) == pytest.approx((4, 0, 88, 80))
    assert timeline.box_at(-3) == timeline.box_at(0)
    assert timeline.box_at(30) == timeline.box_at(10)


def test_one_missed_detection_is_bridged() -> None:
    frames = moving(7)
    frames[3] = DetectedFrame(frames[3].pts, ())
    (timeline,) = timelines(frames)
    assert timeline.box_at(15) == pytest.approx((9, 10, 89, 100))
    assert timeline.track.detections[3].identifier == ""


def test_two_missed_detections_end_a_track() -> None:
    frames = moving(8)
    frames[3], frames[4] = DetectedFrame(15, ()), DetectedFrame(20, ())
    assert [(track.first, len(track.detections)) for track in link_tracks(frames, NO_CUTS, NO_TILES)] == [
        (0, 3),
        (5, 3),
    ]


def test_faces_that_stand_apart_stay_apart() -> None:
    frames = [frame_of(STEP * k, (2 * k, 0, 2 * k + 50, 50), (200 - 2 * k, 0, 250 - 2 * k, 50)) for k in range(9)]
    found = link_tracks(frames, NO_CUTS, NO_TILES)
    assert [len(track.detections) for track in found] == [9, 9]
    assert all(iou(a.box, b.box) > 0.8 for track in found for a, b in pairwise(track.detections))


def test_a_face_appears_and_goes_half_way_to_the_next_search() -> None:
    frames = [DetectedFrame(0, ()), *(frame_of(pts, (0, 0, 80, 80)) for pts in (10, 20)), DetectedFrame(30, ())]
    (timeline,) = timelines(frames)
    assert [pts for pts in range(40) if timeline.position(pts) is not None] == list(range(5, 25))
    assert [timeline.position(pts) for pts in (5, 9, 10, 19, 20, 24)] == [0, 0, 0, 0, 1, 1]


def test_a_face_that_is_there_throughout_has_no_end() -> None:
    (timeline,) = timelines(moving(3))
    assert timeline.position(-(10**6)) == 0
    assert timeline.position(10**6) == 2


def test_anchors_name_the_last_real_detection() -> None:
    frames = moving(6)
    frames[2] = DetectedFrame(10, ())
    (timeline,) = timelines(frames)
    assert [timeline.anchor_before(pts) for pts in (None, 0, 1, 6, 11, 15, 16)] == [
        "",
        "",
        "0:0",
        "5:0",
        "5:0",
        "5:0",
        "15:0",
    ]


@BOUNDED
@given(
    st.integers(-(10**6), 2**33), st.integers(1, 30), st.sampled_from([Fraction(1), Fraction(3003), Fraction(1001, 3)])
)
def test_every_pts_lies_in_the_cell_it_is_counted_to(pts: int, every: int, ticks: Fraction) -> None:
    grid = DetectionGrid(Fraction(7, 2), every * ticks, ticks, 5 * ticks)
    cell = grid.cell(pts)
    assert grid.start_of(cell) <= pts < grid.start_of(cell + 1)


def test_frames_with_rounded_timestamps_fall_into_cells_evenly() -> None:
    probe = probe_of(Fraction(1, 1000), duration=None)
    grid = DetectionGrid.of(probe, 5)
    cells = [grid.cell(round(n * 40.0) + jitter) for n, jitter in zip(range(50), [0, 1, -1, 0, 1] * 10, strict=True)]
    assert cells == [n // 5 for n in range(50)]


@st.composite
def scenes(draw: st.DrawFn) -> list[DetectedFrame]:
    """Up to 36 grid points of up to three faces that stay, wander, flicker, cross and change size about the bounds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    length = draw(st.integers(1, 36))
    missed = draw(st.sampled_from([0.0, 0.1, 0.3]))
    faces = []
    for _ in range(draw(st.integers(1, 3))):
        moves = rng.choice([0.02, 0.1, 1.0])
        width = rng.choice([50.0, 100.0, 150.0]) + np.cumsum(moves * rng.normal(0, 4, length))
        left = rng.uniform(0, 150) + np.cumsum(moves * rng.normal(0, 8, length))
        sharpness = 100 + np.cumsum(rng.normal(0, 6, length))
        there = rng.random(length) >= missed
        faces.append((width, left, sharpness, there))
    frames = []
    for k in range(length):
        boxes = sorted(
            (Box(left[k], 20.0, left[k] + abs(width[k]) + 10, 30 + abs(width[k])), float(sharpness[k]))
            for width, left, sharpness, there in faces
            if there[k]
        )
        pts = STEP * k
        frames.append(
            DetectedFrame(pts, tuple(detection(box, 0.9, q, f"{pts}:{n}") for n, (box, q) in enumerate(boxes)))
        )
    return frames


@st.composite
def cuts_of(draw: st.DrawFn) -> Callable[[PtsRange], SceneCuts]:
    """What a window of a video of up to 36 grid points shows of up to six cuts; a third of the picture may go on."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    begin = sorted(draw(st.sets(st.integers(1, 36 * STEP), max_size=6)))
    scenes = rng.integers(0, 255, (len(begin) + 1, 24, 32), np.uint8)
    if draw(st.booleans()):
        scenes[:, :, :10] = scenes[0, :, :10]
    lumas = [scenes[bisect_right(begin, pts)] + rng.integers(0, 3, (24, 32), np.uint8) for pts in range(37 * STEP)]

    def seen(window: PtsRange) -> SceneCuts:
        cuts = SceneCuts((320, 240), GRID.cut_reach)
        for pts, luma in enumerate(lumas):
            if pts in window:
                cuts.add_luma(pts, luma)
        return cuts

    return seen


Told = dict[int, list[tuple[Box, Rect, Tier, Decision, float]]]


def said_about(frames: list[DetectedFrame], cuts: SceneCuts, owned: PtsRange, tiles: Tiles = NO_TILES) -> Told:
    """Box, tile, tier, decision and strength of every face in every owned frame."""
    told: Told = {}
    for timeline in timelines(frames, cuts, tiles):
        found = timeline.track.detections
        routes = route_track([each.box.width for each in found], [each.sharpness for each in found], BOUNDS)
        fades = stretches(timeline, [decision for _, decision in routes])
        for pts in range(owned.start or 0, owned.end or 0):
            if (at := timeline.position(pts)) is not None:
                strength = fades[at].strength(pts, GRID.fade)
                told.setdefault(pts, []).append((timeline.box_at(pts), timeline.tiles[at], *routes[at], strength))
    return {pts: sorted(faces) for pts, faces in told.items()}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(scenes(), cuts_of(), st.integers(4, 3 * STEP))
def test_shards_that_see_their_windows_say_what_the_whole_video_says(
    frames: list[DetectedFrame], cuts: Callable[[PtsRange], SceneCuts], length: int
) -> None:
    last = STEP * len(frames)
    whole = said_about(frames, cuts(PtsRange(None, None)), PtsRange(0, last))
    for start in range(0, last, length):
        owned = PtsRange(start, min(last, start + length))
        window = GRID.window(owned)
        told = said_about([frame for frame in frames if frame.pts in window], cuts(window), owned)
        assert told == {pts: faces for pts, faces in whole.items() if pts in owned}


def test_shards_that_see_their_windows_say_what_the_whole_video_says_of_tiles() -> None:
    """Layouts change at the 13th and 20th grid point; faces cross edges; one stays, and is another from the 20th on."""
    rng = np.random.default_rng(3)
    pictures = [np.full((60, 80, 3), 30, np.uint8) for _ in range(3)]
    pictures[0][:, 40:] = pictures[1][:30] = pictures[2][20:, 20:] = 190
    shown = [pictures[bisect_right((13, 20), at)] for at in range(30)]
    stays = Box(44, 22, 74, 52)
    looks = rng.integers(40, 200, (2, 9, 6, 3), np.uint8)
    frames = []
    for at, x in enumerate(np.cumsum(rng.uniform(-7, 7, (30, 2)), axis=0)[:, 0]):
        frame = frame_of(STEP * at, (30 + x, 5, 60 + x, 35), (x, 20, 30 + x, 50), stays)
        frames.append(replace(frame, faces=tuple(replace(f, appearance=looks[int(at >= 20)]) for f in frame.faces)))

    def tiles_in(window: PtsRange) -> Tiles:
        tiles = Tiles((80, 60))
        for at, picture in enumerate(shown):
            if STEP * at in window:
                tiles.add(at, STEP * at, picture)
        return tiles

    everywhere = tiles_in(PtsRange(None, None))
    changes = [at for at in range(29) if everywhere.change(stays, stays, STEP * at, STEP * (at + 1))]
    assert changes == [12, 19]
    links = {
        track.first + at
        for track in link_tracks(frames, NO_CUTS, everywhere)
        for at, (one, other) in enumerate(pairwise(track.detections))
        if one.box == other.box == stays
    }
    assert 12 in links
    assert 19 not in links
    whole = said_about(frames, NO_CUTS, PtsRange(0, 30 * STEP), everywhere)
    assert len({tile for faces in whole.values() for _, tile, *_ in faces}) >= 5
    for start in range(0, 30 * STEP, 13):
        owned = PtsRange(start, min(30 * STEP, start + 13))
        window = GRID.window(owned)
        told = said_about([frame for frame in frames if frame.pts in window], NO_CUTS, owned, tiles_in(window))
        assert told == {pts: faces for pts, faces in whole.items() if pts in owned}


def cut_at(*begin: int) -> SceneCuts:
    """A video of 60 frames whose whole picture changes with these."""
    scenes = np.random.default_rng(7).integers(0, 255, (len(begin) + 1, 24, 32), np.uint8)
    cuts = SceneCuts((320, 240), GRID.cut_reach)
    for pts in range(60):
        cuts.add_luma(pts, scenes[bisect_right(begin, pts)])
    return cuts


def test_a_cut_ends_a_track_at_its_very_frame() -> None:
    for begin in range(11, 16):
        one, other = timelines(moving(6, 0), cut_at(begin))
        assert [pts for pts in range(30) if one.position(pts) is not None] == list(range(begin))
        assert [pts for pts in range(30) if other.position(pts) is not None] == list(range(begin, 30))


def test_a_cut_is_smoothed_over_on_neither_side() -> None:
    frames = [*moving(3, 0), *(frame_of(STEP * k, (30, 10, 110, 100)) for k in range(3, 6))]
    one, other = timelines(frames, cut_at(13))
    assert {one.box_at(pts) for pts in range(13)} == {(0, 10, 80, 100)}
    assert {other.box_at(pts) for pts in range(13, 30)} == {(30, 10, 110, 100)}


def test_no_missed_detection_is_filled_in_across_a_cut() -> None:
    frames = moving(6, 0)
    frames[3] = DetectedFrame(frames[3].pts, ())
    one, other = timelines(frames, cut_at(17))
    assert (one.ends, other.starts) == (13, 17)  # the search without the face is before the cut
    assert [len(each.track.detections) for each in (one, other)] == [3, 2]


def test_between_two_cuts_nothing_is_known() -> None:
    one, other = timelines(moving(6, 0), cut_at(11, 14))
    assert (one.ends, other.starts) == (11, 14)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(scenes(), st.data())
def test_both_shards_at_a_cut_name_the_same_anchors(frames: list[DetectedFrame], data: st.DataObject) -> None:
    """Every track that both sides show is anchored alike; nothing else is."""
    cut = data.draw(st.integers(1, STEP * len(frames)))
    before = [frame for frame in frames if frame.pts in GRID.window(PtsRange(None, cut))]
    after = [frame for frame in frames if frame.pts in GRID.window(PtsRange(cut, None))]

    def anchors(seen: list[DetectedFrame], pts: int) -> list[str]:
        return sorted(each.anchor_before(cut) for each in timelines(seen) if each.position(pts) is not None)

    whole = [
        each for each in timelines(frames) if each.position(cut) is not None and each.position(cut - 1) is not None
    ]
    shared = {each.anchor_before(cut) for each in whole} - {""}
    assert shared <= set(anchors(before, cut - 1))
    assert shared <= set(anchors(after, cut))
    assert len(shared) == len([each for each in whole if each.anchor_before(cut)])


def test_a_million_cells_without_a_frame_are_not_gone_through() -> None:
    """Damage puts frames hours apart. Tracks end in between either way."""
    assert _cells_near([3, 4], 6) == [3, 4, 5, 6]
    far = _cells_near([0, 1_000_000], 1_000_000)
    assert far[0] == 0
    assert far[-1] == 1_000_000
    assert len(far) == 2 + 2 * FARTHEST_LINK
