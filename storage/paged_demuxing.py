"""The packets of a long MP4, a page of one track at a time, as FFmpeg's demuxer gives those of the whole file."""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from storage.limits import open_within_limits
from storage.mp4_tables import UnusualMovieError
from storage.paged_movie import PagedMovie

_TOGETHER = 1_000_000
"""Microseconds. Of packets no farther apart in time, FFmpeg gives the one first that comes first in the file."""


@dataclass
class _OpenPage:
    container: InputContainer
    number: int
    shift: int
    """Ticks from the page's times to the track's, as the whole file shows them."""

    @property
    def stream(self) -> Stream:
        return self.container.streams[0]


class PagedDemuxer:
    """Demuxes what `container` shows the header of. Not for use when that is closed."""

    def __init__(self, movie: PagedMovie, container: InputContainer) -> None:
        """Args:
        container: opened on `movie.header()`.

        Raises:
            UnusualMovieError: FFmpeg makes something else of the file than its tables say.
        """
        self._movie, self._container = movie, container
        self._sought: dict[int, _OpenPage] = {}
        """By track."""
        streams = [each for each in container.streams if not each.disposition & Disposition.attached_pic]
        if [stream.id for stream in streams] != [paged.track.track_id for paged in movie.tracks]:
            raise UnusualMovieError("FFmpeg has other streams")
        self._tracks = {stream.index: number for number, stream in enumerate(streams)}
        self._begins = [self._begin_of(number, stream) for number, stream in enumerate(streams)]

    def _begin_of(self, number: int, stream: Stream) -> int:
        """dts that FFmpeg gives the track's first sample, whether or not an edit list shows it."""
        if len(self._movie.tracks[number].pages) == 1:
            return 0
        entries = stream.index_entries
        before = self._movie.first_dts(number, entries[0].pos) if len(entries) else None
        if before is None:
            raise UnusualMovieError("FFmpeg finds other packets")
        return entries[0].timestamp - before

    def close(self) -> None:
        """Let go of what a seek has opened."""
        for page in self._sought.values():
            page.container.close()
        self._sought = {}

    def seek(self, stream: Stream, pts: int) -> None:
        """Let `demuxed(stream)` begin at the keyframe that is nearest before `pts`.

        Raises:
            FFmpegError: there is none.
        """
        self.close()
        track = self._tracks[stream.index]
        begins = [self._begins[track] + page.dts for page in self._movie.tracks[track].pages]
        number = max(0, int(np.searchsorted(begins, pts, "right")) - 1)
        while True:
            page = self._open(track, number)
            try:
                page.container.seek(pts - page.shift, stream=page.stream, backward=True)
            except av.error.FFmpegError:
                page.container.close()
                if number == 0:
                    raise
                number -= 1
                continue
            self._sought = {track: page}
            return

    def demuxed(self, *streams: Stream) -> Iterator[Packet]:
        """As `storage.demuxing.demuxed`; from the file's beginning, unless a seek in that one stream came before."""
        wanted = streams or tuple(self._container.streams)
        yield from self._pictures([stream for stream in wanted if stream.index not in self._tracks])
        tracks = [each for each in wanted if each.index in self._tracks and each.discard != Discard.all]
        yield from _in_order([_Head(self._packets(each), each.time_base or Fraction(1)) for each in tracks])
        for stream in wanted:
            last = Packet()
            last.stream = stream
            if stream.time_base is not None:
                last.time_base = stream.time_base
            yield last

    def _pictures(self, streams: Sequence[Stream]) -> Iterator[Packet]:
        """Cover pictures, which are in no track: FFmpeg gives them first."""
        if streams:
            yield from islice((packet for packet in self._container.demux(*streams) if packet.size), len(streams))

    def _open(self, track: int, number: int) -> _OpenPage:
        try:
            file = self._movie.page(track, number)
            position = self._movie.position(track, number) if number > 0 else 0
        except UnusualMovieError as error:  # it was none when it was opened
            raise _invalid(str(error)) from error
        container = open_within_limits(file)
        if number == 0:
            return _OpenPage(container, number, 0)  # which has the edit list, so its times are right
        entries = container.streams[0].index_entries
        if not len(entries) or entries[0].pos != position:
            container.close()
            raise _invalid(f"no packet where one must be, byte {position}")
        begin = self._begins[track] + self._movie.tracks[track].pages[number].dts
        return _OpenPage(container, number, begin - entries[0].timestamp)

    def _packets(self, stream: Stream) -> Iterator[Packet]:
        """Of one track, from where it was sought or its beginning on."""
        track = self._tracks[stream.index]
        paged = self._movie.tracks[track]
        page = self._sought.pop(track, None) or self._open(track, 0)
        while True:
            with page.container:
                last = yield from self._packets_of_page(stream, page)
                entries = page.stream.index_entries
                if last is not None:
                    if page.number + 1 < len(paged.pages) and last.pos == entries[len(entries) - 1].pos:
                        last.duration = self._begins[track] + paged.end_of(page.number) - (last.dts or 0)
                    yield last
                self._refuse_missing(page, last)
            if page.number + 1 == len(paged.pages):
                return
            page = self._open(track, page.number + 1)

    def _refuse_missing(self, page: _OpenPage, last: Packet | None) -> None:
        """FFmpeg ends where it cannot read a packet, as if the file did. Of one track nobody would know it.

        Raises:
            FFmpegError: the index has packets behind the last one that came.
        """
        entries = page.stream.index_entries
        left = next((entry for entry in map(entries.__getitem__, range(len(entries) - 1, -1, -1)) if entry.size), None)
        reached = None if last is None else last.dts
        if left is not None and (last is None or (reached is not None and reached - page.shift < left.timestamp)):
            raise _invalid("packets that the index tells of cannot be read")

    def _packets_of_page(self, stream: Stream, page: _OpenPage) -> Generator[Packet, None, Packet | None]:
        """All but the last one, which is returned."""
        held: Packet | None = None
        try:
            for packet in page.container.demux(page.stream):
                if not packet.size and packet.dts is None:
                    continue  # PyAV's way to say that the page is over
                if held is not None:
                    yield held
                packet.stream = stream
                if page.shift:
                    packet.pts = None if packet.pts is None else packet.pts + page.shift
                    packet.dts = None if packet.dts is None else packet.dts + page.shift
                held = packet
        except av.error.FFmpegError:
            if held is not None:
                yield held
            raise
        return held


def _invalid(message: str) -> av.error.InvalidDataError:
    return av.error.InvalidDataError(errno.EINVAL, message)


class _Head:
    """The next packet of a track."""

    def __init__(self, packets: Iterator[Packet], time_base: Fraction) -> None:
        self._packets, self._microseconds = packets, 1_000_000 * time_base
        self.packet: Packet | None = None
        self.go_on()

    def go_on(self) -> None:
        self.packet = next(self._packets, None)
        if self.packet is not None:
            self._time = (self.packet.dts or 0) * self._microseconds.numerator // self._microseconds.denominator
            self._position = self.packet.pos or 0

    def comes_before(self, other: _Head) -> bool:
        if abs(self._time - other._time) <= _TOGETHER:
            return self._position < other._position
        return self._time < other._time


def _in_order(heads: Sequence[_Head]) -> Iterator[Packet]:
    """The tracks' packets, in the order in which FFmpeg's demuxer of MP4 gives them."""
    while heads := [head for head in heads if head.packet is not None]:
        best = heads[0]
        for head in heads[1:]:
            if head.comes_before(best):
                best = head
        assert best.packet is not None
        yield best.packet
        best.go_on()
