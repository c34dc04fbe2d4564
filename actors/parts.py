"""Parts of a shard while it is read: a crowded one becomes several rows, each with all that its experts need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from actors.fading import Stretch
from actors.geometry import Placement
from actors.key_faces import KeyFaces
from actors.routing import Decision, Tier
from actors.searched_faces import SearchedFaces
from actors.tracking import TrackTimeline
from actors.witnesses import Witnesses
from actors.work import FaceInFrame, KeyFace, ShardWork, Witness
from storage.segments import pts_digest
from storage.shards import Shard


class RoutedTrack(NamedTuple):
    """A track with what was decided at each of its grid points."""

    timeline: TrackTimeline
    route: list[tuple[Tier, Decision]]
    stretches: list[Stretch]


class CutFace(NamedTuple):
    """A face, and its pixels in each moment of its frame; none where no expert restores it."""

    face: FaceInFrame
    crops: list[np.ndarray]


class Wanted(NamedTuple):
    """What experts need besides a row's faces."""

    witnesses: bool
    key_faces: bool


class Part:
    """A stretch of a shard while it is read."""

    def __init__(self, shard: Shard, placement: Placement, wanted: Wanted, start: int | None = None) -> None:
        self._shard, self._placement, self._wanted = shard, placement, wanted
        self._start = shard.range.start if start is None else start
        self.pts: list[int] = []
        self.patch_bytes = 0
        self.behind = 0
        """Frames behind this part whose faces it was given."""
        self._faces: list[FaceInFrame] = []
        self._beside: list[FaceInFrame] = []
        self._crops: dict[int, np.ndarray] = {}

    def add(self, faces: Iterable[CutFace]) -> None:
        """Faces of the next frame of this part."""
        self._faces += [self._with_crops(cut) for cut in faces]

    def add_before(self, faces: Iterable[CutFace]) -> None:
        """Faces of a frame before this part; those without pixels are of no use."""
        self._beside += [self._with_crops(cut) for cut in faces if cut.crops]

    def add_behind(self, faces: Iterable[CutFace]) -> None:
        """Likewise of the next frame behind it."""
        self.add_before(faces)
        self.behind += 1

    def _with_crops(self, cut: CutFace) -> FaceInFrame:
        if not cut.crops:
            return cut.face
        first, target = len(self._crops), self._placement.result_rect(cut.face.crop)
        face = replace(cut.face, crop_index=first, second_crop_index=first + 1 if len(cut.crops) > 1 else -1)
        for index, crop_rgb in zip(face.crop_indices, cut.crops, strict=True):
            self._crops[index] = crop_rgb
            self.patch_bytes += max(3 * target.width * target.height, crop_rgb.nbytes)
        return face

    def close(self, tracks: list[RoutedTrack], kept: SearchedFaces | None, end: int | None) -> ShardWork:
        shard = self._shard.part(self._start, end)
        timelines = [track.timeline for track in tracks]
        heads = [timeline.anchor_before(self._start) for timeline in timelines]
        tails = [timeline.anchor_before(end) for timeline in timelines]
        faces = tuple(
            replace(face, head_anchor=heads[face.track], tail_anchor=tails[face.track]) for face in self._faces
        )
        witnesses: list[Witness] = []
        found: list[Witness] = []
        keys: list[KeyFace] = []
        if kept is not None and self._wanted.witnesses:
            row = Witnesses(kept, self._placement, self._crops)
            faces = tuple(row.of_faces(faces, timelines, [track.stretches for track in tracks]))
            witnesses, found = row.called, row.found
        if kept is not None and self._wanted.key_faces:
            about = KeyFaces(kept, self._placement, self._crops, (*faces, *found))
            faces = tuple(about.of_faces(faces, timelines))
            keys = about.called
        return ShardWork(
            shard,
            faces,
            self._crops,
            len(self.pts),
            pts_digest(self.pts),
            witnesses=tuple(witnesses),
            beside=tuple(self._beside),
            keys=tuple(keys),
        )
