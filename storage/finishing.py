"""The last stage of a video: join its segments, bring over the rest of the source, commit, and put it on record.

Order of the writes, and what a crash between them leaves:

    1. DST/<video> (and its baseline, comparison)   finished files without a record: assembled again next time
    2. parts/faces, parts/shards                    the same
    3. parts/videos                                 the commit record: the video is done
    4. removal of the working objects               some stay, and cost space only
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from storage.assembly import AssemblyReport, assemble_video
from storage.catalogue import Source
from storage.containers import ContainerChoice
from storage.encoding import Codec, OutputPicture
from storage.errors import MediaError, explain
from storage.manifest import commit_faces, commit_part, done_video_row, read_video_row, shard_row, stitched_faces
from storage.picture_checks import other_field_order
from storage.probe import VideoProbe
from storage.reader import read_frames, refuse_changed
from storage.receipts import Receipt, Variant, WorkArea
from storage.segments import file_sha256
from storage.shards import Shard
from storage.store import Store, join
from storage.words import counted


@dataclass(frozen=True)
class FinishingOrder:
    """Everything needed to finish one video."""

    area: WorkArea
    out: str
    """Folder or prefix that takes the results."""
    shard: Shard
    """Any shard of the video: its source and its probe."""
    receipts: tuple[Receipt, ...]
    """Of the whole video, in order of time."""
    picture: OutputPicture
    choice: ContainerChoice
    codec: Codec
    variants: tuple[Variant, ...]
    weights: tuple[tuple[str, str], ...]
    """(registered name, sha256) of every set of weights in use."""
    fidelity: float
    """Share of the faithful set in each expert, 0 to 1."""

    @property
    def receipts_with_frames(self) -> list[Receipt]:
        """Of the shards that have a segment."""
        return [receipt for receipt in self.receipts if receipt.frames]


def output_path(choice: ContainerChoice, variant: Variant) -> str:
    """Path of a result below the destination: `talk.mp4`, `talk.baseline.mp4`, `talk.compare.mp4`."""
    return variant_path(choice.relative_path, variant)


def variant_path(restored: str, variant: Variant) -> str:
    """Path of a variant of the video whose restored one lies at the path `restored`."""
    stem, suffix = posixpath.splitext(restored)
    return restored if variant == "restored" else f"{stem}.{variant}{suffix}"


def finish_video(order: FinishingOrder, store: Store) -> list[str]:
    """Write a video's results and its manifest rows, then remove what was only needed on the way.

    May be repeated at any point: a video that :func:`is_finished` is only cleaned up after.

    Returns:
        What a person should know of the finished video: what of its source could not be read.

    Raises:
        MediaError: a joined file is not what it must be; that file was not made visible then.
        SourceError: the source is no longer the file that the job found; nothing was made visible then either.
    """
    source = order.shard.source
    row = read_video_row(order.area, source, store)
    if row is None or not _is_done(row, order.out, store):
        written = {variant: _assemble(order, variant, store) for variant in order.variants}
        row = _commit_rows(order, *written["restored"], store)
    return [*row["damage"], *_remove_working_objects(order.area, source, store)]


def is_finished(area: WorkArea, out: str, source: Source, store: Store) -> bool:
    """Whether a video's record says done and its result is still there, as large as the record tells."""
    row = read_video_row(area, source, store)
    return row is not None and _is_done(row, out, store)


def _is_done(row: dict[str, Any], out: str, store: Store) -> bool:
    if row["status"] != "done":
        return False
    try:
        return store.identity(join(out, row["output"])).size == row["output_size"]
    except FileNotFoundError:
        return False


def _remove_working_objects(area: WorkArea, source: Source, store: Store) -> list[str]:
    """Remove a finished video's receipts, then what they speak of; returns what is worth telling when that fails.

    The record is there by now: a failure here costs space, not the video.
    """
    urls = sorted(store.list_files(area.video(source.key)), key=lambda url: not url.endswith(".receipt.json"))
    try:
        store.remove(urls)
    except (OSError, ClientError) as error:
        return [f"its working files could not be removed ({explain(error)})"]
    return []


def _assemble(order: FinishingOrder, variant: Variant, store: Store) -> tuple[AssemblyReport, str]:
    """Write one of the order's videos; returns what was joined, and the file's SHA-256 in hex."""
    url = order.shard.source.url
    filled = [order.shard.part(*_ends(receipt)) for receipt in order.receipts_with_frames]
    with ExitStack() as open_files:
        target = open_files.enter_context(store.staged(join(order.out, output_path(order.choice, variant))))
        segments = [open_files.enter_context(store.local_copy(order.area.segment(shard, variant))) for shard in filled]
        media = open_files.enter_context(store.open_media(url))
        for receipt, segment in zip(order.receipts_with_frames, segments, strict=True):
            _require_whole(receipt, segment, variant, order, store)
        same_shape = variant != "compare"
        probe = _told_probe(order, variant)
        report = assemble_video(media, url, probe, segments, target, order.choice, same_shape=same_shape)
        _require_all_frames(order.receipts, report)
        _require_none_lost_between_shards(order, report, store)
        refuse_changed(order.shard.source, store)  # as it was found, to the end: then so it was whenever it was read
        return report, file_sha256(target)


def _require_all_frames(receipts: Sequence[Receipt], report: AssemblyReport) -> None:
    """Raise MediaError when the result has not as many frames as its shards' receipts tell."""
    told = sum(receipt.frames for receipt in receipts)
    if report.frames != told:
        raise MediaError(
            f"the joined file has {report.frames} frames, the receipts of its shards tell of {told}. "
            "Remove the job's folder under _facemill and run the same command again"
        )


def _require_none_lost_between_shards(order: FinishingOrder, report: AssemblyReport, store: Store) -> None:
    """Raise MediaError when the source, read in one go, has another number of frames than its shards together.

    It is read again only when packets gave no frame and no shard tells of damage: so begins many a recording, before
    its first keyframe, and nothing but reading it whole tells that from a frame that no shard gave.
    """
    told = any(receipt.corrupt_packets or receipt.concealed_frames or receipt.messages for receipt in order.receipts)
    if not report.frames_not_decoded or told or report.messages:
        return
    frames = sum(1 for _ in read_frames(order.shard.part(None, None), store))
    if frames != report.frames:
        raise MediaError(
            f"{order.shard.source.url}: its shards together gave {report.frames} frames, "
            f"read in one go it has {frames}. Run the same command with --shard-seconds longer than the video, "
            "and report this file"
        )


def _told_probe(order: FinishingOrder, variant: Variant) -> VideoProbe:
    """The probe with the tags that a result of this kind shall have."""
    probe = order.shard.probe
    tags = probe.tags.of_two_side_by_side() if variant == "compare" else probe.tags
    return replace(probe, tags=replace(tags, field_order=order.picture.field_order))


def _require_whole(receipt: Receipt, segment: Path, variant: Variant, order: FinishingOrder, store: Store) -> None:
    """Hold a segment against its receipt; a segment that is another is forgotten, so that the next run makes it anew.

    Raises:
        MediaError: its bytes are not those that were checked when it was written.
    """
    if file_sha256(segment) == receipt.sha256[variant]:
        return
    shard = order.shard.part(*_ends(receipt))
    store.remove([order.area.receipt(shard)])
    raise MediaError(
        f"{order.area.segment(shard, variant)}: the segment is not the one that its receipt speaks of: the storage "
        "returned other bytes than were written. Run the same command again: it makes this segment anew"
    )


def _ends(receipt: Receipt) -> tuple[int | None, int | None]:
    return receipt.range.start, receipt.range.end


def _commit_rows(order: FinishingOrder, report: AssemblyReport, sha256: str, store: Store) -> dict[str, Any]:
    """Commit the video's rows of the three tables, `videos` last; returns that one."""
    source = order.shard.source
    parts = (store.read_bytes(order.area.faces(order.shard.part(*_ends(receipt)))) for receipt in order.receipts)
    faces, tracks = commit_faces(order.area, source, stitched_faces(parts), store)
    row = done_video_row(
        source,
        {
            "output": output_path(order.choice, "restored"),
            "output_size": store.identity(join(order.out, output_path(order.choice, "restored"))).size,
            "sha256": sha256,
            "container": order.choice.muxer,
            "container_reason": order.choice.reason,
            "codec": order.codec,
            "width": order.picture.width,
            "height": order.picture.height,
            "time_base": str(order.shard.probe.time_base),
            "frames": report.frames,
            "first_pts": report.first_pts,
            "last_pts": report.last_pts,
            "frames_not_decoded": report.frames_not_decoded,
            "corrupt_packets": sum(receipt.corrupt_packets for receipt in order.receipts),
            "concealed_frames": sum(receipt.concealed_frames for receipt in order.receipts),
            "damage": _damage(order, report),
            "streams_copied": report.streams_copied,
            "packets_copied": report.packets_copied,
            "streams_left_out": report.streams_left_out,
            "verified": report.verified,
            "allowed": [*report.allowed, *_changed_on_request(order)],
            "tracks": tracks,
            "faces": faces,
            "faces_restored": sum(receipt.restored for receipt in order.receipts),
            "weights": list(order.weights),
            "fidelity": order.fidelity,
        },
    )
    commit_part(order.area, source, "shards", [shard_row(order.shard, receipt) for receipt in order.receipts], store)
    commit_part(order.area, source, "videos", [row], store)
    return row


def _changed_on_request(order: FinishingOrder) -> list[str]:
    """Differences from the source that were asked for, as verification tells them."""
    wanted, found = order.shard.probe.tags.field_order, order.picture.field_order
    return [str(other_field_order(wanted, found))] if wanted != found else []


def _damage(order: FinishingOrder, report: AssemblyReport) -> list[str]:
    """What of the source could not be brought over, or not as it was, in words."""
    told = sorted({message for receipt in order.receipts for message in receipt.messages} | set(report.messages))
    told = [*order.shard.probe.timeline.remarks, *told]
    if concealed := sum(receipt.concealed_frames for receipt in order.receipts):
        are = counted(concealed, "frame is", "frames are")
        told.insert(0, f"{are} damaged: the decoder made up what was missing")
    if report.frames_not_decoded:
        told.insert(0, f"{counted(report.frames_not_decoded, 'video packet')} of the source gave no frame")
    return told + [f"stream {name} cannot be held by the container" for name in report.streams_left_out]
