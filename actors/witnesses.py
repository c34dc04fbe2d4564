"""Witnesses: a track's faces at its grid points, cut out of the frames that were searched, for the identity gate.

A witness of the row's own range has the same pixels as the face that is restored there, and is restored with it. One
next to the range is cut out of what is kept here of the searched frames, by the same rectangle, so that both rows that
judge by it see the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actors.crops import crop_of
from actors.fading import Stretch
from actors.geometry import Placement
from actors.searched_faces import SearchedFaces
from actors.tracking import LOOKS_AHEAD, LOOKS_BACK, TrackTimeline
from actors.work import FaceInFrame, Witness


class Witnesses:
    """The witnesses of one row, each of which is called once."""

    def __init__(self, searched: SearchedFaces, placement: Placement, crops: dict[int, NDArray[np.uint8]]) -> None:
        """Args:
        crops: the row's; those of witnesses next to its range are added.
        """
        self._searched, self._placement, self._crops = searched, placement, crops
        self._numbers: dict[tuple[int, int], int] = {}
        self.called: list[Witness] = []
        self.found: list[Witness] = []
        """Those called that do not stand in for a missed one: their pixels are of their time."""

    def of_faces(
        self, faces: Sequence[FaceInFrame], timelines: Sequence[TrackTimeline], stretches: Sequence[Sequence[Stretch]]
    ) -> list[FaceInFrame]:
        """The faces, those with a crop told which witnesses they are judged by.

        Args:
            timelines, stretches: of each track.
        """
        crop_indices = {(face.track, face.pts): face.crop_index for face in faces if face.crop_index >= 0}
        judged = []
        for face in faces:
            timeline = timelines[face.track]
            at = timeline.position(face.pts)
            if face.crop_index >= 0 and at is not None:
                own = stretches[face.track]
                known = [
                    self._number(face, k, timeline, own, crop_indices)
                    if 0 <= k < len(own) and own[k] == own[at]
                    else -1
                    for k in range(at - LOOKS_BACK, at + LOOKS_AHEAD + 1)
                ]
                face = replace(face, witnesses=tuple(known), along=timeline.along(face.pts))
            judged.append(face)
        return judged

    def _number(
        self,
        face: FaceInFrame,
        at: int,
        timeline: TrackTimeline,
        own: Sequence[Stretch],
        crop_indices: Mapping[tuple[int, int], int],
    ) -> int:
        """Index of the witness of the face's track at a grid point; -1 when there can be none.

        Where the detector missed the face, the witness before stands in, at this time: strength would jump here else.
        """
        key = (face.track, at)
        if key not in self._numbers:
            number = self._call(face, at, timeline, crop_indices)
            if number < 0 < at and not timeline.track.detections[at].identifier and own[at - 1] == own[at]:
                before = self._number(face, at - 1, timeline, own, crop_indices)
                if before >= 0:
                    number = len(self.called)
                    self.called.append(replace(self.called[before], pts=timeline.grid_pts[at]))
            self._numbers[key] = number
        return self._numbers[key]

    def _call(
        self, face: FaceInFrame, at: int, timeline: TrackTimeline, crop_indices: Mapping[tuple[int, int], int]
    ) -> int:
        found, box, pts = timeline.track.detections[at], timeline.boxes[at], timeline.grid_pts[at]
        crop = crop_of(timeline, pts, self._placement)
        pixels_rgb = self._searched.cut(found, crop)
        reference = None if pixels_rgb is None else self._searched.identity_near(timeline, at)
        if pixels_rgb is None or reference is None:
            return -1
        index = crop_indices.get((face.track, pts), -1)
        if index < 0:
            index = len(self._crops)
            self._crops[index] = pixels_rgb
        witness = Witness(
            pts=pts,
            decision=face.decision,
            width=box.width,
            sharpness=found.sharpness,
            crop=crop,
            landmarks=timeline.landmarks[at],
            reference=tuple(map(float, reference)),
            crop_index=index,
        )
        self.called.append(witness)
        self.found.append(witness)
        return len(self.called) - 1
