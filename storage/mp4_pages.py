"""A long MP4 or MOV, shown to FFmpeg's demuxer a page at a time.

FFmpeg holds the index of all packets of an MP4 for as long as it is open, 60 bytes each, and reads it anew whenever the
file is opened. So it gets to see the file with another `moov` box in place of its own, which has one page of one track
(`storage.mp4_tables`), behind the file's end. All else, the samples above all, is where it was.

What is no plain movie, or so short that it does not matter, is not paged: it is read as it is.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np

from storage.mp4_boxes import Box, boxes
from storage.mp4_tables import (
    EMPTY_EDIT,
    NotPagedError,
    Page,
    Table,
    Track,
    chunks_of,
    lowest_offset,
    pages,
    read_track,
    runs_of,
    total_duration,
)

PAGED_FROM = 100_000
"""Packets of all tracks. FFmpeg's index of so many takes 6 MB."""
PAGE_SAMPLES = 1 << 14

_NO_PAGES_BELOW = 1 << 20
"""Bytes. A smaller file cannot hold so many packets, and is not looked into."""
_MOVIE_BOXES_IN_ANY_ORDER = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pdin", b"meta"))
_KEPT_IN_A_PAGE = frozenset((b"tkhd", b"mdia", b"edts"))
_PATH_TO_TABLES = frozenset((b"mdia", b"minf"))


@dataclass(frozen=True)
class PagedTrack:
    """A track and its pages."""

    track: Track | None
    """None where it is short and not of the plain kind: it is shown as it is."""
    box: Box
    track_id: int
    pages: tuple[Page, ...]
    lowest_offset: int
    duration: int

    def end_of(self, number: int) -> int:
        """dts at which page `number` ends, ticks of the track's clock."""
        return self.pages[number + 1].dts if number + 1 < len(self.pages) else self.duration


@dataclass(frozen=True)
class PagedMovie:
    """A movie whose packets are read a page at a time."""

    file: IO[bytes]
    name: str
    movie: Box
    tracks: tuple[PagedTrack, ...]

    def header(self) -> _FileWithAnotherMovie:
        """The file with all that its header says, and the first page of each track."""
        tracks = iter(self.tracks)
        parts = [
            self._track(next(tracks), 0, whole=True) if each.kind == b"trak" else _content(self.file, each)
            for each in list(boxes(self.file, self.movie.payload, self.movie.end))
        ]
        return self._with_movie(parts)

    def page(self, track: int, number: int) -> _FileWithAnotherMovie:
        """The file with one page of one track; its edit list goes with the first."""
        header = next(each for each in boxes(self.file, self.movie.payload, self.movie.end) if each.kind == b"mvhd")
        return self._with_movie([_content(self.file, header), self._track(self.tracks[track], number, whole=False)])

    def _with_movie(self, parts: list[bytes]) -> _FileWithAnotherMovie:
        return _FileWithAnotherMovie(self.file, self.name, self.movie, _box(b"moov", b"".join(parts)))

    def _track(self, paged: PagedTrack, number: int, *, whole: bool) -> bytes:
        """The box of a track with one page; `whole` keeps all that it says, and its length."""
        if paged.track is None or (len(paged.pages) == 1 and whole):
            return _content(self.file, paged.box)
        return _box(b"trak", b"".join(self._children(paged, paged.box, number, whole=whole)))

    def _children(self, paged: PagedTrack, parent: Box, number: int, *, whole: bool) -> Iterator[bytes]:
        for each in list(boxes(self.file, parent.payload, parent.end)):
            if parent.kind == b"trak" and not whole:
                if each.kind not in _KEPT_IN_A_PAGE or (each.kind == b"edts" and number > 0):
                    continue
            if each.kind in _PATH_TO_TABLES:
                yield _box(each.kind, b"".join(self._children(paged, each, number, whole=whole)))
            elif each.kind == b"stbl":
                yield _sample_tables(self.file, paged, number, each, whole=whole)
            else:
                yield _content(self.file, each)


_HEADER_BYTES = 8


@contextmanager
def paged_movie(source: str | IO[bytes]) -> Iterator[PagedMovie | None]:
    """The pages of a source, a path or a seekable binary file; None where it is short or not a plain movie."""
    if not isinstance(source, str):
        yield _paged(source, str(getattr(source, "name", "")))
        return
    try:
        file = open(source, "rb")  # noqa: SIM115 - closed below
    except OSError:
        yield None  # whoever opens it next tells why
        return
    with file:
        yield _paged(file, source)


def _paged(file: IO[bytes], name: str) -> PagedMovie | None:
    try:
        size = file.seek(0, io.SEEK_END)
        if size < _NO_PAGES_BELOW:
            return None
        file.seek(0)
        if file.read(_HEADER_BYTES)[4:] not in _MOVIE_BOXES_IN_ANY_ORDER:
            return None
        top = list(boxes(file, 0, size))
        movies = [each for each in top if each.kind == b"moov"]
        if len(movies) != 1 or any(each.kind not in _MOVIE_BOXES_IN_ANY_ORDER for each in top):
            return None
        if top[-1].end != size or _is_open_ended(file, top[-1]):
            return None  # it is cut, or what comes behind its end would belong to the last box
        return _read_movie(file, name, movies[0], size)
    except NotPagedError:
        return None
    finally:
        file.seek(0)


def _is_open_ended(file: IO[bytes], box: Box) -> bool:
    file.seek(box.begin)
    return file.read(4) == bytes(4)


def _read_movie(file: IO[bytes], name: str, movie: Box, size: int) -> PagedMovie:
    found = list(boxes(file, movie.payload, movie.end))
    kinds = [each.kind for each in found]
    if b"mvex" in kinds or b"cmov" in kinds or kinds.count(b"mvhd") != 1:
        raise NotPagedError("no plain movie")
    header = found[kinds.index(b"mvhd")]
    file.seek(header.payload)
    version = file.read(1)[0]
    file.seek(header.payload + (20 if version == 1 else 12))
    (timescale,) = struct.unpack(">I", file.read(4))
    tracks = [read_track(file, each) for each in found if each.kind == b"trak"]
    if not timescale or sum(track.packets for track in tracks) < PAGED_FROM:
        raise NotPagedError("short")
    return PagedMovie(file, name, movie, tuple(_paged_track(file, track, timescale, size) for track in tracks))


def _paged_track(file: IO[bytes], track: Track, timescale: int, size: int) -> PagedTrack:
    if track.packets <= PAGE_SAMPLES:
        return PagedTrack(None, track.box, track.track_id, (Page(0, track.samples),), 0, 0)
    paged = PagedTrack(
        track,
        track.box,
        track.track_id,
        pages(file, track, PAGE_SAMPLES),
        lowest_offset(file, track),
        total_duration(file, track),
    )
    chunks = track.chunks
    if int(chunks.read(file, chunks.count - 1, 1)[0]) >= size:
        raise NotPagedError("the file is cut")
    if len(paged.pages) > 1:
        _refuse_hidden_samples(file, paged, timescale)
    return paged


def _refuse_hidden_samples(file: IO[bytes], paged: PagedTrack, timescale: int) -> None:
    """An edit list may begin in the first page; one that hides more than that is not for a page to tell."""
    assert paged.track is not None
    edits = list(paged.track.edits)
    while edits and edits[0][1] == EMPTY_EDIT:
        edits.pop(0)
    if not edits:
        if paged.track.edits:
            raise NotPagedError("an edit list shows nothing")
        return
    if len(edits) > 1:
        raise NotPagedError("an edit list has several parts")
    ((duration, begin),) = edits
    end = begin + duration * paged.track.timescale / timescale
    if 2 * begin > paged.pages[1].dts or end <= _last_shown(file, paged):
        raise NotPagedError("an edit list hides samples")


def _last_shown(file: IO[bytes], paged: PagedTrack) -> int:
    """When the last sample begins to show, ticks of the track's clock."""
    assert paged.track is not None
    page = paged.pages[-1]
    durations = _each(runs_of(file, paged.track.tables[b"stts"], page.durations, page.samples))
    times = page.dts + np.cumsum(durations) - durations
    if b"ctts" in paged.track.tables:
        times = times + _each(runs_of(file, paged.track.tables[b"ctts"], page.offsets, page.samples))
    return int(times.max())


def _each(runs: np.ndarray) -> np.ndarray:
    return np.repeat(runs["value"].astype(np.int64), runs["count"])


def first_positions(file: IO[bytes], track: Track, page: Page, samples: int) -> np.ndarray:
    """Bytes of the file at which the first `samples` samples of a page begin; of unframed sound, its first chunk."""
    starts, counts = chunks_of(file, track, page)
    if track.unframed:
        return starts[:1]
    in_chunks = np.repeat(np.arange(len(starts)), counts)[:samples]
    if track.sample_bytes:
        sizes = np.full(len(in_chunks), track.sample_bytes, np.int64)
    else:
        sizes = track.tables[b"stsz"].read(file, page.first_sample, len(in_chunks)).astype(np.int64)
    before = np.cumsum(sizes) - sizes
    firsts = np.cumsum(counts) - counts
    return starts[in_chunks] + before - before[firsts[in_chunks]]


def _sample_tables(file: IO[bytes], paged: PagedTrack, number: int, box: Box, *, whole: bool) -> bytes:
    """`stbl` of one page; `whole` lets its durations add up to those of the track."""
    track, page = paged.track, paged.pages[number]
    assert track is not None
    parts = [_content(file, each) for each in list(boxes(file, box.payload, box.end)) if each.kind == b"stsd"]
    tables = track.tables
    durations = runs_of(file, tables[b"stts"], page.durations, page.samples)
    if whole:
        durations = _with_rest(durations, track.samples - page.samples, paged.duration - paged.end_of(number))
    parts.append(_full_box(b"stts", struct.pack(">I", len(durations)) + durations.tobytes()))
    if b"ctts" in tables:
        offsets = runs_of(file, tables[b"ctts"], page.offsets, page.samples)
        if paged.lowest_offset:  # by which FFmpeg delays the whole track: the last two do not count for it
            more = np.array([(1, paged.lowest_offset), (1, 0), (1, 0)], offsets.dtype)
            offsets = np.concatenate([offsets, more]).astype(offsets.dtype)
        parts.append(_full_box(b"ctts", struct.pack(">I", len(offsets)) + offsets.tobytes()))
    starts, counts = chunks_of(file, track, page)
    parts.append(_full_box(b"stsc", _chunk_runs(counts)))
    sizes = b"" if track.sample_bytes else tables[b"stsz"].read(file, page.first_sample, page.samples).tobytes()
    parts.append(_full_box(b"stsz", struct.pack(">2I", track.sample_bytes, page.samples) + sizes))
    parts.append(_full_box(b"co64", struct.pack(">I", len(starts)) + starts.astype(">u8").tobytes()))
    if b"stss" in tables:
        parts.append(_full_box(b"stss", _keyframes(file, tables[b"stss"], page)))
    if b"sdtp" in tables:
        parts.append(_full_box(b"sdtp", tables[b"sdtp"].read(file, page.first_sample, page.samples).tobytes()))
    return _box(b"stbl", b"".join(parts))


def _with_rest(runs: np.ndarray, samples: int, duration: int) -> np.ndarray:
    """Runs with as many samples more, of so long a duration together: a frame rate is told by their sums."""
    if not samples:
        return runs
    short, longer = divmod(duration, samples)
    rest = [(count, value) for count, value in ((samples - longer, short), (longer, short + 1)) if count]
    if len(runs) == 1 and len(rest) == 1 and int(runs["value"][0]) == rest[0][1]:
        return np.array([(int(runs["count"][0]) + samples, rest[0][1])], runs.dtype)
    return np.concatenate([runs, np.array(rest, runs.dtype)]).astype(runs.dtype)


def _chunk_runs(counts: np.ndarray) -> bytes:
    (changes,) = np.nonzero(np.diff(counts, prepend=0))
    runs = np.stack([changes + 1, counts[changes], np.ones_like(changes)], axis=1)
    return struct.pack(">I", len(runs)) + runs.astype(">u4").tobytes()


def _keyframes(file: IO[bytes], table: Table, page: Page) -> bytes:
    numbers = table.read(file, page.keyframe, page.samples).astype(np.int64) - page.first_sample
    numbers = numbers[numbers <= page.samples]
    if table.count and not len(numbers):
        numbers = np.array([page.samples + 1])  # with none at all FFmpeg would take another way to tell
    return struct.pack(">I", len(numbers)) + numbers.astype(">u4").tobytes()


def _content(file: IO[bytes], box: Box) -> bytes:
    file.seek(box.begin)
    content = file.read(box.end - box.begin)
    if len(content) < box.end - box.begin:
        raise NotPagedError("the file is cut")
    return content


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", _HEADER_BYTES + len(payload), kind) + payload


def _full_box(kind: bytes, payload: bytes) -> bytes:
    return _box(kind, bytes(4) + payload)


class _FileWithAnotherMovie(io.RawIOBase):
    """A file, to read, whose `moov` box is called `free`, and behind whose end there is another."""

    def __init__(self, file: IO[bytes], name: str, movie: Box, content: bytes) -> None:
        super().__init__()
        self.name = name
        self._file, self._content = file, content
        self._kind_at = movie.begin + 4
        self._end = file.seek(0, io.SEEK_END)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end + len(self._content)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = self._end + len(self._content)
        begin = self._at
        if begin >= self._end:
            content = self._content[begin - self._end : begin - self._end + size]
        else:
            self._file.seek(begin)
            content = self._file.read(min(size, self._end - begin))
            if begin < self._kind_at + 4 and begin + len(content) > self._kind_at:
                content = self._renamed(content, self._kind_at - begin)
        self._at += len(content)
        return content

    @staticmethod
    def _renamed(content: bytes, at: int) -> bytes:
        name = b"free"[max(0, -at) : len(content) - at]
        return content[: max(0, at)] + name + content[max(0, at) + len(name) :]
