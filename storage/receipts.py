"""What a shard leaves behind when it is done, and where: segments, the faces table's part, and last the receipt.

Two runs of a job may make the same shard at the same time, and encoders need not give both the same bytes. So whatever
a receipt speaks of has the hash of its content in its name, and the receipt names it by that hash: what was made by one
run is never taken for what another made. Of two receipts the first stands, and the other run goes on with that one.

    crash before a segment is whole         nothing is visible; the shard is done again
    crash between segments and receipt      objects that no receipt names: they cost space until the video is finished
    crash after the receipt                 the shard is done, whoever asks

What a video is joined from is agreed on in the same way, by a list of receipts that the first run to join it leaves. So
two runs that finish a video at the same time write the same packets and rows, and it does not matter whose object a
reader meets. On an S3 server that cannot refuse to write over an object (`storage.committing`) the last receipt and the
last list stand; each run still joins its own, of which nothing is missing.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from storage.catalogue import Source
from storage.shards import PtsRange, Shard
from storage.store import Store, join

Variant = Literal["restored", "baseline", "compare"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

RECEIPT_SUFFIX = ".receipt.json"

_HASH_DIGITS = 16
"""Of a SHA-256 in names; receipts hold all of it."""


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
    no_room: bool = False
    """Whether it was for a full disk, which ends the job."""
    sha256: dict[Variant, str] = field(default_factory=dict)
    """Of each variant's segment file; empty when the range has no frame."""
    faces_sha256: str = ""
    """Of the shard's part of the faces table."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        return cls.from_record(json.loads(text))

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Receipt:
        return cls(**{**record, "range": PtsRange(**record["range"]), "messages": tuple(record["messages"])})


@dataclass(frozen=True)
class WorkArea:
    """Names of the working objects of one job."""

    url: str
    """`DST/_facemill/<job>`."""

    @property
    def name(self) -> str:
        """Of the job: 16 hex digits."""
        return posixpath.basename(self.url)

    @property
    def work(self) -> str:
        """What is removed as videos are finished."""
        return join(self.url, "work")

    def video(self, key: str) -> str:
        return join(self.work, key)

    def probe(self, source: Source) -> str:
        return join(self.video(source.key), "probe.json")

    def segment(self, shard: Shard, variant: Variant, sha256: str) -> str:
        return join(self.video(shard.source.key), f"{shard.range}.{variant}.{sha256[:_HASH_DIGITS]}.mp4")

    def faces(self, shard: Shard, sha256: str) -> str:
        return join(self.video(shard.source.key), f"{shard.range}.faces.{sha256[:_HASH_DIGITS]}.parquet")

    def receipt(self, shard: Shard) -> str:
        return join(self.video(shard.source.key), f"{shard.range}{RECEIPT_SUFFIX}")

    def joining(self, source: Source) -> str:
        """The receipts that a video is joined from, whichever run joins it."""
        return join(self.video(source.key), "joining.json")

    def redo(self, source: Source) -> str:
        """There while a finished video is being made again."""
        return join(self.redone, source.key)

    @property
    def redone(self) -> str:
        return join(self.url, "redo")

    def announced(self, source: Source) -> str:
        """The places of a video's results, there before the first of them is, until the video is on record."""
        return join(self.announcements, f"{source.key}.json")

    @property
    def announcements(self) -> str:
        return join(self.url, "announced")

    def failure(self, source: Source) -> str:
        return join(self.failures, f"{source.key}.json")

    @property
    def failures(self) -> str:
        """The folder of the reasons why videos failed."""
        return join(self.url, "parts", "failures")

    @property
    def abandoned(self) -> str:
        """There once what was left of the job was given up, until it is run again."""
        return join(self.url, "abandoned")

    @property
    def job_record(self) -> str:
        return join(self.url, "job.json")

    def owner(self, source: Source) -> str:
        """How the names of partial files of a video's results begin, behind their mark."""
        return f"{self.name}-{source.key}-"

    def parts(self, source: Source, table: str) -> str:
        """A finished video's rows of one manifest table; `videos` is the commit record and is written last."""
        return join(self.all_parts(table), f"{source.key}.parquet")

    def all_parts(self, table: str) -> str:
        """The folder of the parts of one manifest table."""
        return join(self.url, "parts", table)

    def table(self, table: str) -> str:
        return join(self.url, f"{table}.parquet")


def commit_receipt(area: WorkArea, shard: Shard, receipt: Receipt, store: Store) -> Receipt:
    """Commit a shard's receipt, after all that it speaks of; returns the one that stands, perhaps another run's."""
    url = area.receipt(shard)
    if store.commit_bytes(receipt.to_json().encode(), url, keep=True):
        return receipt
    return Receipt.from_json(store.read_bytes(url))


def standing_receipt(area: WorkArea, shard: Shard, store: Store) -> Receipt | None:
    """The receipt of a shard that is done; None while it is not."""
    try:
        return Receipt.from_json(store.read_bytes(area.receipt(shard)))
    except FileNotFoundError:
        return None


def agreed_receipts(area: WorkArea, source: Source, receipts: Sequence[Receipt], store: Store) -> tuple[Receipt, ...]:
    """The receipts that a video is joined from: these, unless another run has begun to join it from others.

    Args:
        receipts: of the whole video, in order of time.
    """
    url = area.joining(source)
    content = json.dumps([asdict(receipt) for receipt in receipts], separators=(",", ":")).encode()
    if store.commit_bytes(content, url, keep=True):
        return tuple(receipts)
    return tuple(Receipt.from_record(record) for record in json.loads(store.read_bytes(url)))


def forget_shard(area: WorkArea, shard: Shard, receipt: Receipt, store: Store) -> None:
    """Remove what speaks of a shard, then its objects, so that the next run makes it anew."""
    named = [area.segment(shard, variant, sha256) for variant, sha256 in receipt.sha256.items()]
    speaking = [area.joining(shard.source), area.receipt(shard)]
    store.remove(speaking, [*named, area.faces(shard, receipt.faces_sha256)])


def receipts_apart(urls: Iterable[str]) -> tuple[list[str], list[str]]:
    """Working objects in two: those that speak of others, which must go first, and the others."""
    speaking: list[str] = []
    spoken_of: list[str] = []
    for url in urls:
        (speaking if url.endswith((RECEIPT_SUFFIX, "/joining.json")) else spoken_of).append(url)
    return speaking, spoken_of


def read_receipts(area: WorkArea, sources: Iterable[Source], store: Store) -> Iterator[Receipt]:
    """Receipts of the shards of these videos that are done; the job's working objects are listed once."""
    wanted = {area.video(source.key) for source in sources}
    for url in store.list_files(area.work):
        if url.endswith(RECEIPT_SUFFIX) and posixpath.dirname(url) in wanted:
            yield Receipt.from_json(store.read_bytes(url))
