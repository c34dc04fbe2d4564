"""The last stage of a video: join its segments, bring over the rest of the source, commit, and put it on record.

Order of the writes, and what a crash between them leaves:

    1. DST/<video> (and its baseline, comparison)   the finished files, without a record: assembled again next time
    2. parts/faces, parts/shards                    the same
    3. parts/videos                                 the commit record: the video is done
    4. removal of the working objects               some stay: removed with the next run of the job
"""

from __future__ import annotations

import posixpath
from contextlib import ExitStack
from dataclasses import dataclass

from storage.assembly import AssemblyReport, assemble_video
from storage.containers import ContainerChoice
from storage.encoding import Codec, OutputPicture
from storage.manifest import commit_part, done_video_row, shard_row, stitched_faces
from storage.receipts import Receipt, Variant, WorkArea
from storage.shards import Shard
from storage.store import Store, join


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
    """(expert, sha256 of its weights)."""


def output_path(choice: ContainerChoice, variant: Variant) -> str:
    """Path of a result below the destination: `talk.mp4`, `talk.baseline.mp4`, `talk.compare.mp4`."""
    if variant == "restored":
        return choice.relative_path
    stem, suffix = posixpath.splitext(choice.relative_path)
    return f"{stem}.{variant}{suffix}"


def finish_video(order: FinishingOrder, store: Store) -> None:
    """Write a video's results and its manifest rows, then remove what was only needed on the way.

    Raises:
        MediaError: the joined file is not what it must be; nothing was made visible then.
    """
    reports = {variant: _assemble(order, variant, store) for variant in order.variants}
    _commit_rows(order, reports["restored"], store)
    remove_working_objects(order.area, order.shard, store)


def remove_working_objects(area: WorkArea, shard: Shard, store: Store) -> None:
    """Remove a finished video's segments, receipts and parts of the faces table."""
    store.remove(store.list_files(area.video(shard.source.key)))


def _assemble(order: FinishingOrder, variant: Variant, store: Store) -> AssemblyReport:
    url = order.shard.source.url
    filled = [order.shard.part(*_ends(receipt)) for receipt in order.receipts if receipt.frames]
    with ExitStack() as open_files:
        target = open_files.enter_context(store.staged(join(order.out, output_path(order.choice, variant))))
        segments = [open_files.enter_context(store.local_copy(order.area.segment(shard, variant))) for shard in filled]
        media = open_files.enter_context(store.open_media(url))
        return assemble_video(media, url, order.shard.probe, segments, target, order.choice)


def _ends(receipt: Receipt) -> tuple[int | None, int | None]:
    return receipt.range.start, receipt.range.end


def _commit_rows(order: FinishingOrder, report: AssemblyReport, store: Store) -> None:
    source = order.shard.source
    parts = (store.read_bytes(order.area.faces(order.shard.part(*_ends(receipt)))) for receipt in order.receipts)
    faces = stitched_faces(parts)
    tracks = faces["track"].to_pylist()
    row = done_video_row(
        source,
        {
            "output": output_path(order.choice, "restored"),
            "output_size": store.identity(join(order.out, output_path(order.choice, "restored"))).size,
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
            "streams_copied": report.streams_copied,
            "packets_copied": report.packets_copied,
            "streams_left_out": report.streams_left_out,
            "tracks": len(set(tracks)),
            "faces": len(tracks),
            "faces_restored": sum(receipt.restored for receipt in order.receipts),
            "weights": list(order.weights),
        },
    )
    commit_part(order.area, source, "faces", faces, store)
    commit_part(order.area, source, "shards", [shard_row(order.shard, receipt) for receipt in order.receipts], store)
    commit_part(order.area, source, "videos", [row], store)
