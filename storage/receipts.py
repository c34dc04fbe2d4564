"""What a shard leaves behind when it is done, and where: segments, the faces table's part, and last the receipt.

Names are keyed by content: the job (sources, settings, weights), the video's version and the pts range. The receipt is
committed after everything it speaks of, so:

    crash before the segments are whole     nothing is visible; the shard is done again
    crash between segments and receipt      the same bytes' names are written again over themselves
    crash after the receipt                 the shard is done, whoever asks
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from storage.catalogue import Source
from storage.shards import PtsRange, Shard
from storage.store import Store, join

Variant = Literal["restored", "baseline", "compare"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True)
class Receipt:
    """The account of one shard, small enough to travel: under 1 KB."""

    video: str
    """`Source.key`."""
    range: PtsRange
    frames: int = 0
    first_pts: int | None = None
    last_pts: int | None = None
    digest: str = ""
    """`pts_digest` of the frames."""
    faces: dict[str, int] = field(default_factory=dict)
    """Faces in frames, by decision."""
    tiers: dict[str, int] = field(default_factory=dict)
    """Faces in frames, by tier."""
    restored: int = 0
    """Faces in frames that were blended in."""
    corrupt_packets: int = 0
    concealed_frames: int = 0
    """Frames in which the decoder made up what was damaged."""
    messages: tuple[str, ...] = ()
    """What else was wrong with the source here."""
    size: int = 0
    """Bytes of the restored segment; 0 when the range has no frame, and then there is no segment."""
    seconds: float = 0.0
    """Wall-clock time of the compositor."""
    error: str = ""
    """Why the shard was given up; empty when it is done."""
    sha256: dict[Variant, str] = field(default_factory=dict)
    """Of each variant's segment file; empty when the range has no frame."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        record = json.loads(text)
        return cls(**{**record, "range": PtsRange(**record["range"]), "messages": tuple(record["messages"])})


@dataclass(frozen=True)
class WorkArea:
    """Names of the working objects of one job."""

    url: str
    """`DST/_facemill/<job>`."""

    @property
    def work(self) -> str:
        """What is removed as videos are finished."""
        return join(self.url, "work")

    def video(self, key: str) -> str:
        return join(self.work, key)

    def probe(self, source: Source) -> str:
        return join(self.video(source.key), "probe.json")

    def segment(self, shard: Shard, variant: Variant) -> str:
        return join(self.video(shard.source.key), f"{shard.range}.{variant}.mp4")

    def faces(self, shard: Shard) -> str:
        return join(self.video(shard.source.key), f"{shard.range}.faces.parquet")

    def receipt(self, shard: Shard) -> str:
        return join(self.video(shard.source.key), f"{shard.range}.receipt.json")

    def parts(self, source: Source, table: str) -> str:
        """A finished video's rows of one manifest table; `videos` is the commit record and is written last."""
        return join(self.all_parts(table), f"{source.key}.parquet")

    def all_parts(self, table: str) -> str:
        """The folder of the parts of one manifest table."""
        return join(self.url, "parts", table)

    def table(self, table: str) -> str:
        return join(self.url, f"{table}.parquet")


def read_receipts(area: WorkArea, sources: Iterable[Source], store: Store) -> Iterator[Receipt]:
    """Receipts of the shards of these videos that are done; the job's working objects are listed once."""
    wanted = {area.video(source.key) for source in sources}
    for url in store.list_files(area.work):
        if url.endswith(".receipt.json") and posixpath.dirname(url) in wanted:
            yield Receipt.from_json(store.read_bytes(url))
