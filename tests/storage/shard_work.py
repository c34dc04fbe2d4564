"""What the compositor leaves of a video, without faces and without actors: segments, receipts, an order to finish."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from storage.containers import choose_container
from storage.encoding import EncodeSettings, SizeSettings, output_picture
from storage.finishing import FinishingOrder
from storage.manifest import write_faces_part
from storage.reader import read_frames
from storage.receipts import Receipt, WorkArea, commit_receipt
from storage.segments import SegmentWriter
from storage.shards import Shard
from storage.store import Store

SIZE = SizeSettings(scale=1)
SETTINGS = EncodeSettings(preset="ultrafast", crf=30)


def commit_shard(
    shard: Shard, area: WorkArea, store: Store, settings: EncodeSettings = SETTINGS, *, reading: Store | None = None
) -> Receipt:
    """Commit a shard as the compositor does, its frames as they are; returns the receipt that stands.

    Args:
        reading: where its source lies; on a disk unless given.
    """
    with store.scratch(area.video(shard.source.key)) as path:
        with SegmentWriter(path, shard.probe, output_picture(shard.probe, SIZE), settings) as writer:
            for frame in read_frames(shard, reading or Store()):
                writer.write(frame)
        summary = writer.summary
        store.commit_file(path, area.segment(shard, "restored", summary.sha256), keep=True)
    faces = write_faces_part([])
    faces_sha256 = hashlib.sha256(faces).hexdigest()
    store.commit_bytes(faces, area.faces(shard, faces_sha256), keep=True)
    receipt = Receipt(
        shard.source.key,
        shard.range,
        frames=summary.frames,
        first_pts=summary.first_pts,
        last_pts=summary.last_pts,
        digest=summary.digest,
        size=summary.size,
        sha256={"restored": summary.sha256},
        faces_sha256=faces_sha256,
    )
    return commit_receipt(area, shard, receipt, store)


def finishing_order(shards: Sequence[Shard], receipts: Sequence[Receipt], area: WorkArea, out: str) -> FinishingOrder:
    """To finish a video whose shards are all there."""
    source, probe = shards[0].source, shards[0].probe
    return FinishingOrder(
        area=area,
        out=out,
        shard=shards[0],
        receipts=tuple(receipts),
        picture=output_picture(probe, SIZE),
        choice=choose_container(probe, source.relative_path, "h264"),
        codec="h264",
        variants=("restored",),
        weights=(),
        fidelity=0.5,
    )
