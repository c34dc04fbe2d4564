"""The packets of a long MP4, a page of one track at a time, as FFmpeg's demuxer gives those of the whole file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from storage.limits import DEMUX_OPTIONS
from storage.mp4_pages import PagedMovie, first_positions
from storage.mp4_tables import NotPagedError, runs_of

_TOGETHER = 1_000_000
"""Microseconds. Of packets that are no farther apart in time, FFmpeg gives the one first that comes first in the file."""
_BEGINS_WITHIN = 256
"""Samples of the first page, one of which is the first that the edit list shows."""


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
            NotPagedError: FFmpeg makes something else of the file than its tables say.
        """
        self._movie, self._container = movie, container
        self._sought: dict[int, _OpenPage] = {}
        """By track."""
        streams = [each for each in container.streams if not each.disposition & Disposition.attached_pic]
        if [stream.id for stream in streams] != [track.track_id for track in movie.tracks]:
            raise NotPagedError("FFmpeg has other streams")
        self._tracks = {stream.index: number for number, stream in enumerate(streams)}
        self._begins = [self._begin_of(number, stream) for number, stream in enumerate(streams)]

    def _begin_of(self, number: int, stream: Stream) -> int:
        """dts that FFmpeg gives the track's first sample, whether or not the edit list shows it."""
        paged = self._movie.tracks[number]
        if len(paged.pages) == 1:
            return 0
        assert paged.track is not None
        entries = stream.index_entries
        if not len(entries):
            raise NotPagedError("FFmpeg finds no packets")
        positions = first_positions(self._movie.file, paged.track, paged.pages[0], _BEGINS_WITHIN)
        (found,) = np.nonzero(positions == entries[0].pos)
        if len(found) != 1:
            raise NotPagedError("FFmpeg finds packets elsewhere")
        before = runs_of(self._movie.file, paged.track.tables[b"stts"], paged.pages[0].durations, int(found[0]))
        return entries[0].timestamp - int((before["count"].astype(np.int64) * before["value"]).sum())

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
        wanted: Sequence[Stream] = streams or self._container.streams
        yield from self._pictures([stream for stream in wanted if stream.index not in self._tracks])
        tracks = [
            self._packets(stream, self._tracks[stream.index])
            for stream in wanted
            if stream.index in self._tracks and stream.discard != Discard.all
        ]
        yield from tracks[0] if len(tracks) == 1 else _in_order(tracks)
        for stream in wanted:
            last = Packet()
            last.stream = stream
            last.time_base = stream.time_base
            yield last

    def _pictures(self, streams: Sequence[Stream]) -> Iterator[Packet]:
        """Cover pictures, which are in no track: FFmpeg gives them first."""
        if streams:
            yield from islice((packet for packet in self._container.demux(*streams) if packet.size), len(streams))

    def _open(self, track: int, number: int) -> _OpenPage:
        container = av.open(
            self._movie.page(track, number), "r", options=dict(DEMUX_OPTIONS), metadata_errors="replace"
        )
        paged = self._movie.tracks[track]
        shift = 0
        if number > 0:
            assert paged.track is not None
            entries = container.streams[0].index_entries
            (begin,) = first_positions(self._movie.file, paged.track, paged.pages[number], 1)
            assert entries[0].pos == begin
            shift = self._begins[track] + paged.pages[number].dts - entries[0].timestamp
        return _OpenPage(container, number, shift)

    def _packets(self, stream: Stream, track: int) -> Iterator[Packet]:
        """Of one track, from where it was sought or its beginning on."""
        paged = self._movie.tracks[track]
        page = self._sought.pop(track, None) or self._open(track, 0)
        while True:
            with page.container:
                last = yield from self._packets_of_page(stream, page)
                entries = page.stream.index_entries
                is_cut = last is None or not len(entries) or last.pos != entries[len(entries) - 1].pos
                if last is not None:
                    if page.number + 1 < len(paged.pages) and not is_cut:
                        last.duration = self._begins[track] + paged.end_of(page.number) - (last.dts or 0)
                    yield last
            if is_cut or page.number + 1 == len(paged.pages):
                return
            page = self._open(track, page.number + 1)

    def _packets_of_page(self, stream: Stream, page: _OpenPage) -> Iterator[Packet]:
        """All but the last one, which is returned."""
        held: Packet | None = None
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
        return held


def _in_order(tracks: Sequence[Iterator[Packet]]) -> Iterator[Packet]:
    """The tracks' packets, in the order in which FFmpeg's demuxer of MP4 gives them."""
    heads = [(next(track, None), track) for track in tracks]
    waiting = [[_microseconds(head), head, track] for head, track in heads if head is not None]
    while waiting:
        best = waiting[0]
        for other in waiting[1:]:
            apart = best[0] - other[0]
            if (other[1].pos or 0) < (best[1].pos or 0) if abs(apart) <= _TOGETHER else apart > 0:
                best = other
        yield best[1]
        following = next(best[2], None)
        if following is None:
            waiting.remove(best)
        else:
            best[0], best[1] = _microseconds(following), following


def _microseconds(packet: Packet) -> int:
    base = packet.time_base
    if packet.dts is None or base is None:
        return 0
    return packet.dts * 1_000_000 * base.numerator // base.denominator
