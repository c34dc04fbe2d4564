"""Where demuxing may begin, so that a wanted frame comes out: by seeking, or at an anchor. Nothing is decoded here.

No place is sure. The reader decodes from each in turn, until the first frame that comes out is one to begin with.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from storage.decoder_threads import decode_alike
from storage.demuxing import demuxed, seek
from storage.errors import SourceError
from storage.h264 import FieldPairs
from storage.opening import open_container
from storage.picture_tags import crop_exactly
from storage.shards import Shard
from storage.splicing import BYTE_STREAMS, SplicedFile, head_bytes
from storage.timeline import Anchor

_FIRST_SEEK_STEP_SECONDS = 1


class OpenedSource:
    """A source's file, opened for demuxing as often as reading has to begin anew."""

    def __init__(self, shard: Shard, media: str | IO[bytes], opened: ExitStack, threads: int) -> None:
        self.shard = shard
        self._media, self._opened, self._threads = media, opened, threads

    def open(self) -> tuple[InputContainer, VideoStream]:
        """The container, at its beginning, and the probed stream in it."""
        self._opened.close()
        if not isinstance(self._media, str):
            self._media.seek(0)
        return self._enter(self._media)

    def open_spliced(self, position: int) -> tuple[InputContainer, VideoStream, int]:
        """The same, but after the file's beginning come the bytes from `position` on; and the byte at which they do."""
        self._opened.close()
        media = self._media
        if isinstance(media, str):
            media = self._opened.enter_context(Path(media).open("rb"))  # noqa: SIM115 - closed with the container
        spliced = SplicedFile(media, position, self.shard.probe.container)
        return *self._enter(spliced), spliced.joint

    def _enter(self, media: str | IO[bytes] | SplicedFile) -> tuple[InputContainer, VideoStream]:
        container = self._opened.enter_context(open_container(media, name=self.shard.source.url))
        return container, _probed_stream(container, self.shard, self._threads)


def _probed_stream(container: InputContainer, shard: Shard, threads: int) -> VideoStream:
    index = shard.probe.stream_index
    stream = container.streams[index] if index < len(container.streams) else None
    if not isinstance(stream, VideoStream) or stream.time_base != shard.probe.time_base:
        raise SourceError(
            f"{shard.source.url}: stream {index} is not the video that was probed. "
            "The file changed while the job ran: run the same command again"
        )
    crop_exactly(stream)
    decode_alike(stream, threads)
    return stream


def keyframes_before(source: OpenedSource, start: int) -> Iterator[tuple[VideoStream, Iterator[Packet]]]:
    """The stream, and its packets from a keyframe at or before pts `start` on:
    the nearest first, then farther back.

    What was drawn from one is gone when the next one is asked for.
    """
    container, stream = source.open()
    assert stream.time_base is not None
    step = max(1, int(_FIRST_SEEK_STEP_SECONDS / stream.time_base))
    begin = stream.start_time or 0
    target = start
    while target > begin:
        if _seek(container, stream, target):
            packets = demuxed(container, stream)
            keyframe = _keyframe_at_or_before(packets, start)
            if keyframe is not None:
                yield stream, chain([keyframe], packets)
                stream.codec_context.flush_buffers()
        target = start - step
        step *= 2


def anchors_before(
    source: OpenedSource, anchors: Sequence[Anchor], start: int
) -> Iterator[tuple[Anchor, VideoStream, Iterator[Packet]]]:
    """An anchor at or before pts `start`, the stream, and its packets from the anchor's on: the last one first, then
    those farther back.

    What was drawn from one is gone when the next one is asked for.
    """
    number = bisect_right(anchors, start, key=lambda anchor: anchor.pts) - 1
    step = 1
    while number >= 0:
        found = _at_anchor(source, anchors[number])
        if found is not None:
            yield anchors[number], *found
        number -= step
        step *= 2


def _at_anchor(source: OpenedSource, anchor: Anchor) -> tuple[VideoStream, Iterator[Packet]] | None:
    """The stream, and its packets from the anchor's on; the file is walked through when there is no shorter way."""
    container, stream = source.open()
    if container.format.name in BYTE_STREAMS:
        if anchor.position > head_bytes():
            container, stream, joint = source.open_spliced(anchor.position)
            packets = _from_packet(demuxed(container, stream), anchor, position=joint)
            if packets is not None:
                return stream, packets
            container, stream = source.open()
    elif anchor.dts is not None and _seek(container, stream, anchor.dts):
        packets = _from_packet(demuxed(container, stream), anchor, position=anchor.position)
        if packets is not None:
            return stream, packets
        container, stream = source.open()
    packets = _from_number(demuxed(container, stream), anchor.packet, FieldPairs(stream))
    return (stream, packets) if packets is not None else None


def _from_packet(packets: Iterator[Packet], anchor: Anchor, *, position: int) -> Iterator[Packet] | None:
    """The packets from the anchor's on, told by its place in the file; None when it does not come."""
    if position < 0:
        return None
    try:
        for packet in packets:
            if packet.pos is not None and packet.pos > position:
                return None
            if packet.pos == position and packet.dts == anchor.dts and packet.size:
                return chain([packet], packets)
    except av.error.FFmpegError:
        return None
    return None


def _from_number(packets: Iterator[Packet], number: int, fields: FieldPairs) -> Iterator[Packet] | None:
    try:
        for packet in packets:
            if not packet.size or packet.is_discard or fields.is_second(packet):
                continue
            if number == 0:
                return chain([packet], packets)
            number -= 1
    except av.error.FFmpegError:
        return None
    return None


def _seek(container: InputContainer, stream: VideoStream, pts: int) -> bool:
    try:
        seek(container, stream, pts)
    except av.error.FFmpegError:
        return False  # this demuxer cannot seek there: an earlier target is tried, at last the beginning
    return True


def _keyframe_at_or_before(packets: Iterator[Packet], start: int) -> Packet | None:
    """The first keyframe of `packets` when its pts is <= `start`."""
    try:
        for packet in packets:
            decoding_time = packet.dts if packet.dts is not None else packet.pts
            if decoding_time is None or decoding_time > start:
                return None
            if packet.is_keyframe:
                return packet if (packet.pts if packet.pts is not None else decoding_time) <= start else None
    except av.error.FFmpegError:
        return None  # damage on the way: an earlier target is tried
    return None
