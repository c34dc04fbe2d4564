"""A long MP4 or MOV, shown to FFmpeg's demuxer a page at a time.

FFmpeg holds the index of all packets of an MP4 for as long as it is open, 60 bytes each, and reads it anew whenever the
file is opened. So it gets to see the file with another `moov` box in place of its own, which has one page of one track
(`storage.mp4_pages`). All else, the samples above all, is where it was.

What is no plain movie, or so short that it does not matter, is not paged: it is read as it is.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from storage.limits import MAX_STREAMS
from storage.movie_file import FileWithAnotherMovie
from storage.mp4_boxes import Box, box, boxes, full_box
from storage.mp4_pages import (
    Page,
    Pages,
    chunks_of,
    each_of,
    pages_of,
    positions_of,
    runs_of,
)
from storage.mp4_tables import (
    EMPTY_EDIT,
    Table,
    Track,
    UnusualMovieError,
    boxes_in,
    movie_timescale,
    read_at,
    read_track,
)

PAGED_FROM = 100_000
"""Packets of all tracks. FFmpeg's index of so many takes 6 MB."""
PAGE_PACKETS = 1 << 14

_LOOKED_INTO_FROM = 1 << 20
"""Bytes. A smaller file does not have so many packets."""
_TOP_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pdin", b"meta"))
_MOST_TOP_BOXES = 64
_MOST_OTHER_BYTES = 32 << 20
"""Of what a header has besides tables: tags and pictures."""
_KEPT_IN_A_PAGE = frozenset((b"tkhd", b"mdia", b"edts"))
_PATH_TO_TABLES = frozenset((b"mdia", b"minf"))


_IN_ONE_PAGE = Pages()


@dataclass(frozen=True)
class PagedTrack:
    """A track and its pages; a short one has a single page, which is all of it."""

    track: Track
    found: Pages = _IN_ONE_PAGE

    @property
    def pages(self) -> tuple[Page, ...]:
        return self.found.pages

    def end_of(self, number: int) -> int:
        """When page `number` ends, ticks of the track's clock; of tracks of several pages."""
        return self.pages[number + 1].dts if number + 1 < len(self.pages) else self.found.duration


@dataclass(frozen=True)
class PagedMovie:
    """A movie whose packets are read a page at a time."""

    file: IO[bytes]
    name: str
    movie: Box
    tracks: tuple[PagedTrack, ...]

    def header(self) -> FileWithAnotherMovie:
        """The file with all that its header says, and the first page of each track."""
        tracks = iter(self.tracks)
        parts = [
            self._track(next(tracks), 0, whole=True) if each.kind == b"trak" else _content(self.file, each)
            for each in boxes_in(self.file, self.movie)
        ]
        return self._with_movie(parts)

    def page(self, track: int, number: int) -> FileWithAnotherMovie:
        """The file with one page of one track; its edit list goes with the first."""
        parts = [_content(self.file, each) for each in boxes_in(self.file, self.movie) if each.kind == b"mvhd"]
        return self._with_movie([*parts, self._track(self.tracks[track], number, whole=False)])

    def position(self, track: int, number: int) -> int:
        """Where the first sample of a page is, byte of the file."""
        paged = self.tracks[track]
        return int(positions_of(self.file, paged.track, paged.pages[number], 1)[0])

    def first_dts(self, track: int, position: int) -> int | None:
        """Ticks from where a track's clock begins to a sample of its first page, found by its place in the file; None
        when there is none."""
        paged = self.tracks[track]
        first = paged.pages[0]
        (found,) = np.nonzero(positions_of(self.file, paged.track, first, first.samples) == position)
        if len(found) != 1:
            return None
        durations = runs_of(self.file, paged.track.tables[b"stts"], first.durations, int(found[0]))
        return int(each_of(durations).sum())

    def _with_movie(self, parts: list[bytes]) -> FileWithAnotherMovie:
        return FileWithAnotherMovie(self.file, self.name, self.movie, box(b"moov", b"".join(parts)))

    def _track(self, paged: PagedTrack, number: int, *, whole: bool) -> bytes:
        """The box of a track with one page; `whole` keeps all that it says, and its length."""
        if len(paged.pages) == 1:
            return _content(self.file, paged.track.box)
        return box(b"trak", b"".join(self._children(paged, paged.track.box, number, whole=whole)))

    def _children(self, paged: PagedTrack, parent: Box, number: int, *, whole: bool) -> Iterator[bytes]:
        for each in boxes_in(self.file, parent):
            told = each.kind in _KEPT_IN_A_PAGE and not (each.kind == b"edts" and number > 0)
            if parent.kind == b"trak" and not whole and not told:
                continue
            if each.kind in _PATH_TO_TABLES:
                yield box(each.kind, b"".join(self._children(paged, each, number, whole=whole)))
            elif each.kind == b"stbl":
                yield _sample_tables(self.file, paged, number, each, whole=whole)
            else:
                yield _content(self.file, each)


@contextmanager
def paged_movie(source: str | IO[bytes]) -> Iterator[PagedMovie | None]:
    """The pages of a source, a path or a seekable binary file; None where it is short or no plain movie."""
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
    size = file.seek(0, io.SEEK_END)
    try:
        if size < _LOOKED_INTO_FROM or read_at(file, 4, 4) not in _TOP_BOXES:
            return None
        found = _top_boxes(file, size)
        movies = [each for each in found if each.kind == b"moov"]
        if len(movies) != 1 or found[-1].end != size or found[-1].open_ended:
            return None  # another box could not come behind
        return _read_movie(file, name, movies[0], size)
    except UnusualMovieError:
        return None
    finally:
        file.seek(0)


def _top_boxes(file: IO[bytes], size: int) -> list[Box]:
    """The boxes of a file, as long as they are of a plain movie: in one of fragments each would be looked for."""
    found: list[Box] = []
    for each in boxes(file, 0, size):
        if each.kind not in _TOP_BOXES or len(found) == _MOST_TOP_BOXES:
            raise UnusualMovieError("it is in fragments, or no movie")
        found.append(each)
    return found


def _read_movie(file: IO[bytes], name: str, movie: Box, size: int) -> PagedMovie:
    found = boxes_in(file, movie)
    if any(each.kind in (b"mvex", b"cmov") for each in found):
        raise UnusualMovieError("it is in fragments, or compressed")
    headers = [each for each in found if each.kind == b"mvhd"]
    if len(headers) != 1 or sum(each.kind == b"trak" for each in found) > MAX_STREAMS:
        raise UnusualMovieError("it has not one header, or very many tracks")
    tracks = [read_track(file, each) for each in found if each.kind == b"trak"]
    if sum(track.packets for track in tracks) < PAGED_FROM:
        raise UnusualMovieError("it is short")
    long = [track for track in tracks if track.packets > PAGE_PACKETS]
    in_tables = sum(table.count * table.dtype.itemsize for track in long for table in track.tables.values())
    if movie.size - in_tables > _MOST_OTHER_BYTES:
        raise UnusualMovieError("its header has much else than tables")
    timescale = movie_timescale(file, headers[0])
    paged = [_paged_track(file, track, timescale, size) if track in long else PagedTrack(track) for track in tracks]
    return PagedMovie(file, name, movie, tuple(paged))


def _paged_track(file: IO[bytes], track: Track, timescale: int, size: int) -> PagedTrack:
    paged = PagedTrack(track, pages_of(file, track, PAGE_PACKETS))
    last = paged.pages[-1]
    if int(positions_of(file, track, last, last.samples)[-1]) >= size:
        raise UnusualMovieError("its samples are cut")
    if len(paged.pages) > 1 and track.edits:
        _refuse_hidden_samples(file, paged, timescale)
    return paged


def _refuse_hidden_samples(file: IO[bytes], paged: PagedTrack, timescale: int) -> None:
    """An edit list may begin in the first page. One that hides more is not for a page to tell."""
    shown = [edit for edit in paged.track.edits if edit[1] != EMPTY_EDIT]
    if len(shown) != 1 or paged.track.edits[-1] != shown[0] or not timescale:
        raise UnusualMovieError("an edit list has several parts")
    ((duration, begin),) = shown
    end = begin + duration * paged.track.timescale / timescale
    if 2 * begin > paged.pages[1].dts or end <= _last_shown(file, paged):
        raise UnusualMovieError("an edit list hides samples")


def _last_shown(file: IO[bytes], paged: PagedTrack) -> int:
    """When the last sample begins to show, ticks of the track's clock."""
    page, tables = paged.pages[-1], paged.track.tables
    if paged.track.unframed:
        return paged.found.duration - 1
    durations = each_of(runs_of(file, tables[b"stts"], page.durations, page.samples))
    times = page.dts + np.cumsum(durations) - durations
    if b"ctts" in tables:
        times = times + each_of(runs_of(file, tables[b"ctts"], page.offsets, page.samples))
    return int(times.max())


def _sample_tables(file: IO[bytes], paged: PagedTrack, number: int, parent: Box, *, whole: bool) -> bytes:
    """`stbl` with one page; `whole` lets its durations add up to those of the track."""
    track, page, tables = paged.track, paged.pages[number], paged.track.tables
    parts = [_content(file, each) for each in boxes_in(file, parent) if each.kind == b"stsd"]
    durations = runs_of(file, tables[b"stts"], page.durations, page.samples)
    if whole:
        durations = _with_rest(durations, track.samples - page.samples, paged.found.duration - paged.end_of(number))
    if track.is_sound and not track.unframed and len(durations) == 1 and int(durations["value"][0]) == 1:
        durations = _joined(durations, [(1, 2)])  # or FFmpeg would take the page for sound without frames
    parts.append(_counted(b"stts", durations))
    if b"ctts" in tables:
        offsets = runs_of(file, tables[b"ctts"], page.offsets, page.samples)
        if paged.found.lowest_offset:  # by which FFmpeg delays the whole track: the last two do not count for it
            offsets = _joined(offsets, [(1, paged.found.lowest_offset), (1, 0), (1, 0)])
        parts.append(_counted(b"ctts", offsets))
    starts, counts = chunks_of(file, track, page)
    parts += [_counted(b"stsc", _chunk_runs(counts)), _chunk_offsets(starts)]
    sizes = b"" if track.sample_bytes else tables[b"stsz"].read(file, page.first_sample, page.samples).tobytes()
    parts.append(full_box(b"stsz", struct.pack(">2I", track.sample_bytes, page.samples) + sizes))
    if b"stss" in tables:
        parts.append(_counted(b"stss", _keyframes(file, tables[b"stss"], page)))
    if b"sdtp" in tables:
        parts.append(full_box(b"sdtp", tables[b"sdtp"].read(file, page.first_sample, page.samples).tobytes()))
    return box(b"stbl", b"".join(parts))


def _chunk_offsets(starts: NDArray[np.int64]) -> bytes:
    if starts[-1:].max(initial=0) < 1 << 32:
        return _counted(b"stco", starts.astype(">u4"))
    return _counted(b"co64", starts.astype(">u8"))


def _counted(kind: bytes, entries: NDArray) -> bytes:
    return full_box(kind, struct.pack(">I", len(entries)) + entries.tobytes())


def _with_rest(runs: NDArray, samples: int, duration: int) -> NDArray:
    """Runs with as many samples more, of so long a duration together: a frame rate is told by their sums."""
    short, longer = divmod(duration, samples) if samples else (0, 0)
    rest = [(count, value) for count, value in ((samples - longer, short), (longer, short + 1)) if count]
    if len(runs) == 1 and len(rest) == 1 and int(runs["value"][0]) == rest[0][1]:
        return np.array([(int(runs["count"][0]) + samples, rest[0][1])], runs.dtype)
    return _joined(runs, rest)


def _joined(runs: NDArray, more: Sequence[tuple[int, int]]) -> NDArray:
    return np.concatenate([runs, np.array(more, runs.dtype)]).astype(runs.dtype)  # whose byte order numpy forgets


def _chunk_runs(counts: NDArray[np.int64]) -> NDArray:
    """As stsc has them: first chunk, samples of each, description."""
    (changes,) = np.nonzero(np.diff(counts, prepend=0))
    return np.stack([changes + 1, counts[changes], np.ones_like(changes)], axis=1).astype(">u4")


def _keyframes(file: IO[bytes], table: Table, page: Page) -> NDArray:
    numbers = table.read(file, page.keyframe, page.samples).astype(np.int64) - page.first_sample
    numbers = numbers[numbers <= page.samples]
    if table.count and not len(numbers):
        numbers = np.array([page.samples + 1])  # with none at all FFmpeg would ask the codec for keyframes
    return numbers.astype(">u4")


def _content(file: IO[bytes], each: Box) -> bytes:
    return read_at(file, each.begin, each.size)
