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

from actors.crops import STILL_STEP, crop_of
from actors.fading import Stretch
from actors.geometry import Placement, Rect, landmarks_in_crop
from actors.identity import Embedding, IdentityMeter, cosine, mean_embedding
from actors.tracking import KEYS_AHEAD, KEYS_BACK, Detection, TrackTimeline
from actors.work import FaceInFrame, Witness

LOOKS_BACK, LOOKS_AHEAD = 1, 1
"""Grid points from a frame's own to the farthest that it may be judged by. What is known there is known in any shard
that has the frame: see `actors.tracking.DetectionGrid`."""

_REFERENCE_REACH = 4
"""Grid points on either side in which a track's own identity is looked for."""

_BEST_FACES = 5
"""So many of the sharpest there make it."""

_KEPT_MARGIN = 0.2
"""Share of the box that is kept of a searched frame about a crop: the smoothed box is near the one found, and what
holds all boxes of a face that stays reaches little farther."""


class SearchedFaces:
    """What is kept of the faces that were found in a shard's window, by their detections' identifiers."""

    def __init__(self, meter: IdentityMeter, placement: Placement, turns: int) -> None:
        """Args:
        turns: that bring a frame upright, of 90 degrees to the left.
        """
        self._meter, self._placement, self._turns = meter, placement, turns
        self._kept: dict[str, tuple[Rect, NDArray[np.uint8]]] = {}
        self._embeddings: dict[str, Embedding] = {}

    def keep(self, frame_rgb: NDArray[np.uint8], found: Detection) -> None:
        """Keep what witnesses need of a face, and of the frame it was found in."""
        rect = self._placement.crop_rect(found.box.grown(_KEPT_MARGIN), step=STILL_STEP)
        if rect.width > 0 and rect.height > 0:
            self._kept[found.identifier] = (rect, frame_rgb[rect.slices].copy())

    def cut(self, found: Detection, crop: Rect) -> NDArray[np.uint8] | None:
        """The frame's pixels in `crop`; None where the face was not found, or is kept only in part."""
        if found.identifier not in self._kept:
            return None
        rect, kept_rgb = self._kept[found.identifier]
        return kept_rgb[crop.slices_in(rect)].copy() if rect.contains(crop) else None

    def embedding(self, found: Detection) -> Embedding | None:
        """Of a face as it was found; None where it is not kept."""
        if found.identifier not in self._embeddings:
            crop = self._placement.crop_rect(found.box)
            pixels_rgb = self.cut(found, crop)
            if pixels_rgb is None:
                return None
            upright = np.ascontiguousarray(np.rot90(pixels_rgb, self._turns))
            places = landmarks_in_crop(found.landmarks, crop, self._turns)
            self._embeddings[found.identifier] = self._meter.embed_face(upright, places, found.box.width)
        return self._embeddings[found.identifier]

    def identity_near(self, timeline: TrackTimeline, at: int) -> tuple[Embedding, float] | None:
        """A track's own identity about a grid point, and the similarity of the face there to it."""
        detections = timeline.track.detections
        own = self.embedding(detections[at])
        if own is None:
            return None
        near = [k for k in range(at - _REFERENCE_REACH, at + _REFERENCE_REACH + 1) if 0 <= k < len(detections)]
        best = sorted(near, key=lambda k: (-detections[k].sharpness, k))[:_BEST_FACES]
        faces = [face for k in sorted(best) if (face := self.embedding(detections[k])) is not None]
        reference = mean_embedding(faces or [own])
        return reference, cosine(own, reference)


class Witnesses:
    """The witnesses of one row, each of which is called once."""

    def __init__(self, searched: SearchedFaces, placement: Placement, crops: dict[int, NDArray[np.uint8]]) -> None:
        """Args:
        crops: the row's; those of witnesses next to its range are added.
        """
        self._searched, self._placement, self._crops = searched, placement, crops
        self._numbers: dict[tuple[int, int], int] = {}
        self.called: list[Witness] = []

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
                first, last = at - max(LOOKS_BACK, KEYS_BACK), at + max(LOOKS_AHEAD, KEYS_AHEAD)
                stays = face.second_crop_index < 0 and timeline.still_box_at(face.pts) is not None
                numbers = {
                    k: self._number(face, k, timeline, own, crop_indices)
                    for k in range(first, (last if stays else at + LOOKS_AHEAD) + 1)
                    if 0 <= k < len(own) and own[k] == own[at]
                }
                known = [numbers.get(k, -1) for k in range(at - LOOKS_BACK, at + LOOKS_AHEAD + 1)]
                earlier, here = [-1, -1, *(each for each in known[: LOOKS_BACK + 1] if each >= 0)][-2:]
                following = next((each for each in known[LOOKS_BACK + 1 :] if each >= 0), -1)
                face = replace(face, witnesses=(earlier, here, following))
                if stays:
                    keys = tuple(numbers.get(k, -1) for k in range(at - KEYS_BACK, at + KEYS_AHEAD + 1))
                    face = replace(face, keys=keys, along=timeline.along(face.pts))
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
        identity = None if pixels_rgb is None else self._searched.identity_near(timeline, at)
        if pixels_rgb is None or identity is None:
            return -1
        reference, similarity = identity
        index = crop_indices.get((face.track, pts), -1)
        if index < 0:
            index = len(self._crops)
            self._crops[index] = pixels_rgb
        self.called.append(
            Witness(
                pts=pts,
                decision=face.decision,
                width=box.width,
                sharpness=found.sharpness,
                crop=crop,
                landmarks=timeline.landmarks[at],
                reference=tuple(map(float, reference)),
                source_identity=similarity,
                crop_index=index,
            )
        )
        return len(self.called) - 1
