"""A face that stays is shown in one rectangle; the rectangle of one that moves goes along."""

from __future__ import annotations

import numpy as np

from actors.crops import STILL_STEP, crop_of
from actors.geometry import Placement, Rect
from actors.linking import link_tracks
from actors.tiles import Tiles
from actors.tracking import DetectedFrame, TrackTimeline
from tests.actors.test_tracking import NO_CUTS, NO_TILES, STEP, frame_of

PLACEMENT = Placement((320, 240), (640, 480))
SEARCHES = 24


def timeline_of(frames: list[DetectedFrame]) -> TrackTimeline:
    (track,) = link_tracks(frames, NO_CUTS, NO_TILES)
    return TrackTimeline.of(track, frames, NO_CUTS, NO_TILES)


def wavering(*, by: float) -> list[DetectedFrame]:
    """A face of 80 px about a place where two even edges are equally near."""
    edges = np.random.default_rng(1).uniform(-by, by, (SEARCHES, 4)) + np.array((104.0, 60.0, 184.0, 164.0))
    return [frame_of(STEP * at, tuple(map(float, box))) for at, box in enumerate(edges)]


def rects_of(timeline: TrackTimeline) -> list[Rect]:
    return [crop_of(timeline, pts, PLACEMENT) for pts in range(STEP * (SEARCHES - 1) + 1)]


def test_a_face_that_stays_is_shown_in_one_rectangle_though_its_box_wavers() -> None:
    timeline = timeline_of(wavering(by=1.0))
    followed = {PLACEMENT.crop_rect(timeline.box_at(STEP * at)) for at in range(SEARCHES)}
    assert len(followed) > 1
    (rect,) = set(rects_of(timeline))
    assert all(edge % STILL_STEP == 0 for edge in rect)
    assert all(rect.contains(PLACEMENT.crop_rect(found.box)) for found in timeline.track.detections)


def test_the_rectangle_of_a_face_that_moves_goes_along() -> None:
    timeline = timeline_of([frame_of(STEP * at, (4.0 * at, 60, 4.0 * at + 80, 160)) for at in range(SEARCHES)])
    assert timeline.still_box_at(STEP * 8) is None
    for pts in range(0, STEP * SEARCHES, 3):
        assert crop_of(timeline, pts, PLACEMENT) == PLACEMENT.crop_rect(timeline.box_at(pts))


def test_a_face_that_wavers_widely_is_not_said_to_stay() -> None:
    assert timeline_of(wavering(by=4.0)).still_box_at(STEP * 8) is None


def test_where_a_face_stays_follows_from_the_searches_near_by() -> None:
    """As everything does that two shards say of one frame."""
    frames = wavering(by=1.0)
    whole, later = timeline_of(frames), timeline_of(frames[8:])
    for pts in range(STEP * 13, STEP * 23):
        assert crop_of(later, pts, PLACEMENT) == crop_of(whole, pts, PLACEMENT)


def test_at_the_frames_edge_the_rectangle_ends_with_it() -> None:
    left = [frame_of(STEP * at, (3.0, 61.0, 83.0, 165.0)) for at in range(SEARCHES)]
    assert crop_of(timeline_of(left), STEP * 8, PLACEMENT).x0 == 0
    right = [frame_of(STEP * at, (240.0, 61.0, 318.0, 165.0)) for at in range(SEARCHES)]
    (track,) = link_tracks(right, NO_CUTS, NO_TILES)
    timeline = TrackTimeline.of(track, right, NO_CUTS, Tiles((322, 240)))
    assert crop_of(timeline, STEP * 8, Placement((322, 240), (644, 480))).x1 == 322
