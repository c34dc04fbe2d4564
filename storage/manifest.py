"""The manifest: what was done to every video, shard and face, as three Parquet tables under `DST/_facemill/<job>/`.

`docs/manifest.md` describes the columns for readers of the tables. Each finished video's rows are first written as
parts of their own (`parts/<table>/<video>.parquet`), the `videos` part last: it is the video's commit record. At the
end of a run the parts are joined into `videos.parquet`, `shards.parquet` and `faces.parquet`; videos that failed, which
have no parts, come from `storage.failures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.catalogue import Source
from storage.errors import MediaError
from storage.receipts import Receipt, WorkArea
from storage.shards import Shard
from storage.store import Store

_ROW_GROUP_ROWS = 1 << 14
"""Rows that a writer of a table holds back."""

FacePartRow = dict[str, Any]
"""One row of a shard's part of the faces table."""

VIDEOS_SCHEMA = pa.schema(
    [
        ("video", pa.string()),  # path of the source relative to what was given as SRC
        ("source", pa.string()),  # its full path or URL
        ("source_size", pa.int64()),  # bytes
        ("source_version", pa.string()),  # mtime in ns, or ETag
        ("status", pa.string()),  # done | failed
        ("reason", pa.string()),  # why it failed; empty when done
        ("output", pa.string()),  # path of the result relative to DST
        ("output_size", pa.int64()),  # bytes
        ("sha256", pa.string()),  # of the result's file
        ("container", pa.string()),  # FFmpeg muxer of the result
        ("container_reason", pa.string()),  # why it is not the source's; empty when it is
        ("codec", pa.string()),
        ("width", pa.int32()),  # of the result, pixels
        ("height", pa.int32()),
        ("time_base", pa.string()),  # seconds per tick of every pts in the three tables, as a fraction
        ("frames", pa.int64()),
        ("first_pts", pa.int64()),
        ("last_pts", pa.int64()),
        ("frames_not_decoded", pa.int64()),  # video packets of the source that gave no frame
        ("corrupt_packets", pa.int64()),  # packets the decoder refused
        ("concealed_frames", pa.int64()),  # frames in which the decoder made up what was damaged
        ("damage", pa.list_(pa.string())),  # what of the source could not be brought over, in words
        ("streams_copied", pa.int32()),
        ("packets_copied", pa.int64()),
        ("streams_left_out", pa.list_(pa.string())),  # streams that are not in the result: index:kind:codec
        ("verified", pa.list_(pa.string())),  # checks against the source that held before the commit: what was compared
        ("allowed", pa.list_(pa.string())),  # differences from the source that the container excuses, in the same words
        ("tracks", pa.int32()),
        ("faces", pa.int64()),  # faces in frames
        ("faces_restored", pa.int64()),
        ("weights", pa.map_(pa.string(), pa.string())),  # name of each set of weights in use -> sha256
        ("fidelity", pa.float64()),  # share of the faithful set in each expert
    ]
)

SHARDS_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("pts_start", pa.int64()),  # null: from the beginning
        ("pts_end", pa.int64()),  # exclusive; null: to the end
        ("frames", pa.int64()),
        ("first_pts", pa.int64()),
        ("last_pts", pa.int64()),
        ("digest", pa.string()),  # of the list of pts
        ("faces_skip", pa.int64()),
        ("faces_resize", pa.int64()),
        ("faces_expert_t", pa.int64()),
        ("faces_expert_f", pa.int64()),
        ("faces_restored", pa.int64()),
        ("corrupt_packets", pa.int64()),
        ("segment_bytes", pa.int64()),
        ("seconds", pa.float64()),  # wall-clock time of the compositor
    ]
)

FACES_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("pts", pa.int64()),
        ("seconds", pa.float64()),  # pts in seconds, for people; pts is the truth
        ("track", pa.int32()),  # the same face over time, numbered from 0 in each video
        ("observed", pa.bool_()),  # whether this frame was searched; else the box is interpolated
        ("score", pa.float32()),  # of the detector, at the nearest searched frame before
        ("x0", pa.float32()),  # box, source pixels as coded
        ("y0", pa.float32()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("width", pa.float32()),  # w of the routing table
        ("sharpness", pa.float32()),  # q of this frame; the decision follows from the track's median
        ("tier", pa.string()),  # tiny | small | medium | large
        ("decision", pa.string()),  # skip | resize | expert_t | expert_f
        ("expert", pa.string()),  # whose pixels were blended in; null when none
        ("strength", pa.float32()),  # 0 to 1
        ("identity", pa.float32()),  # cosine of the restored face to its track's own identity; null: not measured
        ("source_identity", pa.float32()),  # of the face as it was
        ("reason", pa.string()),
        ("altered_x0", pa.int32()),  # pixels of the result outside this rectangle are untouched; null when none
        ("altered_y0", pa.int32()),
        ("altered_x1", pa.int32()),
        ("altered_y1", pa.int32()),
    ]
)

_PART_SCHEMA = FACES_SCHEMA.append(pa.field("head_anchor", pa.string())).append(pa.field("tail_anchor", pa.string()))
_SCHEMAS = {"videos": VIDEOS_SCHEMA, "shards": SHARDS_SCHEMA, "faces": FACES_SCHEMA}


def write_faces_part(rows: Sequence[FacePartRow]) -> bytes:
    """One shard's faces, tracks numbered inside the shard, as a Parquet file."""
    return _to_parquet(pa.Table.from_pylist(list(rows), schema=_PART_SCHEMA))


def stitched_faces(parts: Iterable[bytes]) -> Iterator[pa.Table]:
    """Faces of a whole video from its shards' parts in order of time, with tracks numbered through, a part at a time.

    A track of one shard is the same face as a track of the shard before when both name the same last detection
    before their common border.
    """
    numbers: dict[str, int] = {}
    total = 0
    for content in parts:
        table = from_parquet(content)
        local = table.select(["track", "head_anchor", "tail_anchor"]).to_pylist()
        renumbered: dict[int, int] = {}
        tails: dict[str, int] = {}
        for row in local:
            if row["track"] not in renumbered:
                known = numbers.get(row["head_anchor"]) if row["head_anchor"] else None
                renumbered[row["track"]] = total if known is None else known
                total += known is None
            if row["tail_anchor"]:
                tails[row["tail_anchor"]] = renumbered[row["track"]]
        numbers.update(tails)
        tracks = pa.array([renumbered[row["track"]] for row in local], pa.int32())
        at = table.schema.get_field_index("track")
        yield table.set_column(at, "track", tracks).select(FACES_SCHEMA.names)


def shard_row(shard: Shard, receipt: Receipt) -> dict[str, Any]:
    """A receipt as a row of the shards table."""
    return {
        "video": shard.source.relative_path,
        "pts_start": receipt.range.start,
        "pts_end": receipt.range.end,
        "frames": receipt.frames,
        "first_pts": receipt.first_pts,
        "last_pts": receipt.last_pts,
        "digest": receipt.digest,
        **{f"faces_{name}": receipt.faces.get(name, 0) for name in ("skip", "resize", "expert_t", "expert_f")},
        "faces_restored": receipt.restored,
        "corrupt_packets": receipt.corrupt_packets,
        "segment_bytes": receipt.size,
        "seconds": receipt.seconds,
    }


def failed_row(source: Source, reason: str) -> dict[str, Any]:
    """The videos-table row of a video that was given up."""
    return {**_source_columns(source), "status": "failed", "reason": reason}


def _source_columns(source: Source) -> dict[str, Any]:
    return {
        "video": source.relative_path,
        "source": source.url,
        "source_size": source.identity.size,
        "source_version": source.identity.version,
    }


def done_video_row(source: Source, columns: dict[str, Any]) -> dict[str, Any]:
    """The videos-table row of a finished video; `columns` are those its assembly knows."""
    return {**_source_columns(source), "status": "done", "reason": "", **columns}


def commit_part(
    area: WorkArea, source: Source, name: str, rows: pa.Table | Sequence[dict[str, Any]], store: Store
) -> None:
    """Write one video's rows of one table."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=_SCHEMAS[name])
    store.commit_bytes(_to_parquet(table), area.parts(source, name))


def commit_faces(area: WorkArea, source: Source, tables: Iterable[pa.Table], store: Store) -> tuple[int, int]:
    """Write one video's rows of the faces table, a few at a time; returns how many faces and tracks there are."""
    faces, last_track = 0, -1
    with store.staged(area.parts(source, "faces")) as path, _writer(path, FACES_SCHEMA) as writer:
        for rows in _row_groups(tables):
            faces += rows.num_rows
            last_track = max(last_track, pc.max(rows["track"]).as_py())
            writer.write_table(rows)
    return faces, last_track + 1


def read_video_row(area: WorkArea, source: Source, store: Store) -> dict[str, Any] | None:
    """The commit record of a video; None when it is not done."""
    return read_video_part(area.parts(source, "videos"), store)


def read_video_part(url: str, store: Store) -> dict[str, Any] | None:
    """The commit record that lies at `url`; None when nothing does."""
    try:
        content = store.read_bytes(url)
    except FileNotFoundError:
        return None
    rows = from_parquet(content).to_pylist()
    if len(rows) != 1:
        raise MediaError(f"{url}: {len(rows)} rows where one video's record should be")
    return dict(rows[0])


def join_tables(area: WorkArea, sources: Sequence[Source], failures: Mapping[str, str], store: Store) -> None:
    """Join the parts of `sources` into the three tables, `videos.parquet` last; memory holds a few thousand rows.

    Args:
        failures: why videos failed, by `Source.key`; a video that is done all the same is a row of that.
    """
    for name in ("faces", "shards", "videos"):
        with store.staged(area.table(name)) as path, _writer(path, _SCHEMAS[name]) as writer:
            for rows in _row_groups(_tables_of_parts(area, sources, name, failures, store)):
                writer.write_table(rows)


def _tables_of_parts(
    area: WorkArea, sources: Sequence[Source], name: str, failures: Mapping[str, str], store: Store
) -> Iterator[pa.Table]:
    for source in sources:
        try:
            with store.local_copy(area.parts(source, name)) as path:
                for batch in pq.ParquetFile(path).iter_batches(_ROW_GROUP_ROWS, use_threads=False):
                    yield _with_every_column(pa.Table.from_batches([batch]), _SCHEMAS[name])
        except FileNotFoundError:
            if name == "videos" and source.key in failures:
                yield pa.Table.from_pylist([failed_row(source, failures[source.key])], schema=VIDEOS_SCHEMA)


def _with_every_column(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with nulls in the columns that it lacks, as one that an earlier facemill wrote may."""
    return pa.concat_tables([schema.empty_table(), table], promote_options="default")


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in larger tables, none of them empty: a row group costs as much as some hundred rows."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= _ROW_GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if any(each.num_rows for each in waiting):
        yield pa.concat_tables(waiting)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd")


def tables_are_joined(area: WorkArea, store: Store) -> bool:
    """Whether an earlier run got as far as joining the tables, of all that is in the parts."""
    joined_at = [file.modified for file in store.list_details(area.url) if file.url == area.table("videos")]
    return bool(joined_at) and all(file.modified < joined_at[0] for file in store.list_details(area.all_parts("")))


def from_parquet(content: bytes) -> pa.Table:
    """A table from the bytes of a Parquet file.

    On this thread alone: threads that Arrow has begun may abort a short command at its end, when all is done and told
    (apache/arrow issue 34314).
    """
    return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)


def _to_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
