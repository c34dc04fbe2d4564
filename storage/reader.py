"""Reading the frames of a pts range: seek, decode in presentation order, stop. Exact in every container.

Seeking is never trusted. In MPEG-TS a seek to a keyframe's own pts can land after it, the same seek can land elsewhere
when it is repeated, and a reader that believes the seek loses frames without an error. So the reader looks at the first
packet that a seek gives, goes on from that very packet, and seeks earlier, doubling the step, until it is a keyframe at
or before the wanted start; at worst it decodes from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.errors import SourceError
from storage.probe import open_container
from storage.shards import PtsRange, Shard
from storage.store import Store

_FIRST_SEEK_STEP_SECONDS = 1


@dataclass
class ReadingLosses:
    """What a read could not deliver; filled while the frames are drawn."""

    corrupt_packets: int = 0
    """Packets the decoder refused."""
    out_of_order_frames: int = 0
    """Frames whose pts was missing or not after the frame before; they have no place in time and are left out."""
    messages: list[str] = field(default_factory=list)


def read_frames(
    shard: Shard,
    store: Store,
    *,
    wanted: PtsRange | None = None,
    threads: int = 1,
    losses: ReadingLosses | None = None,
) -> Iterator[VideoFrame]:
    """Decode the frames of `wanted` (the shard's own range unless given), in order of strictly rising pts.

    Yields:
        Frames as decoded: size, pixel format and pts of the source, in the stream's time base.

    Raises:
        SourceError: the source cannot be opened, or is not the stream that was probed.
    """
    wanted = wanted or shard.range
    losses = losses if losses is not None else ReadingLosses()
    url = shard.source.url
    with store.open_media(url) as media, open_container(media, name=url) as container:
        stream = _probed_stream(container, shard)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        if _timed_in_coding_order(container, stream):
            frames = _in_rising_order(_decoded(container.demux(stream), stream, losses))
        elif wanted.start is None:
            frames = _decoded(container.demux(stream), stream, losses)
        else:
            frames = _decoded(_packets_from_keyframe_before(container, stream, wanted.start), stream, losses)
        yield from _frames_within(frames, wanted, losses)


def _probed_stream(container: InputContainer, shard: Shard) -> VideoStream:
    index = shard.probe.stream_index
    stream = container.streams[index] if index < len(container.streams) else None
    if not isinstance(stream, VideoStream) or stream.time_base != shard.probe.time_base:
        raise SourceError(
            f"{shard.source.url}: stream {index} is not the video that was probed. "
            "The file changed while the job ran: run the same command again"
        )
    return stream


def _seek_to_keyframe_before(container: InputContainer, stream: VideoStream, start: int) -> None:
    """Position `container` so that the next video packet is a keyframe with pts <= `start`, or the very first."""
    assert stream.time_base is not None
    step = max(1, int(_FIRST_SEEK_STEP_SECONDS / stream.time_base))
    begin = stream.start_time or 0
    target = start
    while target > begin:
        if _seek(container, stream, target) and _keyframe_is_at_or_before(container, stream, start):
            _seek(container, stream, target)
            return
        target = start - step
        step *= 2
    _rewind(container, stream)


def _seek(container: InputContainer, stream: VideoStream, pts: int) -> bool:
    try:
        container.seek(pts, stream=stream, backward=True)
    except av.error.FFmpegError:
        return False  # this demuxer cannot seek there: an earlier target is tried, at last the beginning
    return True


def _rewind(container: InputContainer, stream: VideoStream) -> None:
    if not _seek(container, stream, stream.start_time or 0):
        container.seek(0, backward=True, any_frame=True, unsupported_byte_offset=True)


def _keyframe_is_at_or_before(container: InputContainer, stream: VideoStream, start: int) -> bool:
    for packet in container.demux(stream):
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None:
            return False
        return packet.is_keyframe and pts <= start
    return False


def _frames_within(
    container: InputContainer, stream: VideoStream, wanted: PtsRange, losses: ReadingLosses
) -> Iterator[VideoFrame]:
    last_pts: int | None = None
    for frame in _decoded(container, stream, losses):
        pts = frame.pts
        if pts is None or (last_pts is not None and pts <= last_pts):
            losses.out_of_order_frames += 1
            continue
        last_pts = pts
        if wanted.end is not None and pts >= wanted.end:
            return
        if pts in wanted:
            yield frame


def _decoded(container: InputContainer, stream: VideoStream, losses: ReadingLosses) -> Iterator[VideoFrame]:
    """Every frame that decodes, to the end of the stream, the decoder's delayed ones included."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            losses.messages.append(f"demuxing stopped early: {error.strerror}")
            yield from _flushed(stream)
            return
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            losses.corrupt_packets += 1


def _flushed(stream: VideoStream) -> list[VideoFrame]:
    try:
        return list(stream.decode(None))
    except (av.error.EOFError, av.error.InvalidDataError):
        return []
