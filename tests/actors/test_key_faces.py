"""Between which searches a face that stays is shown: those in which it was found in the frame's own rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.crops import crop_of
from actors.geometry import Rect
from actors.key_faces import KeyFaces
from actors.routing import Decision
from actors.tracking import KEYS_AHEAD, KEYS_BACK, Detection, TrackTimeline
from actors.work import FaceInFrame, KeyFace
from tests.actors.test_crops import PLACEMENT, STEP, timeline_of, wavering
from tests.actors.test_tracking import frame_of
from tests.actors.test_work import face


class Searched:
    """Every face that was found is kept, with all of its frame."""

    def cut(self, found: Detection, crop: Rect) -> NDArray[np.uint8] | None:
        return np.zeros((crop.height, crop.width, 3), np.uint8) if found.identifier else None


def in_frame(timeline: TrackTimeline, at: int, index: int, *, decision: Decision = Decision.EXPERT_T) -> FaceInFrame:
    """The face at a grid point, with pixels of its own."""
    pts = STEP * at
    return replace(face(pts, index), track=0, crop=crop_of(timeline, pts, PLACEMENT), decision=decision)


def told(timeline: TrackTimeline, faces: Sequence[FaceInFrame]) -> tuple[list[FaceInFrame], list[KeyFace], list[int]]:
    """The faces, the key faces that were called, and which crops the row had to add."""
    crops = {each.crop_index: np.zeros((4, 4, 3), np.uint8) for each in faces}
    row = KeyFaces(Searched(), PLACEMENT, crops, faces)  # type: ignore[arg-type]
    return row.of_faces(faces, [timeline]), row.called, sorted(set(crops) - {each.crop_index for each in faces})


def test_a_face_that_stays_is_told_the_searches_about_it() -> None:
    timeline = timeline_of(wavering(by=1.0))
    one = in_frame(timeline, 10, 0)
    (known,), called, added = told(timeline, [replace(one, pts=one.pts + STEP // 2)])
    assert [called[number].pts for number in known.keys] == [
        STEP * at for at in range(10 - KEYS_BACK, 10 + KEYS_AHEAD + 1)
    ]
    assert known.along == pytest.approx(0.5, abs=0.11)
    assert {key.crop for key in called} == {one.crop}
    assert len(added) == len(called)


def test_at_a_tracks_ends_there_are_fewer() -> None:
    timeline = timeline_of(wavering(by=1.0))
    (first,), called, _ = told(timeline, [in_frame(timeline, 1, 0)])
    assert [called[number].pts if number >= 0 else None for number in first.keys[: KEYS_BACK + 1]] == [
        *[None] * (KEYS_BACK - 1),
        0,
        STEP,
    ]


def test_a_search_that_missed_the_face_is_none() -> None:
    frames = wavering(by=1.0)
    frames[12] = frame_of(STEP * 12)
    timeline = timeline_of(frames)
    (known,), called, _ = told(timeline, [in_frame(timeline, 10, 0)])
    assert known.keys[KEYS_BACK + 2] == -1
    assert STEP * 12 not in {key.pts for key in called}


def test_a_face_that_has_left_its_rectangle_is_none() -> None:
    frames = wavering(by=1.0)
    for at in range(15, len(frames)):  # as soon as it is not near enough for the face to be said to move
        frames[at] = frame_of(STEP * at, (134.0, 60.0, 214.0, 164.0))
    timeline = timeline_of(frames)
    (known,), called, _ = told(timeline, [in_frame(timeline, 10, 0)])
    assert known.keys[-1] == -1
    assert max(key.pts for key in called) == STEP * 14


def test_the_tile_of_a_far_search_does_not_matter() -> None:
    """It would follow from searches that a shard has no need to see."""
    timeline = timeline_of(wavering(by=1.0))
    one = in_frame(timeline, 10, 0)
    narrowed = (*timeline.tiles[:13], *[Rect(0, 0, 150, 200)] * (len(timeline.tiles) - 13))
    assert told(replace(timeline, tiles=narrowed), [one]) == told(timeline, [one])


def test_a_face_that_moves_has_none() -> None:
    timeline = timeline_of([frame_of(STEP * at, (4.0 * at, 60, 4.0 * at + 80, 160)) for at in range(24)])
    (known,), called, added = told(timeline, [in_frame(timeline, 10, 0)])
    assert (known.keys, called, added) == ((), [], [])


def test_pixels_that_the_row_has_are_not_added_again() -> None:
    timeline = timeline_of(wavering(by=1.0))
    faces = [in_frame(timeline, at, at - 6) for at in range(6, 16)]
    known, called, added = told(timeline, faces)
    assert len(called) == 10 + len(added)
    assert len(added) == KEYS_BACK + KEYS_AHEAD
    by_pts = {key.pts: key for key in called}
    assert all(by_pts[each.pts].crop_index == each.crop_index for each in faces)
    assert known[4].keys == tuple(called.index(by_pts[STEP * at]) for at in range(6, 16))


def test_each_expert_has_key_faces_of_its_own() -> None:
    """A crop is restored in place, so that of another expert's face would not be there any more."""
    timeline = timeline_of(wavering(by=1.0))
    faces = [in_frame(timeline, 9, 0, decision=Decision.EXPERT_F), in_frame(timeline, 10, 1)]
    (by_f, by_t), called, _ = told(timeline, faces)
    assert set(by_f.keys).isdisjoint(by_t.keys)
    crops = [(called[number].decision, called[number].crop_index) for number in (*by_f.keys, *by_t.keys)]
    assert len(set(crops)) == len(crops)
    assert {index for decision, index in crops if decision is Decision.EXPERT_T}.isdisjoint(
        index for decision, index in crops if decision is Decision.EXPERT_F
    )
