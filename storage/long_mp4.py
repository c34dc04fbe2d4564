"""Writing an MP4 or MOV of any number of packets in bounded memory.

FFmpeg's muxer holds 80 bytes a packet until the end, and twice the size of its tables to put them in front. So the
packets' content is written here, and their tables kept in temporary files (`storage.sample_tables`). FFmpeg writes the
header all the same, of a file that has the first and the last packets of each stream: everything that a header says
beside these tables and the bit rates follows from them. In the end the tables go into that header, the header in front.

Only for streams whose packets FFmpeg would write as they are: see `storage.result_file`.
"""

from __future__ import annotations

import os
import re
from collections import deque
from pathlib import Path
from typing import IO, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.rational import AVRational
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from storage.long_mp4_header import header_in_parts
from storage.media_index import has_side_data
from storage.probe import codec_name
from storage.sample_tables import ColumnBox, Parts, SampleTables, size_of

_FIRST_PACKETS = _LAST_PACKETS = 32
"""Of each stream, that FFmpeg is told of, beside those of others that it must know."""

_FARTHEST_TICKS = 1 << 30
"""FFmpeg takes no two packets of a stream for neighbours that are twice as far apart."""

_LONGEST_TICKS = (1 << 31) - 1
"""From one packet to the next, and from a dts to its pts: what the tables hold."""

_STUB_BYTES = 8
"""Of a packet of the picture, which FFmpeg is told: the header does not depend on what is in it."""

_BLOCK_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 20

_PCM = re.compile(r"pcm_[suf]?(\d+)(?:le|be)?|pcm_(?:alaw|mulaw)")
_END_OF_TEXT = bytes(2)
"""A subtitle without text, which FFmpeg writes where none is shown."""


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a picture of its file, which an MP4 holds among its tags."""
    return stream.type == "video" and stream.disposition == Disposition.attached_pic


def sample_bytes(stream: Stream) -> int:
    """Bytes of one sample of all channels, in audio that has no packets of its own; else 0."""
    found = _PCM.fullmatch(codec_name(stream))
    if found is None or not isinstance(stream, AudioStream) or stream.codec_context.frame_size > 1:
        return 0
    return int(found[1] or 8) // 8 * stream.codec_context.channels


class LongMp4:
    """Writes packets to a file that has no header yet, and tells FFmpeg what it needs for one."""

    def __init__(self, header: OutputContainer, target: Path) -> None:
        """Args:
        header: will have all streams by the first packet. It becomes a file to read the header from.
        target: is written.
        """
        self._header, self._target = header, target
        self._file: IO[bytes] = target.open("wb", buffering=_BUFFER_BYTES)
        self._position = 0
        self._tracks: dict[int, _Track] | None = None

    def __enter__(self) -> LongMp4:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def mux_one(self, packet: Packet) -> None:
        """Write the next packet, of the stream that is set on it.

        Raises:
            ArgumentError: its times do not go on from those of the one before.
        """
        track = self._begun().get(packet.stream_index)
        if track is None:
            self._header.mux_one(packet)
            return
        size = packet.size
        if not size:
            return
        packet.rescale_ts(track.time_base)
        if packet.dts is None:
            packet.dts = packet.pts
        if packet.pts is None:
            packet.pts = packet.dts
        pts, dts = packet.pts, packet.dts
        if pts is None or dts is None or not track.goes_on_at(dts) or not dts <= pts <= dts + _LONGEST_TICKS:
            raise av.error.ArgumentError(22, "Invalid argument")
        if track.is_text and dts > track.end:
            self._end_text(track)
        track.add(self._position, size, packet, pts, dts)
        self._file.write(packet)
        self._position += size

    def _begun(self) -> dict[int, _Track]:
        """The streams that have samples, by index."""
        if self._tracks is None:
            self._header.start_encoding()  # which sets the streams' time bases
            streams = [stream for stream in self._header.streams if not is_cover(stream)]
            self._tracks = {stream.index: _Track(stream, self._header) for stream in streams}
        return self._tracks

    def _end_text(self, track: _Track) -> None:
        """Write that no subtitle is shown from the end of the last one on."""
        track.tables.add(self._position, len(_END_OF_TEXT), track.end)
        track.last_dts, track.last_duration, track.shows_text = track.end, 0, False
        self._position += self._file.write(_END_OF_TEXT)

    def finish(self) -> None:
        """Write what is left, and tell FFmpeg the last packets; then the header's container is to be closed."""
        for track in self._begun().values():
            if track.is_text and (track.shows_text or not track.tables.entries):
                self._end_text(track)
            track.finish()
        self._file.close()

    def put_header_in_front(self, header: Path) -> None:
        """Make the file whole; `header` is the closed file of the container that this one began with."""
        tables = [track.tables for track in self._begun().values() if track.tables.entries]
        with header.open("rb") as source, self._target.open("r+b") as file:
            parts = header_in_parts(source, tables, self._position)
            _shift(file, size_of(parts))
            file.seek(0)
            _write_parts(file, parts)


def _write_parts(file: IO[bytes], parts: Parts) -> None:
    for part in parts:
        for content in part.chunks() if isinstance(part, ColumnBox) else (part,):
            file.write(content)


def _shift(file: IO[bytes], by: int) -> None:
    """Move all that is in a file back by so many bytes, a block at a time from the end."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - _BLOCK_BYTES)
        file.seek(begin)
        block = file.read(end - begin)
        file.seek(begin + by)
        file.write(block)
        end = begin


class _Track:
    """One stream of the result on its way."""

    def __init__(self, stream: Stream, header: OutputContainer) -> None:
        assert stream.time_base is not None
        self.time_base = AVRational(stream.time_base.numerator, stream.time_base.denominator)
        self.is_text = stream.type == "subtitle"
        self._is_picture = isinstance(stream, VideoStream)
        self.tables = SampleTables(
            stream.time_base.denominator, is_video=self._is_picture, sample_bytes=sample_bytes(stream)
        )
        self.last_dts = self.last_duration = 0
        self.shows_text = False
        self._told = _ToldPackets(header, stream)
        context = stream.codec_context
        self._descriptions = [(context.extradata or b"") if context is not None else b""]
        self._description = 1

    @property
    def end(self) -> int:
        """When the last packet is not shown any more, in ticks."""
        return self.last_dts + self.last_duration

    def goes_on_at(self, dts: int) -> bool:
        """Whether a packet may be decoded at `dts`."""
        if not self.tables.entries:
            return True
        return int(not self.is_text) <= dts - self.last_dts <= _LONGEST_TICKS

    def add(self, position: int, size: int, packet: Packet, pts: int, dts: int) -> None:
        """Enter the next packet, which begins at the byte `position`."""
        duration, keyframe = packet.duration or 0, packet.is_keyframe
        self.last_dts, self.last_duration, self.shows_text = dts, duration, True
        if self._is_picture:  # all of it was encoded in one way
            self.tables.add(position, size, dts, pts - dts, keyframe, packet.is_disposable)
            self._told.take(_Picture(pts, dts, duration, keyframe, bytes(memoryview(packet)[:_STUB_BYTES])))
            return
        described_anew = has_side_data(packet) and packet.has_sidedata("new_extradata") and self._describe(packet)
        self.tables.add(position, size, dts, description=self._description)
        self._told.take(packet, whole=described_anew)

    def _describe(self, packet: Packet) -> bool:
        """Find the description that begins to hold with a packet; whether it is a new one."""
        extradata = bytes(packet.get_sidedata("new_extradata"))
        is_new = extradata not in self._descriptions
        if is_new:
            self._descriptions.append(extradata)
        self._description = self._descriptions.index(extradata) + 1
        return is_new

    def finish(self) -> None:
        """No packet comes any more."""
        if self.tables.entries:
            self.tables.close(self.last_duration)
            self._told.finish()


class _Picture(NamedTuple):
    """What FFmpeg must know of a packet of the picture."""

    pts: int
    dts: int
    duration: int
    is_keyframe: bool
    beginning: bytes


class _ToldPackets:
    """Those of a stream's packets that FFmpeg is told of: the first, the last, and some on the way."""

    def __init__(self, header: OutputContainer, stream: Stream) -> None:
        self._header, self._stream = header, stream
        self._waiting: deque[tuple[Packet | _Picture, bool]] = deque()
        self._told = 0
        self._last_dts = 0
        self._lowest_offset = _LONGEST_TICKS
        self._latest: Packet | _Picture | None = None

    def take(self, packet: Packet | _Picture, *, whole: bool = False) -> None:
        """Enter the next; `whole` when it must be told."""
        dts = packet.dts or 0
        if dts <= 0 and (offset := (packet.pts or 0) - dts) < self._lowest_offset:
            self._lowest_offset, whole = offset, True  # by which it knows where a track begins
        self._waiting.append((packet, whole))
        if len(self._waiting) > _LAST_PACKETS:
            waited, must = self._waiting.popleft()
            far = (waited.dts or 0) - self._last_dts >= _FARTHEST_TICKS
            if self._told < _FIRST_PACKETS or must or far:
                self._tell_latest()
                self._tell(waited)
            elif self._latest is None or _end(waited) > _end(self._latest):
                self._latest = waited

    def finish(self) -> None:
        """Tell the last ones."""
        self._tell_latest()
        for packet, _ in self._waiting:
            self._tell(packet)

    def _tell_latest(self) -> None:
        """Tell the one that is shown longest, of those that were not told: by it the track's end may be known."""
        if self._latest is not None:
            self._tell(self._latest)
        self._latest = None

    def _tell(self, packet: Packet | _Picture) -> None:
        self._told += 1
        self._last_dts = packet.dts or 0
        self._header.mux_one(self._stub(packet) if isinstance(packet, _Picture) else packet)

    def _stub(self, picture: _Picture) -> Packet:
        stub = Packet(picture.beginning)
        stub.pts, stub.dts, stub.duration, stub.is_keyframe = picture[:4]
        assert self._stream.time_base is not None
        stub.time_base = self._stream.time_base
        stub.stream = self._stream
        return stub


def _end(packet: Packet | _Picture) -> int:
    return (packet.pts or 0) + (packet.duration or 0)
