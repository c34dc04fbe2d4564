"""KeyFaces: a face that stays in its place, at the grid points about a frame, between which it is shown there.

A key face has the rectangle of the frame that is shown by it, whatever the face's own was there, and the pixels of the
frame that was searched. So all that must be known of a grid point is that the face was found there, and no search is
made for them that the box of a face that stays does not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actors.geometry import Placement, Rect
from actors.routing import Decision
from actors.searched_faces import SearchedFaces
from actors.tracking import KEYS_AHEAD, KEYS_BACK, TrackTimeline
from actors.work import FaceInFrame, KeyFace, Witness


class KeyFaces:
    """The key faces of one row, each of which is called once."""

    def __init__(
        self,
        searched: SearchedFaces,
        placement: Placement,
        crops: dict[int, NDArray[np.uint8]],
        known: Sequence[FaceInFrame | Witness],
    ) -> None:
        """Args:
        crops: the row's; those that none of its faces and witnesses has are added.
        known: these.
        """
        self._searched, self._placement, self._crops = searched, placement, crops
        self._known = {(each.pts, each.crop, each.decision): each.crop_index for each in known if each.crop_index >= 0}
        self._numbers: dict[tuple[int, int, Rect, Decision, Rect], int] = {}
        self.called: list[KeyFace] = []

    def of_faces(self, faces: Sequence[FaceInFrame], timelines: Sequence[TrackTimeline]) -> list[FaceInFrame]:
        """The faces, those with a crop that stay told the key faces between which they are shown.

        Args:
            timelines: of each track.
        """
        return [self._told(face, timelines[face.track]) for face in faces]

    def _told(self, face: FaceInFrame, timeline: TrackTimeline) -> FaceInFrame:
        at = timeline.position(face.pts)
        if len(face.crop_indices) != 1 or at is None or timeline.still_box_at(face.pts) is None:
            return face
        grid_points = range(at - KEYS_BACK, at + KEYS_AHEAD + 1)
        numbers = tuple(self._number(face, k, timeline, timeline.tiles[at]) for k in grid_points)
        return replace(face, keys=numbers, along=timeline.along(face.pts))

    def _number(self, face: FaceInFrame, at: int, timeline: TrackTimeline, tile: Rect) -> int:
        """Index of the key face of a face's track at a grid point; -1 where the face was not found in its rectangle."""
        if not 0 <= at < len(timeline.grid_pts):
            return -1
        key = (face.track, at, face.crop, face.decision, tile)
        if key not in self._numbers:
            self._numbers[key] = self._call(face, at, timeline, tile)
        return self._numbers[key]

    def _call(self, face: FaceInFrame, at: int, timeline: TrackTimeline, tile: Rect) -> int:
        """Of a tile only the frame's own counts: what a far grid point's is no shard need know."""
        found, pts = timeline.track.detections[at], timeline.grid_pts[at]
        pixels_rgb = self._searched.cut(found, face.crop)
        if pixels_rgb is None or not face.crop.contains(self._placement.crop_rect(found.box, tile)):
            return -1
        same = (pts, face.crop, face.decision)
        if same not in self._known:
            self._known[same] = len(self._crops)
            self._crops[self._known[same]] = pixels_rgb
        self.called.append(KeyFace(pts, face.decision, face.crop, found.landmarks, self._known[same]))
        return len(self.called) - 1
