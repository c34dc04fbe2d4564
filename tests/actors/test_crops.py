"""A face that stays is shown in one rectangle; the rectangle of one that moves goes along."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from actors.crops import STILL_STEP, crop_of
from actors.geometry import Placement, Rect
from actors.linking import link_tracks
from actors.tiles import Tiles
from actors.tracking import KEYS_AHEAD, KEYS_BACK, DetectedFrame, TrackTimeline
from storage.shards import PtsRange
from tests.actors.test_tracking import GRID, NO_CUTS, NO_TILES, STEP, frame_of

PLACEMENT = Placement((320, 240), (640, 480))
SEARCHES = 24


def timeline_of(frames: list[DetectedFrame]) -> TrackTimeline:
    track = link_tracks(frames, NO_CUTS, NO_TILES)[0]
    return TrackTimeline.of(track, frames, NO_CUTS, NO_TILES)


def wavering(*, by: float, seed: int = 1) -> list[DetectedFrame]:
    """A face of 80 px about a place where two even edges are equally near."""
    edges = np.random.default_rng(seed).uniform(-by, by, (SEARCHES, 4)) + np.array((104.0, 60.0, 184.0, 164.0))
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


@pytest.mark.parametrize("seed", range(12))
def test_a_shard_sees_all_that_its_last_faces_are_shown_by(seed: int) -> None:
    """Also where a missed search is filled in from one farther on; of key faces all that counts is where they are."""
    rng = np.random.default_rng(seed)
    grid = replace(GRID, fade=Fraction(STEP))  # nothing else reaches as far
    end = STEP * 10 + 3  # in the cell of its last frame
    frames = [frame if rng.random() > 0.3 else frame_of(frame.pts) for frame in wavering(by=1.0, seed=seed)]
    frames = [*wavering(by=1.0)[:14], *frames[14:]]
    behind = grid.window(PtsRange(0, end)).end
    assert behind is not None
    whole, shard = timeline_of(frames), timeline_of([frame for frame in frames if frame.pts < behind])
    for at in (12, 13):  # about the frames behind the shard's last one that steady it
        assert shard.boxes[at] == whole.boxes[at]
        assert shard.landmarks[at] == whole.landmarks[at]
        assert crop_of(shard, whole.grid_pts[at], PLACEMENT) == crop_of(whole, whole.grid_pts[at], PLACEMENT)
    for at in range(10 - KEYS_BACK, 10 + KEYS_AHEAD + 1):
        assert shard.track.detections[at : at + 1] == whole.track.detections[at : at + 1]


def test_at_the_frames_edge_the_rectangle_ends_with_it() -> None:
    left = [frame_of(STEP * at, (3.0, 61.0, 83.0, 165.0)) for at in range(SEARCHES)]
    assert crop_of(timeline_of(left), STEP * 8, PLACEMENT).x0 == 0
    right = [frame_of(STEP * at, (240.0, 61.0, 318.0, 165.0)) for at in range(SEARCHES)]
    (track,) = link_tracks(right, NO_CUTS, NO_TILES)
    timeline = TrackTimeline.of(track, right, NO_CUTS, Tiles((322, 240)))
    assert crop_of(timeline, STEP * 8, Placement((322, 240), (644, 480))).x1 == 322
