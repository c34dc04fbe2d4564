"""The sample tables of an MP4 track (ISO 14496-12, sections 8.5 to 8.7), cut into pages.

A page is a run of samples, of sound without frames one of whole chunks. Tables are read a block at a time: what is held
of a track is a few numbers a page, however long it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

from storage.mp4_boxes import Box, boxes

PAGE_SAMPLES = 1 << 14

_BLOCK_ENTRIES = 1 << 13
_SAMPLES_A_PACKET = 1024
"""Of sound that has no frames, which FFmpeg's demuxer gives in packets of so many samples."""

_COUNTED = np.dtype([("count", ">u4"), ("value", ">i4")])
_ENTRY_TYPES = {
    b"stts": _COUNTED,
    b"ctts": _COUNTED,
    b"stsc": np.dtype([("first", ">u4"), ("samples", ">u4"), ("entry", ">u4")]),
    b"stsz": np.dtype(">u4"),
    b"stco": np.dtype(">u4"),
    b"co64": np.dtype(">u8"),
    b"stss": np.dtype(">u4"),
    b"sdtp": np.dtype("u1"),
}
_HIDDEN_FROM_A_PAGE = frozenset((b"sgpd", b"sbgp", b"subs", b"cslg", b"padb", b"stdp"))
"""Boxes of samples that FFmpeg's demuxer makes nothing of, where they do not group by `_GROUPS_THAT_COUNT`."""
_GROUPS_THAT_COUNT = frozenset((b"rap ", b"sync"))

_FARTHEST_OFFSET = 1 << 28
"""Ticks between decoding and showing; FFmpeg takes a table with larger ones for damaged."""

EMPTY_EDIT = -1


class NotPagedError(Exception):
    """A track is not of the plain kind that can be cut into pages, or its tables do not fit together."""


@dataclass(frozen=True)
class Table:
    """Entries of one size, one after the other."""

    begin: int
    count: int
    dtype: np.dtype

    def read(self, file: IO[bytes], first: int, count: int) -> NDArray:
        """At most `count` entries from number `first` on."""
        count = max(0, min(count, self.count - first))
        file.seek(self.begin + first * self.dtype.itemsize)
        content = file.read(count * self.dtype.itemsize)
        if len(content) < count * self.dtype.itemsize:
            raise NotPagedError("a table is cut")
        return np.frombuffer(content, self.dtype)

    def blocks(self, file: IO[bytes]) -> Iterator[tuple[int, NDArray]]:
        """All entries, a block at a time, with the number of its first."""
        for first in range(0, self.count, _BLOCK_ENTRIES):
            yield first, self.read(file, first, _BLOCK_ENTRIES)


@dataclass(frozen=True)
class RunPlace:
    """A sample's place in a table of runs."""

    entry: int = 0
    skipped: int = 0
    """Samples of that entry that come before."""


@dataclass(frozen=True)
class Page:
    """A run of a track's samples. Numbers count from 0."""

    first_sample: int = 0
    samples: int = 0
    first_chunk: int = 0
    skipped: int = 0
    """Samples of its first chunk that belong to the page before."""
    skipped_bytes: int = 0
    """Their sizes added up."""
    dts: int = 0
    """Of the first sample, ticks of the track's clock, which begins at 0."""
    durations: RunPlace = RunPlace()
    offsets: RunPlace = RunPlace()
    chunk_run: int = 0
    """Entry of stsc that holds the first chunk."""
    keyframe: int = 0
    """Entry of stss of the first keyframe that is not before it."""


@dataclass(frozen=True)
class Track:
    """What the boxes of one track say."""

    box: Box
    sample_tables: Box
    track_id: int
    timescale: int
    tables: dict[bytes, Table]
    sample_bytes: int
    """Of every sample; 0 where each has its own size."""
    samples: int
    unframed: bool
    """Whether it is sound of which every sample lasts one tick, as FFmpeg takes apart by chunks."""
    edits: tuple[tuple[int, int], ...]
    """(duration in ticks of the movie's clock, first tick of the track's or `EMPTY_EDIT`)."""

    @property
    def chunks(self) -> Table:
        """Bytes of the file at which its chunks begin."""
        return self.tables[b"stco"] if b"stco" in self.tables else self.tables[b"co64"]

    @property
    def packets(self) -> int:
        """How many FFmpeg makes of it, about."""
        return self.samples // _SAMPLES_A_PACKET if self.unframed else self.samples


def read_track(file: IO[bytes], box: Box) -> Track:
    """A track from its `trak` box.

    Raises:
        NotPagedError: it is not a plain one.
    """
    own = {each.kind: each for each in boxes(file, box.payload, box.end)}
    media = _children(file, own.get(b"mdia"))
    information = _children(file, media.get(b"minf"))
    sample_tables = information.get(b"stbl")
    if sample_tables is None or b"tkhd" not in own or not {b"mdhd", b"hdlr"} <= media.keys():
        raise NotPagedError("a track lacks boxes")
    found = list(boxes(file, sample_tables.payload, sample_tables.end))
    if len({each.kind for each in found} - _HIDDEN_FROM_A_PAGE) < sum(
        each.kind not in _HIDDEN_FROM_A_PAGE for each in found
    ):
        raise NotPagedError("a track has a table twice")
    tables, sample_bytes, samples = {}, 0, 0
    for each in found:
        if each.kind == b"stsd":
            if struct.unpack(">I", _read(file, each.payload + 4, 4))[0] != 1:
                raise NotPagedError("a track's description changes")
        elif each.kind in _ENTRY_TYPES:
            at = each.payload + 4
            if each.kind == b"stsz":
                sample_bytes, samples = struct.unpack(">2I", _read(file, at, 8))
                tables[each.kind] = _table(each, at + 8, 0 if sample_bytes else samples)
            elif each.kind == b"sdtp":
                tables[each.kind] = _table(each, at, each.end - at)
            else:
                (count,) = struct.unpack(">I", _read(file, at, 4))
                tables[each.kind] = _table(each, at + 4, count)
        elif each.kind not in _HIDDEN_FROM_A_PAGE or (
            each.kind == b"sbgp" and _read(file, each.payload + 4, 4) in _GROUPS_THAT_COUNT
        ):
            raise NotPagedError(f"a track has {each.kind!r}")
    if not {b"stts", b"stsc", b"stsz"} <= tables.keys() or (b"stco" in tables) == (b"co64" in tables):
        raise NotPagedError("a track lacks tables")
    durations = tables[b"stts"]
    unframed = (
        _read(file, media[b"hdlr"].payload + 8, 4) == b"soun"
        and durations.count == 1
        and int(durations.read(file, 0, 1)["value"][0]) == 1
    )
    version = _read(file, own[b"tkhd"].payload, 1)[0]
    (track_id,) = struct.unpack(">I", _read(file, own[b"tkhd"].payload + (20 if version == 1 else 12), 4))
    version = _read(file, media[b"mdhd"].payload, 1)[0]
    (timescale,) = struct.unpack(">I", _read(file, media[b"mdhd"].payload + (20 if version == 1 else 12), 4))
    if not timescale:
        raise NotPagedError("a track has no clock")
    edits = _edits(file, _children(file, own.get(b"edts")).get(b"elst"))
    return Track(box, sample_tables, track_id, timescale, tables, sample_bytes, samples, unframed, edits)


def pages(file: IO[bytes], track: Track, page_samples: int) -> tuple[Page, ...]:
    """The pages of a track, in order; one that holds nothing has one.

    Raises:
        NotPagedError: the tables do not fit together.
    """
    wanted = page_samples * (_SAMPLES_A_PACKET if track.unframed else 1)
    bounds = _bounds(file, track, wanted)
    firsts = [page.first_sample for page in bounds]
    durations = _places_in_runs(file, track.tables[b"stts"], firsts, track.samples, negative=False)
    offsets = [(RunPlace(), 0)] * len(firsts)
    if b"ctts" in track.tables:
        offsets = _places_in_runs(file, track.tables[b"ctts"], firsts, track.samples, negative=True)
    keyframes = _keyframe_entries(file, track, firsts)
    return tuple(
        replace(page, dts=dts, durations=duration, offsets=offset, keyframe=keyframe)
        for page, (duration, dts), (offset, _), keyframe in zip(bounds, durations, offsets, keyframes, strict=True)
    )


def _bounds(file: IO[bytes], track: Track, wanted: int) -> list[Page]:
    """Pages of `wanted` samples each, with their places in chunks."""
    runs, chunks = track.tables[b"stsc"], track.chunks
    found = [Page()]
    sample = 0
    for number, block in runs.blocks(file):
        following = runs.read(file, number + len(block), 1)["first"].astype(np.int64)
        first = block["first"].astype(np.int64) - 1
        after = np.append(first[1:], following[0] - 1 if len(following) else chunks.count)
        per = block["samples"].astype(np.int64)
        if (number == 0 and first[0] != 0) or (after <= first).any() or (per == 0).any():
            raise NotPagedError("chunks do not follow one another")
        if (block["entry"] != 1).any():
            raise NotPagedError("a track's description changes")
        ends = sample + np.cumsum((after - first) * per)
        if ends[-1] > track.samples:
            raise NotPagedError("chunks have more samples than there are")
        for target in range(-(-(sample or 1) // wanted) * wanted, int(ends[-1]), wanted):
            run = int(np.searchsorted(ends, target, "right"))
            into = target - int(ends[run] - (after[run] - first[run]) * per[run])
            chunk, skipped = divmod(into, int(per[run]))
            begin = Page(target, 0, int(first[run]) + chunk, skipped, chunk_run=number + run)
            found.append(_at_its_chunk(begin) if track.unframed else begin)
        sample = int(ends[-1])
    if sample != track.samples:
        raise NotPagedError("chunks have fewer samples than there are")
    begins = [
        page
        for page, before in zip(found, [None, *found], strict=False)
        if page.first_sample != getattr(before, "first_sample", None)
    ]
    return [
        replace(page, samples=after - page.first_sample, skipped_bytes=_skipped_bytes(file, track, page))
        for page, after in zip(begins, [*(page.first_sample for page in begins[1:]), sample], strict=True)
    ]


def _at_its_chunk(page: Page) -> Page:
    return replace(page, first_sample=page.first_sample - page.skipped, skipped=0)


def _skipped_bytes(file: IO[bytes], track: Track, page: Page) -> int:
    if track.sample_bytes:
        return page.skipped * track.sample_bytes
    begin, sizes = page.first_sample - page.skipped, track.tables[b"stsz"]
    return sum(
        int(sizes.read(file, first, min(_BLOCK_ENTRIES, page.first_sample - first)).sum(dtype=np.int64))
        for first in range(begin, page.first_sample, _BLOCK_ENTRIES)
    )


def _places_in_runs(
    file: IO[bytes], table: Table, samples: Sequence[int], total: int, *, negative: bool
) -> list[tuple[RunPlace, int]]:
    """Where each sample is in a table of runs, and the sum of the values of all samples before it."""
    found: list[tuple[RunPlace, int]] = []
    count = summed = 0
    for number, block in table.blocks(file):
        counts, values = block["count"].astype(np.int64), block["value"].astype(np.int64)
        if (np.abs(values) >= _FARTHEST_OFFSET).any() if negative else (values < 0).any():
            raise NotPagedError("a table of times has values that no demuxer believes")
        ends, sums = count + np.cumsum(counts), summed + np.cumsum(counts * values)
        while len(found) < len(samples) and samples[len(found)] < ends[-1]:
            sample = samples[len(found)]
            run = int(np.searchsorted(ends, sample, "right"))
            skipped = sample - int(ends[run] - counts[run])
            before = int(sums[run] - counts[run] * values[run])
            found.append((RunPlace(number + run, skipped), before + skipped * int(values[run])))
        count, summed = int(ends[-1]), int(sums[-1])
    if count != total or len(found) < len(samples):
        if samples == [0] and total == 0:
            return [(RunPlace(), 0)]
        raise NotPagedError("a table of times has not one for each sample")
    return found


def _keyframe_entries(file: IO[bytes], track: Track, samples: Sequence[int]) -> list[int]:
    table = track.tables.get(b"stss")
    if table is None:
        return [0] * len(samples)
    found: list[int] = []
    last = 0
    for number, block in table.blocks(file):
        numbers = block.astype(np.int64)
        if (np.diff(numbers, prepend=last) <= 0).any():
            raise NotPagedError("keyframes are not in order")
        while len(found) < len(samples) and samples[len(found)] < numbers[-1]:
            found.append(number + int(np.searchsorted(numbers, samples[len(found)] + 1)))
        last = int(numbers[-1])
    return found + [table.count] * (len(samples) - len(found))


def total_duration(file: IO[bytes], track: Track) -> int:
    """Of all samples, ticks of the track's clock."""
    return sum(
        int((block["count"].astype(np.int64) * block["value"]).sum()) for _, block in track.tables[b"stts"].blocks(file)
    )


def lowest_offset(file: IO[bytes], track: Track) -> int:
    """Ticks, at most 0, by which a sample is shown before it is decoded, as FFmpeg finds it: without the last two runs."""
    table = track.tables.get(b"ctts")
    lowest = 0
    if table is not None:
        for number, block in table.blocks(file):
            values = block["value"][: max(0, table.count - 2 - number)]
            lowest = min(lowest, int(values.min(initial=0)))
    return lowest


def runs_of(file: IO[bytes], table: Table, place: RunPlace, samples: int) -> NDArray:
    """The runs of `samples` samples from a place on."""
    wanted = min(samples, _BLOCK_ENTRIES)
    parts: list[NDArray] = []
    held, entry = -place.skipped, place.entry
    while held < samples and entry < table.count:
        block = table.read(file, entry, wanted)
        parts.append(block)
        held, entry = held + int(block["count"].sum(dtype=np.int64)), entry + len(block)
    runs = np.concatenate(parts or [np.empty(0, table.dtype)]).astype(table.dtype)  # big-endian, which numpy forgets
    counts = runs["count"].astype(np.int64)
    if len(counts):
        counts[0] -= place.skipped
    ends = np.minimum(np.cumsum(counts), samples)
    counts = np.diff(ends, prepend=0)
    runs = runs[counts > 0]
    runs["count"] = counts[counts > 0]
    return runs


def _children(file: IO[bytes], box: Box | None) -> dict[bytes, Box]:
    return {} if box is None else {each.kind: each for each in boxes(file, box.payload, box.end)}


def _table(box: Box, begin: int, count: int) -> Table:
    dtype = _ENTRY_TYPES[box.kind]
    if begin + count * dtype.itemsize > box.end:
        raise NotPagedError("a table is larger than its box")
    return Table(begin, count, dtype)


def _edits(file: IO[bytes], box: Box | None) -> tuple[tuple[int, int], ...]:
    if box is None:
        return ()
    version, count = _read(file, box.payload, 1)[0], struct.unpack(">I", _read(file, box.payload + 4, 4))[0]
    entry = ">Qqi" if version == 1 else ">Iii"
    if count > _BLOCK_ENTRIES or box.payload + 8 + count * struct.calcsize(entry) > box.end:
        raise NotPagedError("an edit list is not of the usual kind")
    content = _read(file, box.payload + 8, count * struct.calcsize(entry))
    edits = []
    for duration, start, rate in struct.iter_unpack(entry, content):
        if rate != 1 << 16 and start != EMPTY_EDIT:
            raise NotPagedError("an edit list changes the speed")
        edits.append((duration, start))
    return tuple(edits)


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    content = file.read(size)
    if len(content) < size:
        raise NotPagedError("the file is cut")
    return content


def chunks_of(file: IO[bytes], track: Track, page: Page) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the chunks of a page begin, bytes of the file, and how many samples of it each has."""
    runs = track.tables[b"stsc"].read(file, page.chunk_run, page.samples + 1)
    firsts = runs["first"].astype(np.int64) - 1 - page.first_chunk
    starts = track.chunks.read(file, page.first_chunk, page.samples).astype(np.int64)
    counts = runs["samples"].astype(np.int64)[np.searchsorted(firsts, np.arange(len(starts)), "right") - 1]
    counts[0] -= page.skipped
    ends = np.minimum(np.cumsum(counts), page.samples)
    counts = np.diff(ends, prepend=0)
    starts[0] += page.skipped_bytes
    return starts[counts > 0], counts[counts > 0]
