"""What a job left, held against its sources and against the same job undisturbed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.committing import PARTIAL_MARK
from storage.store import Store, join
from storage.uploads import open_uploads
from tests.media import decoded_by_pyav, story_of

_NOT_COMPARED = {"videos": ["output_size", "sha256"], "shards": ["seconds", "segment_bytes"]}
"""Columns that the clock decides, or an encoder's threads, of which there are as many as the cluster has cores left."""


@dataclass(frozen=True)
class Archive:
    """The destination of one finished job."""

    out: str
    """Folder or `s3://` prefix."""
    store: Store

    def rows(self, table: str) -> list[dict[str, Any]]:
        """A manifest table without what differs from run to run, in an order of its own."""
        urls = self.store.list_files(join(self.out, "_facemill"))
        (url,) = [url for url in urls if url.endswith(f"/{table}.parquet")]
        found = pq.read_table(pa.BufferReader(self.store.read_bytes(url))).drop_columns(_NOT_COMPARED.get(table, []))
        return sorted(found.to_pylist(), key=repr)

    def pictures(self, video: str) -> list[tuple[int, str]]:
        """(pts, hash of the decoded planes) of every frame of a result."""
        with self.store.local_copy(join(self.out, video)) as path:
            return decoded_by_pyav(path)

    def other_streams(self, video: str) -> object:
        """Everything of a result but its pictures."""
        with self.store.local_copy(join(self.out, video)) as path:
            return story_of(path).others

    def leftovers(self) -> list[str]:
        """Working objects, partial files and open uploads: whatever is neither a result nor the record of the job."""
        working = ("/work/", "/redo/", f"/{PARTIAL_MARK}", "/failures/")
        found = [url for url in self.store.list_files(self.out) if any(mark in url for mark in working)]
        return found + [upload.url for upload in open_uploads(self.out, self.store)]


@dataclass(frozen=True)
class Comparison:
    """A disturbed job's archive beside the undisturbed one's."""

    frames: int
    """Of all videos, as their sources have them."""
    lost: int
    doubled: int
    same_pixels: bool
    """Every frame of every result decodes to the same samples at the same pts."""
    same_streams: bool
    same_tables: bool
    left: tuple[str, ...]


def compare(found: Archive, undisturbed: Archive, source: Path, videos: list[str]) -> Comparison:
    """Decode every result of both, and every source."""
    frames = lost = doubled = 0
    same_pixels = same_streams = True
    for video in videos:
        wanted = [pts for pts, _ in decoded_by_pyav(source / video)]
        pictures = found.pictures(video)
        counted = Counter(pts for pts, _ in pictures)
        frames += len(wanted)
        lost += len(set(wanted) - counted.keys())
        doubled += sum(count - 1 for count in counted.values())
        same_pixels &= pictures == undisturbed.pictures(video)
        same_streams &= found.other_streams(video) == undisturbed.other_streams(video)
    same_tables = all(found.rows(table) == undisturbed.rows(table) for table in ("videos", "shards", "faces"))
    return Comparison(frames, lost, doubled, same_pixels, same_streams, same_tables, tuple(found.leftovers()))
