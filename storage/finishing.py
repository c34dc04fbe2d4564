"""The last stage of a video: join its segments, bring over the rest of the source, commit, and put it on record.

Order of the writes, and what a crash between them leaves:

    1. work/<video>/joining.json                    what it is joined from; whoever joins it takes these receipts
    2. announced/<video>.json                       where the results will be: what is there is no stranger's
    3. DST/<video> (and its baseline, comparison)   finished files without a record: assembled again next time
    4. parts/faces, parts/shards                    the same
    5. parts/videos                                 the commit record: the video is done
    6. removal of the working objects               some stay, and cost space only

Two runs may do this at the same time: see `storage.receipts`. The one that comes later may find working objects gone;
then the record says that the video is done.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from storage.assembly import AssemblyReport, assemble_video
from storage.catalogue import Source
from storage.containers import ContainerChoice
from storage.encoding import Codec, OutputPicture
from storage.errors import MediaError, explain
from storage.failures import Failure, commit_failure
from storage.manifest import commit_faces, commit_part, done_video_row, read_video_row, shard_row, stitched_faces
from storage.picture_checks import other_field_order
from storage.probe import VideoProbe
from storage.reader import read_frames, refuse_changed
from storage.receipts import Receipt, Variant, WorkArea, agreed_receipts, forget_shard, receipts_apart
from storage.segments import file_sha256
from storage.shards import Shard
from storage.store import Store, join
from storage.tick_list import TickList
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

    May be repeated at any point: a video that is finished is only cleaned up after.

    Returns:
        What a person should know of the finished video: what of its source could not be read.

    Raises:
        MediaError: a joined file is not what it must be; that file was not made visible then.
        SourceError: the source is no longer the file that the job found; nothing was made visible then either.
    """
    source = order.shard.source
    row = _row_that_stays(order.area, order.out, source, store)
    if row is None:
        try:
            row = _finish(order, store)
        except (OSError, MediaError):  # another run that finished it removes what this one still needs
            row = _row_that_stays(order.area, order.out, source, store)
            if row is None:
                raise
    return [*row["damage"], *_remove_working_objects(order.area, source, store)]


def _finish(order: FinishingOrder, store: Store) -> dict[str, Any]:
    """Write results and rows; returns the row of `videos`."""
    order = replace(order, receipts=agreed_receipts(order.area, order.shard.source, order.receipts, store))
    outputs = [output_path(order.choice, variant) for variant in order.variants]
    store.commit_bytes(json.dumps(outputs).encode(), order.area.announced(order.shard.source))
    written = {variant: _assemble(order, variant, store) for variant in order.variants}
    return _commit_rows(order, *written["restored"], store)


def finished_row(area: WorkArea, out: str, source: Source, store: Store) -> dict[str, Any] | None:
    """A video's record, when it is done and its result is still there, as large as the record tells; else None."""
    row = read_video_row(area, source, store)
    return row if row is not None and _is_in_place(row, out, store) else None


def _row_that_stays(area: WorkArea, out: str, source: Source, store: Store) -> dict[str, Any] | None:
    """As `finished_row`; None also for a video that is being made again."""
    row = finished_row(area, out, source, store)
    return None if row is None or store.exists(area.redo(source)) else row


def _is_in_place(row: dict[str, Any], out: str, store: Store) -> bool:
    return row["status"] == "done" and _size(join(out, row["output"]), store) == row["output_size"]


def _size(url: str, store: Store) -> int | None:
    """Bytes of a file; None when there is none."""
    try:
        return store.identity(url).size
    except FileNotFoundError:
        return None


def give_up(area: WorkArea, out: str, source: Source, failure: Failure, store: Store) -> bool:
    """Put a failure on record, unless another run has finished the video meanwhile; whether it was.

    What an earlier run made of the video stays, and its record with it.
    """
    if _row_that_stays(area, out, source, store) is not None:
        return False
    commit_failure(area, source, failure, store)
    row = read_video_row(area, source, store)
    if row is not None and not _is_in_place(row, out, store):
        store.remove([area.parts(source, "videos")])  # it speaks of a result that is not there any more
    return True


def _remove_working_objects(area: WorkArea, source: Source, store: Store) -> list[str]:
    """Remove a finished video's receipts, then what they speak of; returns what is worth telling when that fails.

    The record is there by now: a failure here costs space, not the video.
    """
    try:
        speaking, spoken_of = receipts_apart(store.list_files(area.video(source.key)))
        told = [area.redo(source), area.failure(source), area.announced(source)]
        store.remove(told, speaking, spoken_of)
    except (OSError, ClientError) as error:
        return [f"its working files could not be removed ({explain(error)})"]
    return []


def _assemble(order: FinishingOrder, variant: Variant, store: Store) -> tuple[AssemblyReport, str, int]:
    """Join one of the order's videos, check it and make it visible; returns what was joined, its SHA-256, its bytes."""
    url = order.shard.source.url
    filled = [order.shard.part(*_ends(receipt)) for receipt in order.receipts_with_frames]
    result = join(order.out, output_path(order.choice, variant))
    before = _size(result, store)
    with ExitStack() as open_files:
        owner = order.area.owner(order.shard.source)
        target = open_files.enter_context(store.scratch(posixpath.dirname(result), owner))
        segments = [
            open_files.enter_context(_whole_segment(order, shard, receipt, variant, store))
            for shard, receipt in zip(filled, order.receipts_with_frames, strict=True)
        ]
        media = open_files.enter_context(store.open_media(url))
        same_shape = variant != "compare"
        probe = _told_probe(order, variant)
        report = assemble_video(media, url, probe, segments, target, order.choice, same_shape=same_shape)
        _require_all_frames(order.receipts, report)
        refuse_changed(order.shard.source, store)  # as it was found, to the end: then so it was whenever it was read
        _require_as_in_one_go(order, report, store)
        return report, *_commit_result(target, result, store, replaced=before is not None)


def _commit_result(target: Path, result: str, store: Store, *, replaced: bool) -> tuple[str, int]:
    """Make a result visible, and return its SHA-256 in hex and its bytes: of what was sent, whatever stands later.

    It replaces one that was there before, but not one that another run made meanwhile: that was joined from the same
    receipts, and a reader that has begun with it shall end with it. One of other bytes is another job's, and the later
    of the two stands.
    """
    sha256, size = file_sha256(target), target.stat().st_size
    if not store.commit_file(target, result, keep=not replaced):
        with store.local_copy(result) as standing:
            same = file_sha256(standing) == sha256
        if not same:
            store.commit_file(target, result)
    return sha256, size


def _require_all_frames(receipts: Sequence[Receipt], report: AssemblyReport) -> None:
    """Raise MediaError when the result has not as many frames as its shards' receipts tell."""
    told = sum(receipt.frames for receipt in receipts)
    if report.frames != told:
        raise MediaError(
            f"the joined file has {report.frames} frames, the receipts of its shards tell of {told}. "
            "Remove the job's folder under _facemill and run the same command again"
        )


def _require_as_in_one_go(order: FinishingOrder, report: AssemblyReport, store: Store) -> None:
    """Raise MediaError when the source, read in one go, has other frames than its shards together.

    It is read again only when packets gave no frame and no shard tells of damage: so begins many a recording, before
    its first keyframe, and nothing but reading it whole tells that from a frame that no shard gave. And when frames
    have no packet: behind damage a demuxer may leap over what a seek lands in.
    """
    told = any(receipt.corrupt_packets or receipt.concealed_frames or receipt.messages for receipt in order.receipts)
    is_lossy = report.frames_not_decoded and not told and not report.messages
    if not is_lossy and not report.frames_unpacked:
        return
    frames = read_frames(order.shard.part(None, None), store)
    in_one_go = TickList(frame.pts for frame in frames if frame.pts is not None)
    if in_one_go != report.shown:
        raise MediaError(
            f"{order.shard.source.url}: its shards together gave {report.frames} frames, read in one go it has "
            f"{len(in_one_go)}, or others. It is damaged: run the same command with --shard-seconds longer than "
            "the video (up to 600), or remux it first"
        )


def _told_probe(order: FinishingOrder, variant: Variant) -> VideoProbe:
    """The probe with the tags that a result of this kind shall have."""
    probe = order.shard.probe
    tags = probe.tags.of_two_side_by_side() if variant == "compare" else probe.tags
    return replace(probe, tags=replace(tags, field_order=order.picture.field_order))


@contextmanager
def _whole_segment(
    order: FinishingOrder, shard: Shard, receipt: Receipt, variant: Variant, store: Store
) -> Iterator[Path]:
    """A local copy of a segment that is what its receipt says.

    Raises:
        MediaError: it is gone, or its bytes are not those that were checked when it was written.
    """
    url = order.area.segment(shard, variant, receipt.sha256[variant])
    with ExitStack() as open_files:
        try:
            path = open_files.enter_context(store.local_copy(url))
            found = file_sha256(path)
        except FileNotFoundError:
            found = ""
        if found != receipt.sha256[variant]:
            raise _forgotten(order, shard, receipt, url, store, gone=not found)
        yield path


def _forgotten(
    order: FinishingOrder, shard: Shard, receipt: Receipt, url: str, store: Store, *, gone: bool
) -> MediaError:
    """Forget a shard that has lost the object `url`, so that the next run makes it anew; the error that says so."""
    forget_shard(order.area, shard, receipt, store)
    what = "it is gone" if gone else "the storage returned other bytes than were written"
    return MediaError(
        f"{url}: not what its receipt speaks of: {what}. Run the same command again: it is made anew then"
    )


def _ends(receipt: Receipt) -> tuple[int | None, int | None]:
    return receipt.range.start, receipt.range.end


def _commit_rows(order: FinishingOrder, report: AssemblyReport, sha256: str, size: int, store: Store) -> dict[str, Any]:
    """Commit the video's rows of the three tables, `videos` last; returns that one.

    Args:
        sha256: of the restored result, as it was sent; `size` its bytes. By its size a record is believed or not, so
            it never is that of another job's result.
    """
    source = order.shard.source
    parts = (_faces_part(order, receipt, store) for receipt in order.receipts)
    faces, tracks = commit_faces(order.area, source, stitched_faces(parts), store)
    row = done_video_row(
        source,
        {
            "output": output_path(order.choice, "restored"),
            "output_size": size,
            "sha256": sha256,
            "container": order.choice.muxer,
            "container_reason": order.choice.reason,
            "codec": order.codec,
            "width": order.picture.width,
            "height": order.picture.height,
            "time_base": str(order.shard.probe.time_base),
            "frames": report.frames,
            "first_pts": report.shown[0],
            "last_pts": report.shown[-1],
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


def _faces_part(order: FinishingOrder, receipt: Receipt, store: Store) -> bytes:
    """A shard's part of the faces table; held against its receipt as a segment is."""
    shard = order.shard.part(*_ends(receipt))
    url = order.area.faces(shard, receipt.faces_sha256)
    try:
        content = store.read_bytes(url)
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != receipt.faces_sha256:
        raise _forgotten(order, shard, receipt, url, store, gone=not content)
    return content


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
    late = {other.index for other in order.shard.probe.other_streams if other.is_late}
    for name in report.streams_left_out:
        is_late = int(name.partition(":")[0]) in late
        told.append(f"stream {name} " + ("appears only midway" if is_late else "cannot be held by the container"))
    return told
