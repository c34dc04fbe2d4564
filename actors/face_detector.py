"""The FaceDetector pool: decode, find faces, track them, measure and route them, cut out what an expert needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pyarrow as pa
from av.video.frame import VideoFrame

from actors.appearance import appearance_of
from actors.colour import frame_to_rgb
from actors.crops import crop_of
from actors.deadline import PART_SECONDS, each_within
from actors.detection import DetectionSettings, MtcnnDetector
from actors.fading import stretches
from actors.fields import moments_of
from actors.geometry import Placement, rotate_box, rotate_landmarks
from actors.identity import IdentityMeter, IdentityWeights
from actors.linking import link_tracks
from actors.parts import CutFace, Part, RoutedTrack, Wanted
from actors.quality import sharpness_of
from actors.routing import Decision, RoutingBounds, Tier, route_track
from actors.scene_cuts import SceneCuts
from actors.searched_faces import SearchedFaces
from actors.tiles import Tiles
from actors.tracking import (
    FARTHEST_LINK,
    NEIGHBOURS,
    DetectedFrame,
    Detection,
    DetectionGrid,
    TrackTimeline,
)
from actors.work import MAX_PATCH_BYTES, FaceInFrame, ShardWork, from_table, to_table
from actors.work_log import tell
from storage.deinterlacing import read_pictures
from storage.encoding import SizeSettings, output_picture
from storage.errors import explain
from storage.probe import VideoProbe
from storage.shards import Shard
from storage.store import Store

_FRAMES_PER_BATCH = 4
"""Frames that go through MTCNN together: its networks are small, so a few frames fill them."""


class FaceDetector:
    """Ray actor: one row with a shard in, one or more rows with its faces and crops out."""

    def __init__(
        self,
        store: Store,
        detection: DetectionSettings,
        routing: RoutingBounds,
        size: SizeSettings,
        experts: frozenset[Decision],
        identity: IdentityWeights | None = None,
        steadying: bool = True,
        *,
        device: str = "cpu",
        threads: int = 1,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        """Args:
        identity: where SFace comes from; None for no witnesses, that is, no identity gate.
        steadying: whether what steadies a part's faces goes with it: those of the frames next to it, and key faces.
        """
        import torch  # in the actor only: see actors/detection.py

        torch.set_num_threads(threads)
        self._store, self._settings, self._bounds, self._size = store, detection, routing, size
        self._experts, self._steadying = experts, steadying
        self._threads, self._part_seconds = threads, part_seconds
        self._detector = MtcnnDetector(detection, device=device)
        cv2.setNumThreads(threads)
        self._meter = IdentityMeter(identity()) if identity else None
        self._wanted = Wanted(witnesses=identity is not None, key_faces=steadying)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        return each_within(self._part_seconds, self._rows(table))

    def _rows(self, table: pa.Table) -> Iterator[pa.Table]:
        for work in from_table(table):
            tell("FaceDetector", "begins", work.shard.source, work.shard.range)
            try:
                for part in self.detect(work.shard):
                    yield to_table([part])
            except Exception as error:  # a shard's failure is its own: it becomes a receipt with the reason
                yield to_table([work.failed(explain(error))])

    def detect(self, shard: Shard) -> Iterator[ShardWork]:
        """The shard's faces, as consecutive parts of the shard whose crops fit a row each."""
        grid = DetectionGrid.of(shard.probe, self._settings.detect_every)
        searched_faces = self._searched_faces(shard)
        frames, cuts, tiles = self._search(shard, grid, searched_faces)
        timelines = [
            TrackTimeline.of(track, frames, cuts, tiles, smoothing=self._settings.smoothing)
            for track in link_tracks(frames, cuts, tiles)
        ]
        tracks = [self._routed(timeline) for timeline in timelines]
        searched = frozenset(frame.pts for frame in frames if frame.searched)
        yield from self._cut_out(shard, tracks, searched, grid, searched_faces)

    def _searched_faces(self, shard: Shard) -> SearchedFaces | None:
        """Where the faces that are found are kept; None where nobody asks for them again."""
        if not self._experts or not any(self._wanted):
            return None
        placement = Placement.of(shard.probe, output_picture(shard.probe, self._size))
        return SearchedFaces(self._meter, placement, shard.probe.rotation // 90)

    def _search(
        self, shard: Shard, grid: DetectionGrid, kept: SearchedFaces | None
    ) -> tuple[list[DetectedFrame], SceneCuts, Tiles]:
        """Detections at every grid point of the shard's window, its cuts and tiles; a cell without a frame has none."""
        turns = shard.probe.rotation // 90
        searched: dict[int, DetectedFrame] = {}
        size = (shard.probe.width, shard.probe.height)
        cuts, tiles = SceneCuts(size, grid.cut_reach), Tiles(size)
        for chosen in _batches(self._grid_frames(shard, grid, cuts)):
            upright = [np.ascontiguousarray(np.rot90(frame_rgb, turns)) for _, frame_rgb in chosen]
            for (pts, frame_rgb), faces in zip(chosen, self._detector.detect(upright), strict=True):
                height, width = np.rot90(frame_rgb, turns).shape[:2]
                found = sorted(
                    (
                        rotate_box(face.box, -turns, width, height),
                        rotate_landmarks(face.landmarks, -turns, width, height),
                        face.score,
                    )
                    for face in faces
                )
                searched[grid.cell(pts)] = frame = DetectedFrame(
                    pts,
                    tuple(
                        Detection(
                            box,
                            landmarks,
                            score,
                            sharpness_of(frame_rgb, box),
                            f"{pts}:{index}",
                            appearance_of(frame_rgb, box),
                        )
                        for index, (box, landmarks, score) in enumerate(found)
                    ),
                )
                tiles.add(grid.cell(pts), pts, frame_rgb, [face.landmarks for face in frame.faces])
                if kept is not None:
                    for face in frame.faces:
                        kept.keep(frame_rgb, face)
        if not searched:
            return [], cuts, tiles
        end = grid.window(shard.range).end
        last = max(searched) if end is None else grid.cell(end - 1)
        frames = [
            searched.get(cell) or DetectedFrame(grid.start_of(cell), (), searched=False)
            for cell in _cells_near(searched, last)
        ]
        return frames, cuts, tiles

    def _grid_frames(self, shard: Shard, grid: DetectionGrid, cuts: SceneCuts) -> Iterator[tuple[int, np.ndarray]]:
        """(pts, RGB) of the first frame of every cell of the shard's window; of two fields, the first.

        Every frame of the window is added to `cuts`.
        """
        last_cell: int | None = None
        window = grid.window(shard.range)
        field_order = output_picture(shard.probe, self._size).field_order
        for frame in read_pictures(shard, self._store, self._size, wanted=window, threads=self._threads):
            assert frame.pts is not None
            cuts.add(frame)
            cell = grid.cell(frame.pts)
            if cell != last_cell:
                last_cell = cell
                yield frame.pts, frame_to_rgb(moments_of(frame, field_order)[0], shard.probe)

    def _routed(self, timeline: TrackTimeline) -> RoutedTrack:
        detections = timeline.track.detections
        widths = [found.box.width for found in detections]
        route = route_track(widths, [found.sharpness for found in detections], self._bounds)
        return RoutedTrack(timeline, route, stretches(timeline, [decision for _, decision in route]))

    def _cut_out(
        self,
        shard: Shard,
        tracks: list[RoutedTrack],
        searched: frozenset[int],
        grid: DetectionGrid,
        kept: SearchedFaces | None,
    ) -> Iterator[ShardWork]:
        """Read the shard's frames and cut crops, closing a part whenever its patches would be too many bytes."""
        picture = output_picture(shard.probe, self._size)
        placement = Placement.of(shard.probe, picture)
        wanted = grid.with_neighbours(shard.range) if self._steadying else shard.range
        beside = NEIGHBOURS if self._steadying else 0
        before: deque[list[CutFace]] = deque(maxlen=beside)
        part = Part(shard, placement, self._wanted)
        full: list[tuple[Part, int]] = []  # with their ends; frames behind them are still to come
        for frame in read_pictures(shard, self._store, self._size, wanted=wanted, threads=self._threads):
            assert frame.pts is not None
            within = frame.pts in shard.range
            faces = self._faces(frame, tracks, grid.fade, placement, shard.probe, searched)
            if within and part.pts and part.patch_bytes > MAX_PATCH_BYTES:
                full.append((part, frame.pts))
                part = Part(shard, placement, self._wanted, start=frame.pts)
            elif not within and part.pts:
                part.add_behind(faces)
            for each, end in full:
                if each.behind < beside:
                    each.add_behind(faces)
                if each.behind == beside:
                    yield each.close(tracks, kept, end=end)
            full = [(each, end) for each, end in full if each.behind < beside]
            if within:
                if not part.pts:
                    for earlier in before:
                        part.add_before(earlier)
                part.pts.append(frame.pts)
                part.add(faces)
            if part.behind == beside and not within and part.pts:
                break
            before.append(faces)
        for each, end in full:
            yield each.close(tracks, kept, end=end)
        yield part.close(tracks, kept, end=shard.range.end)

    def _faces(
        self,
        frame: VideoFrame,
        tracks: list[RoutedTrack],
        fade: Fraction,
        placement: Placement,
        probe: VideoProbe,
        searched: frozenset[int],
    ) -> list[CutFace]:
        """The faces of a frame, with the pixels of those that an expert restores."""
        pts = frame.pts
        assert pts is not None
        positions = [(number, track.timeline.position(pts)) for number, track in enumerate(tracks)]
        present = [(number, at) for number, at in positions if at is not None]
        if not present:
            return []
        moments = moments_of(frame, output_picture(probe, self._size).field_order)
        moments_rgb = [frame_to_rgb(moment, probe) for moment in moments]
        found = []
        for number, at in present:
            face = self._face(pts, number, tracks[number], at, moments_rgb[0], placement)
            strength = tracks[number].stretches[at].strength(pts, fade)
            face = replace(face, observed=pts in searched, strength=strength)
            shown = face.decision in self._experts and strength > 0 and face.crop.width > 0 and face.crop.height > 0
            crops = [moment_rgb[face.crop.slices].copy() for moment_rgb in moments_rgb] if shown else []
            found.append(CutFace(face, crops))
        return found

    def _face(
        self,
        pts: int,
        number: int,
        track: RoutedTrack,
        at: int,
        frame_rgb: np.ndarray,
        placement: Placement,
    ) -> FaceInFrame:
        timeline, (tier, decision) = track.timeline, track.route[at]
        box = timeline.box_at(pts)
        return FaceInFrame(
            pts=pts,
            track=number,
            head_anchor="",
            tail_anchor="",
            observed=False,
            score=timeline.track.detections[at].score,
            box=box,
            landmarks=timeline.landmarks_at(pts),
            sharpness=sharpness_of(frame_rgb, box),
            tier=tier,
            decision=decision,
            reason=self._reason(tier, decision),
            crop=crop_of(timeline, pts, placement),
        )

    def _reason(self, tier: Tier, decision: Decision) -> str:
        bounds = self._bounds
        if tier is Tier.TINY:
            return f"track narrower than w_skip {bounds.w_skip:g}"
        if tier is Tier.LARGE:
            return f"track at least w_resize {bounds.w_resize:g} wide"
        if tier is Tier.SMALL:
            why = f"track between w_skip {bounds.w_skip:g} and w_medium {bounds.w_medium:g} wide"
        elif decision is Decision.EXPERT_F:
            why = f"track from w_medium {bounds.w_medium:g} wide, at least q_low {bounds.q_low:g} sharp"
        else:
            why = f"track from w_medium {bounds.w_medium:g} wide, less than q_low {bounds.q_low:g} sharp"
        return why if decision in self._experts else f"{why}; this expert is switched off"


def _cells_near(searched: Iterable[int], last: int) -> list[int]:
    """The cells from the first that was searched to `last`, without those that are far from any that was.

    Every track has ended there; and damage puts frames hours apart, with a million cells between them.
    """
    near: set[int] = set()
    first = min(searched)
    for cell in searched:
        near.update(range(max(first, cell - FARTHEST_LINK), min(last, cell + FARTHEST_LINK) + 1))
    return sorted(near)


def _batches(frames: Iterable[tuple[int, np.ndarray]]) -> Iterator[list[tuple[int, np.ndarray]]]:
    remaining = iter(frames)
    while batch := list(islice(remaining, _FRAMES_PER_BATCH)):
        yield batch
