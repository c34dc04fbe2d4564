"""The FrameCompositor pool: decode again, scale, blend the faces in, encode, check, commit; a receipt leaves."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import pyarrow as pa
from av.video.frame import VideoFrame

from actors.background import upscale
from actors.blending import Patch, blend_patches
from actors.blends import DEFAULT_BLEND, Blend
from actors.colour import plane_views, rgb_to_planes
from actors.comparison import compared_picture, side_by_side
from actors.deadline import PART_SECONDS, each_within
from actors.fields import moments_of, weave
from actors.geometry import Placement, Rect
from actors.work import FaceInFrame, ShardWork, from_table
from actors.work_log import tell
from storage.deinterlacing import read_pictures
from storage.encoding import EncodeSettings, OutputPicture, SizeSettings, output_picture
from storage.errors import MediaError, NoRoomError, explain
from storage.manifest import FacePartRow, write_faces_part
from storage.probe import VideoProbe
from storage.reader import ReadingLosses
from storage.receipts import Receipt, Variant, WorkArea, commit_receipt, standing_receipt
from storage.segments import SegmentSummary, SegmentWriter
from storage.shards import Shard
from storage.store import Store

RECEIPT_SCHEMA = pa.schema([("receipt", pa.string())])


class FrameCompositor:
    """Ray actor: rows with patches in, receipts out. Frames never leave it but as committed segments."""

    def __init__(
        self,
        store: Store,
        area: WorkArea,
        size: SizeSettings,
        encode: EncodeSettings,
        variants: Sequence[Variant],
        blend: Blend = DEFAULT_BLEND,
        *,
        threads: int = 1,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        cv2.setNumThreads(threads)
        self._store, self._area, self._size, self._encode = store, area, size, encode
        self._variants, self._blend_method = tuple(variants), blend
        self._threads, self._part_seconds = threads, part_seconds

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        return each_within(self._part_seconds, self._rows(table))

    def _rows(self, table: pa.Table) -> Iterator[pa.Table]:
        for work in from_table(table):
            yield pa.table({"receipt": [self._receipt(work).to_json()]}, schema=RECEIPT_SCHEMA)

    def _receipt(self, work: ShardWork) -> Receipt:
        shard = work.shard
        if work.error:
            return Receipt(shard.source.key, shard.range, error=work.error)
        try:
            # Ray repeats a task whose worker died after the commit and before its answer.
            receipt = standing_receipt(self._area, shard, self._store)
            if receipt is None:
                tell("FrameCompositor", "begins", shard.source, shard.range)
                receipt = self.composite(work)
                tell("FrameCompositor", "commits", shard.source, shard.range)
            return receipt
        except Exception as error:  # a shard's failure is its own: it becomes a receipt with the reason
            full = isinstance(error, NoRoomError)
            return Receipt(shard.source.key, shard.range, error=explain(error, shard.source.url), no_room=full)

    def composite(self, work: ShardWork) -> Receipt:
        """Encode the shard's segment with its faces restored, and commit it.

        Returns:
            The receipt that stands: another run's, when that one was first.

        Raises:
            MediaError: the frames are not those that the detector saw, or the segment does not read back.
        """
        started = time.monotonic()
        shard = work.shard
        losses = ReadingLosses()
        summaries = self._commit_segments(work, losses)
        summary = summaries["restored"]
        placement = Placement.of(shard.probe, output_picture(shard.probe, self._size))
        rows = [_face_row(face, shard, placement) for face in work.faces]
        faces_part = write_faces_part(rows)
        faces_sha256 = hashlib.sha256(faces_part).hexdigest()
        self._store.commit_bytes(faces_part, self._area.faces(shard, faces_sha256), keep=True)
        receipt = Receipt(
            video=shard.source.key,
            range=shard.range,
            frames=summary.frames,
            first_pts=summary.first_pts,
            last_pts=summary.last_pts,
            digest=summary.digest,
            faces=dict(Counter(face.decision.value for face in work.faces)),
            tiers=dict(Counter(face.tier.value for face in work.faces)),
            restored=sum(face.crop_index >= 0 for face in work.faces),
            corrupt_packets=losses.corrupt_packets,
            concealed_frames=losses.concealed_frames,
            messages=tuple(losses.messages),
            sha256={variant: summary.sha256 for variant, summary in summaries.items() if summary.frames},
            faces_sha256=faces_sha256,
            size=summary.size,
            seconds=round(time.monotonic() - started, 2),
        )
        return commit_receipt(self._area, shard, receipt, self._store)

    def _commit_segments(self, work: ShardWork, losses: ReadingLosses) -> dict[Variant, SegmentSummary]:
        """Encode and check every variant, then make them visible; nothing is, when the range has no frame."""
        shard = work.shard
        if not work.frames:
            return dict.fromkeys(self._variants, SegmentSummary(0, None, None, work.digest, 0, ""))
        with ExitStack() as staging:
            paths = {
                variant: staging.enter_context(self._store.scratch(self._area.video(shard.source.key)))
                for variant in self._variants
            }
            summaries = self._encode_segments(work, paths, losses)
            summary = summaries["restored"]
            if (summary.frames, summary.digest) != (work.frames, work.digest):
                raise MediaError(
                    f"{shard.source.url}: {work.frames} frames were searched in {shard.range}, {summary.frames} could "
                    "be read again, or other ones. The file is the same: it is damaged, and not read alike from two "
                    "places. Run the same command with --shard-seconds longer than the video (up to 600), or remux it"
                )
            for variant, path in paths.items():
                url = self._area.segment(shard, variant, summaries[variant].sha256)
                self._store.commit_file(path, url, keep=True)
        return summaries

    def _encode_segments(
        self, work: ShardWork, paths: dict[Variant, Path], losses: ReadingLosses
    ) -> dict[Variant, SegmentSummary]:
        """Write every variant's segment, read each back, and return what each holds."""
        shard = work.shard
        picture = output_picture(shard.probe, self._size, self._encode.codec)
        two = replace(shard.probe, tags=shard.probe.tags.of_two_side_by_side())
        with ExitStack() as open_writers:
            writers = {
                variant: open_writers.enter_context(
                    SegmentWriter(
                        path,
                        two if variant == "compare" else shard.probe,
                        compared_picture(picture, shard.probe.rotation) if variant == "compare" else picture,
                        self._encode,
                        threads=self._threads,
                    )
                )
                for variant, path in paths.items()
            }
            for frames in self._composed(work, picture, losses):
                for variant, writer in writers.items():
                    writer.write(frames[variant])
        for writer in writers.values():
            writer.check()
        return {variant: writer.summary for variant, writer in writers.items()}

    def _composed(
        self, work: ShardWork, picture: OutputPicture, losses: ReadingLosses
    ) -> Iterator[dict[Variant, VideoFrame]]:
        """Every frame of the shard, in each variant that is asked for."""
        shard = work.shard
        faces_at: dict[int, list[FaceInFrame]] = defaultdict(list)
        for face in work.faces:
            if face.crop_index >= 0:
                faces_at[face.pts].append(face)
        for frame in read_pictures(shard, self._store, self._size, threads=self._threads, losses=losses):
            assert frame.pts is not None
            moments = [upscale(moment, shard.probe, picture) for moment in moments_of(frame, picture.field_order)]
            frames: dict[Variant, VideoFrame] = {}
            if len(self._variants) > 1:
                frames["baseline"] = _whole(frame, moments, shard.probe, picture)
            for number, moment in enumerate(moments):
                self._blend(moment, number, faces_at.get(frame.pts, []), work, picture)
            frames["restored"] = moments[0] if len(moments) == 1 else _whole(frame, moments, shard.probe, picture)
            if "compare" in self._variants:
                frames["compare"] = side_by_side(frames["baseline"], frames["restored"], picture, shard.probe.rotation)
            yield frames

    def _blend(
        self, frame: VideoFrame, moment: int, faces: list[FaceInFrame], work: ShardWork, picture: OutputPicture
    ) -> None:
        """Blend the patches of one moment of a frame into its picture, in place."""
        probe = work.shard.probe
        placement = Placement.of(probe, picture)
        patches = [
            Patch(
                rgb_to_planes(work.crops[face.crop_indices[moment]], probe, picture),
                placement.result_rect(face.crop),
                placement.crop_to_result_box(face.box),
                placement.landmarks_in_result(face.landmarks),
                face.strength,
            )
            for face in faces
        ]
        blend_patches(plane_views(frame), patches, placement.chroma_step, blend=self._blend_method, bits=picture.bits)


def _whole(frame: VideoFrame, moments: Sequence[VideoFrame], probe: VideoProbe, picture: OutputPicture) -> VideoFrame:
    """A frame at the result's size, of its own memory, with what else the source's carries (captions, user data)."""
    whole = upscale(frame, probe, picture)
    if len(moments) > 1:
        weave(whole, moments, picture.field_order)
    return whole


def _face_row(face: FaceInFrame, shard: Shard, placement: Placement) -> FacePartRow:
    """The manifest's account of one face in one frame."""
    restored = face.crop_index >= 0
    altered: Rect | None = placement.result_rect(face.crop) if restored else None
    return {
        "video": shard.source.relative_path,
        "pts": face.pts,
        "seconds": float(face.pts * shard.probe.time_base),
        "track": face.track,
        "observed": face.observed,
        "score": face.score,
        "x0": face.box.x0,
        "y0": face.box.y0,
        "x1": face.box.x1,
        "y1": face.box.y1,
        "width": face.width,
        "sharpness": face.sharpness,
        "tier": face.tier.value,
        "decision": face.decision.value,
        "expert": face.decision.value if restored else None,
        "strength": face.strength if restored else 0.0,
        "identity": face.identity,
        "source_identity": face.source_identity,
        "reason": face.reason,
        "altered_x0": altered.x0 if altered else None,
        "altered_y0": altered.y0 if altered else None,
        "altered_x1": altered.x1 if altered else None,
        "altered_y1": altered.y1 if altered else None,
        "head_anchor": face.head_anchor,
        "tail_anchor": face.tail_anchor,
    }
