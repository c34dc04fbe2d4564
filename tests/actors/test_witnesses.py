"""By which grid points a frame is judged, at a track's ends and where a search missed its face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.fading import Stretch
from actors.geometry import Box, Placement, Rect
from actors.identity import Embedding
from actors.routing import Decision
from actors.tracking import Detection, Track, TrackTimeline
from actors.witnesses import Witnesses
from actors.work import FaceInFrame
from tests.actors.test_work import face

BOX = Box(20, 20, 80, 90)
PLACES = ((30.0, 40.0), (60.0, 40.0), (45.0, 55.0), (35.0, 70.0), (55.0, 70.0))
PLACEMENT = Placement((200, 150), (400, 300))
GRID = (100, 120, 140, 160, 180, 200)


class Searched:
    """Every face that was found is kept."""

    def cut(self, found: Detection, crop: Rect) -> NDArray[np.uint8] | None:
        return np.zeros((crop.height, crop.width, 3), np.uint8) if found.identifier else None

    def identity_near(self, timeline: TrackTimeline, at: int) -> Embedding | None:
        return np.array([1, 0], np.float32)


def judged_by(pts: int, *, missed: int | None = None, stretches: tuple[int, ...] = (0,) * 6) -> list[int | None]:
    """pts of the witnesses of one frame: from two grid points before its own to three after it."""
    row, told = row_of(pts, missed=missed, stretches=stretches)
    pts_of = {number: witness.pts for number, witness in enumerate(row.called)}
    return [pts_of.get(number) for number in told.witnesses]


def row_of(
    pts: int, *, missed: int | None = None, stretches: tuple[int, ...] = (0,) * 6
) -> tuple[Witnesses, FaceInFrame]:
    """The witnesses of a row with one face, and the face as it is told them."""
    found = [Detection(BOX, PLACES, 0.9, 50.0, "" if k == missed else f"{k}:0") for k in range(len(GRID))]
    timeline = TrackTimeline(
        Track(0, tuple(found)),
        GRID,
        (BOX,) * len(GRID),
        (PLACES,) * len(GRID),
        starts=90,
        ends=None,
        fades_in=None,
        fades_out=None,
        tiles=(Rect(0, 0, 200, 150),) * len(GRID),
    )
    kinds = (Stretch(Decision.EXPERT_T, None, None), Stretch(Decision.EXPERT_F, None, None))
    row = Witnesses(Searched(), PLACEMENT, {0: np.zeros((4, 4, 3), np.uint8)})  # type: ignore[arg-type]
    one = replace(face(pts, 0), track=0, box=BOX, witnesses=())
    (told,) = row.of_faces([one], [timeline], [[kinds[number] for number in stretches]])
    return row, told


@pytest.mark.parametrize(
    ("pts", "witnesses"),
    [
        (140, [100, 120, 140, 160, 180, 200]),
        (159, [100, 120, 140, 160, 180, 200]),
        (100, [None, None, 100, 120, 140, 160]),
        (92, [None, None, 100, 120, 140, 160]),  # before the first search
        (230, [160, 180, 200, None, None, None]),
    ],
)
def test_a_frame_is_judged_by_the_searches_about_it(pts: int, witnesses: list[int | None]) -> None:
    assert judged_by(pts) == witnesses


def test_where_a_search_missed_the_face_the_witness_before_stands_in() -> None:
    assert judged_by(119, missed=1) == [None, None, 100, 120, 140, 160]
    assert judged_by(125, missed=0) == [None, None, 120, 140, 160, 180]
    assert judged_by(165, missed=1) == [120, 140, 160, 180, 200, None]


def test_what_stands_in_is_not_said_to_be_found_then() -> None:
    row, _ = row_of(119, missed=1)
    assert sorted(witness.pts for witness in row.called) == [100, 120, 140, 160]
    assert sorted(witness.pts for witness in row.found) == [100, 140, 160]


def test_another_decision_has_witnesses_of_its_own() -> None:
    assert judged_by(120, stretches=(0, 0, 1, 1, 1, 1)) == [None, 100, 120, None, None, None]
    assert judged_by(140, stretches=(0, 0, 1, 1, 1, 1)) == [None, None, 140, 160, 180, 200]
