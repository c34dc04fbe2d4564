"""A restored face comes and goes softly, and not at all at a cut."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from actors.fading import Stretch, stretches
from actors.linking import link_tracks
from actors.routing import Decision
from actors.tracking import DetectedFrame, TrackTimeline
from tests.actors.test_tracking import NO_CUTS, NO_TILES, STEP, cut_at, frame_of, moving, timelines

FADE = Fraction(5)
T, F, SKIP = Decision.EXPERT_T, Decision.EXPERT_F, Decision.SKIP


def shown(frames: list[DetectedFrame], decisions: list[Decision], cuts: object = NO_CUTS) -> list[list[float]]:
    """Strength of each track in each of its frames; the decisions are those of all grid points."""
    found = []
    for track in link_tracks(frames, cuts, NO_TILES):  # type: ignore[arg-type]
        timeline = TrackTimeline.of(track, frames, cuts, NO_TILES)  # type: ignore[arg-type]
        fades = stretches(timeline, decisions[track.first : track.first + len(track.detections)])
        places = {pts: timeline.position(pts) for pts in range(STEP * len(frames))}
        found.append([fades[at].strength(pts, FADE) for pts, at in places.items() if at is not None])
    return found


def test_a_face_that_is_there_throughout_is_at_full_strength() -> None:
    assert shown(moving(6), [T] * 6) == [[1.0] * 30]


def test_a_face_that_appears_and_goes_does_so_softly() -> None:
    frames = [DetectedFrame(0, ()), *(frame_of(pts, (0, 0, 80, 80)) for pts in range(5, 25, 5)), DetectedFrame(25, ())]
    ((*strengths,),) = shown(frames, [T] * 6)
    assert strengths[0] == 0
    assert max(strengths) == 1
    assert np.abs(np.diff([*strengths, 0])).max() < 0.35


@pytest.mark.parametrize("then", [F, SKIP])
def test_a_decision_changes_where_nothing_of_the_expert_shows(then: Decision) -> None:
    (strengths,) = shown(moving(8), [T] * 4 + [then] * 4)
    assert strengths[20] == 0
    assert strengths[19] < 0.15
    assert (strengths[0], strengths[14], strengths[26], strengths[39]) == (1, 1, 1, 1)


def test_a_cut_is_not_faded_over() -> None:
    assert shown(moving(6, 0), [T] * 6, cut_at(13)) == [[1.0] * 13, [1.0] * 17]


def test_a_gap_in_the_video_is_not_faded_over_so_that_a_shard_that_begins_behind_it_says_the_same() -> None:
    empty = [DetectedFrame(STEP * at, (), searched=False) for at in (3, 4, 5)]
    behind = [frame_of(STEP * at, (0, 0, 80, 80)) for at in (6, 7, 8)]
    frames = [*moving(3, 0), *empty, *behind]
    before, after = shown(frames, [T] * 9)
    assert set(before) == {1.0} == set(after)
    assert len(before) == len(after) == 3 * STEP
    (alone,) = [stretches(timeline, [T] * 3) for timeline in timelines(behind)]
    assert {stretch.strength(pts, FADE) for stretch in alone for pts in range(30, 45)} == {1.0}


def test_a_face_of_a_moment_never_jumps_to_full_strength() -> None:
    brief = Stretch(T, 10, 13)
    assert max(brief.strength(pts, FADE) for pts in range(10, 13)) < 0.3
