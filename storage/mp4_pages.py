"""A track's samples in pages of some thousand: where each begins in every table of the track.

Tables are read a block at a time. What is held of a track is a few numbers a page, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

from storage.mp4_tables import SAMPLES_A_PACKET, Table, Track, UnusualMovieError

_FARTHEST_OFFSET = 1 << 28
"""Ticks between decoding and showing; FFmpeg takes a table with larger ones for damaged."""
_MOST_PAGES = 10_000
"""More only a header can have that lies."""


@dataclass(frozen=True)
class RunPlace:
    """A sample's place in a table of runs."""

    entry: int = 0
    skipped: int = 0
    """Samples of that entry that come before."""


@dataclass(frozen=True)
class Page:
    """Some samples of a track in a row. All numbers count from 0."""

    first_sample: int = 0
    samples: int = 0
    first_chunk: int = 0
    chunks: int = 0
    """It has samples of."""
    skipped: int = 0
    """Samples of its first chunk that belong to pages before."""
    skipped_bytes: int = 0
    """Their sizes added up."""
    chunk_run: int = 0
    """Entry of stsc that holds the first chunk."""
    keyframe: int = 0
    """Entry of stss of its first keyframe."""
    durations: RunPlace = RunPlace()
    """Of the first sample in stts."""
    offsets: RunPlace = RunPlace()
    """Likewise in ctts."""
    dts: int = 0
    """Of the first sample, ticks of the track's clock, on which the track begins at 0."""


@dataclass(frozen=True)
class Pages:
    """All pages of a track, in order."""

    pages: tuple[Page, ...] = (Page(),)
    duration: int = 0
    """Of all samples, ticks of the track's clock."""
    lowest_offset: int = 0
    """Ticks, at most 0, by which a sample is shown before it is decoded; as in FFmpeg, without the last two runs."""


def pages_of(file: IO[bytes], track: Track, packets: int) -> Pages:
    """Pages of so many packets each; the last has less. Of sound without frames they have whole chunks, and more.

    Each table is read once.

    Raises:
        UnusualMovieError: the tables do not fit together.
    """
    found = _with_samples(file, track, packets * (SAMPLES_A_PACKET if track.unframed else 1))
    firsts = [page.first_sample for page in found]
    durations = _places_in_runs(file, track.tables[b"stts"], firsts, track.samples)
    offsets = _Places([(RunPlace(), 0)] * len(firsts))
    if b"ctts" in track.tables:
        offsets = _places_in_runs(file, track.tables[b"ctts"], firsts, track.samples, may_be_negative=True)
    keyframes = _keyframe_entries(file, track, firsts)
    pages = tuple(
        replace(page, dts=dts, durations=duration, offsets=offset, keyframe=keyframe)
        for page, (duration, dts), (offset, _), keyframe in zip(
            found, durations.places, offsets.places, keyframes, strict=True
        )
    )
    return Pages(pages, durations.total, min(0, offsets.lowest))


def _with_samples(file: IO[bytes], track: Track, wanted: int) -> list[Page]:
    """Pages of `wanted` samples, with their places in chunks."""
    if track.samples > wanted * _MOST_PAGES:
        raise UnusualMovieError("a track has very many samples")
    found: list[Page] = []
    begins = _begins(file, track, wanted)
    for page, after in zip(begins, [*begins[1:], None], strict=True):
        end, last = (
            (after.first_sample, after.first_chunk + (after.skipped > 0))
            if after
            else (track.samples, track.chunks.count)
        )
        skipped_bytes = _skipped_bytes(file, track, page, found[-1] if found else None)
        found.append(
            replace(page, samples=end - page.first_sample, chunks=last - page.first_chunk, skipped_bytes=skipped_bytes)
        )
    return found


def _begins(file: IO[bytes], track: Track, wanted: int) -> list[Page]:
    """Pages with the places of their first sample alone."""
    found = [Page()]
    sample = 0
    for number, first, after, samples in _chunk_runs(file, track):
        ends = sample + np.cumsum((after - first) * samples)
        if ends[-1] > track.samples:
            raise UnusualMovieError("chunks have more samples than there are")
        for target in range(-(-(sample or 1) // wanted) * wanted, int(ends[-1]), wanted):
            run = int(np.searchsorted(ends, target, "right"))
            begin = int(ends[run] - (after[run] - first[run]) * samples[run])
            chunk, skipped = divmod(target - begin, int(samples[run]))
            if track.unframed:
                target, skipped = target - skipped, 0
            if target > found[-1].first_sample:
                found.append(Page(target, 0, int(first[run]) + chunk, skipped=skipped, chunk_run=number + run))
        sample = int(ends[-1])
    if sample != track.samples:
        raise UnusualMovieError("chunks have fewer samples than there are")
    return found


def _chunk_runs(file: IO[bytes], track: Track) -> Iterator[tuple[int, NDArray, NDArray, NDArray]]:
    """Runs of chunks that have as many samples each, a block at a time.

    Yields:
        Number of the first run; of each its first chunk, the one behind its last, and the samples of a chunk.
    """
    table = track.tables[b"stsc"]
    expected = 0
    for number, block in table.blocks(file):
        following = table.read(file, number + len(block), 1)["first"].astype(np.int64) - 1
        first, samples = block["first"].astype(np.int64) - 1, block["samples"].astype(np.int64)
        after = np.append(first[1:], following if len(following) else track.chunks.count)
        if first[0] != expected or (after <= first).any() or (samples == 0).any():
            raise UnusualMovieError("chunks do not follow one another")
        if (block["entry"] != 1).any():
            raise UnusualMovieError("a track's description changes")
        expected = int(after[-1])
        yield number, first, after, samples


def _skipped_bytes(file: IO[bytes], track: Track, page: Page, before: Page | None) -> int:
    """Of the page's first chunk, the bytes that belong to the pages before, the last of which is given."""
    if track.sample_bytes or not page.skipped:
        return page.skipped * track.sample_bytes
    begin, known = page.first_sample - page.skipped, 0
    if before is not None and before.first_chunk == page.first_chunk:
        begin, known = before.first_sample, before.skipped_bytes
    sizes = track.tables[b"stsz"].read(file, begin, page.first_sample - begin)
    return known + int(sizes.sum(dtype=np.int64))


@dataclass(frozen=True)
class _Places:
    """Samples in a table of runs."""

    places: list[tuple[RunPlace, int]]
    """Where each is, and the sum of the values of all before it."""
    total: int = 0
    """The sum of all values."""
    lowest: int = 0
    """Of the values, but for the last two runs."""


def _places_in_runs(
    file: IO[bytes], table: Table, samples: Sequence[int], total: int, *, may_be_negative: bool = False
) -> _Places:
    """Where each of the samples, in order, is in a table of runs that must be of `total` samples."""
    found: list[tuple[RunPlace, int]] = []
    count = summed = lowest = 0
    for number, block in table.blocks(file):
        counts, values = block["count"].astype(np.int64), block["value"].astype(np.int64)
        if (abs(values) >= _FARTHEST_OFFSET).any() if may_be_negative else (values < 0).any():
            raise UnusualMovieError("a table of times has values that no demuxer believes")
        lowest = min(lowest, int(values[: max(0, table.count - 2 - number)].min(initial=0)))
        ends, sums = count + np.cumsum(counts), summed + np.cumsum(counts * values)
        while len(found) < len(samples) and samples[len(found)] < ends[-1]:
            sample = samples[len(found)]
            run = int(np.searchsorted(ends, sample, "right"))
            left = int(ends[run]) - sample
            found.append((RunPlace(number + run, int(counts[run]) - left), int(sums[run]) - left * int(values[run])))
        count, summed = int(ends[-1]), int(sums[-1])
    if count != total or len(found) < len(samples):
        raise UnusualMovieError("a table of times has not one for each sample")
    return _Places(found, summed, lowest)


def _keyframe_entries(file: IO[bytes], track: Track, samples: Sequence[int]) -> list[int]:
    """Entry of stss of the first keyframe at or behind each of the samples."""
    table = track.tables.get(b"stss")
    if table is None:
        return [0] * len(samples)
    found: list[int] = []
    last = 0
    for number, block in table.blocks(file):
        keyframes = block.astype(np.int64)  # counted from 1
        if (np.diff(keyframes, prepend=last) <= 0).any():
            raise UnusualMovieError("keyframes are not in order")
        last = int(keyframes[-1])
        while len(found) < len(samples) and samples[len(found)] < last:
            found.append(number + int(np.searchsorted(keyframes, samples[len(found)] + 1)))
    return found + [table.count] * (len(samples) - len(found))


def runs_of(file: IO[bytes], table: Table, place: RunPlace, samples: int) -> NDArray:
    """The runs of `samples` samples from a place on, as in the table."""
    parts = [np.empty(0, table.dtype)]
    held = -place.skipped
    for _, block in table.blocks(file, place.entry):
        parts.append(block)
        held += int(block["count"].sum(dtype=np.int64))
        if held >= samples:
            break
    runs = np.concatenate(parts).astype(table.dtype)  # whose byte order numpy forgets
    counts = runs["count"].astype(np.int64)
    counts[:1] -= place.skipped
    counts = np.diff(np.minimum(np.cumsum(counts), samples), prepend=0)
    runs["count"] = counts
    return runs[counts > 0]


def each_of(runs: NDArray) -> NDArray[np.int64]:
    """The values of runs, one a sample."""
    return np.repeat(runs["value"].astype(np.int64), runs["count"])


def chunks_of(file: IO[bytes], track: Track, page: Page) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the page's part of each of its chunks begins, bytes of the file, and how many samples that has."""
    runs = track.tables[b"stsc"].read(file, page.chunk_run, page.chunks)
    firsts = runs["first"].astype(np.int64) - 1 - page.first_chunk
    starts = track.chunks.read(file, page.first_chunk, page.chunks).astype(np.int64)
    counts = runs["samples"].astype(np.int64)[np.searchsorted(firsts, np.arange(len(starts)), "right") - 1]
    counts[:1] -= page.skipped
    starts[:1] += page.skipped_bytes
    return starts, np.diff(np.minimum(np.cumsum(counts), page.samples), prepend=0)


def positions_of(file: IO[bytes], track: Track, page: Page, samples: int) -> NDArray[np.int64]:
    """Bytes of the file at which the page's first samples begin, as many; of unframed sound, its first chunk."""
    starts, counts = chunks_of(file, track, page)
    if track.unframed:
        return starts[:1]
    firsts = np.cumsum(counts) - counts
    in_chunks = np.repeat(np.arange(len(starts)), counts)[:samples]
    if track.sample_bytes:
        sizes = np.full(len(in_chunks), track.sample_bytes, np.int64)
    else:
        sizes = track.tables[b"stsz"].read(file, page.first_sample, len(in_chunks)).astype(np.int64)
    before = np.cumsum(sizes) - sizes
    return starts[in_chunks] + before - before[firsts[in_chunks]]
