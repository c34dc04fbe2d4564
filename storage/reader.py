"""Reading the frames of a pts range: seek, decode in presentation order, stop. Exact in every container.

Seeking is never trusted. In MPEG-TS a seek lands on any packet, not on a keyframe, and even a seek to the stream's own
start time lands after its first keyframe: a reader that believes the seek loses frames, without an error. Nor is a
keyframe: in H.264 with periodic intra refresh it is where recovery begins, and the decoder gives nothing until it ends.
So the reader decodes from the first keyframe that comes after a seek, goes on when the first frame that comes out is at
or before the wanted start, and else seeks earlier, doubling the step; at worst it opens the file again and decodes from
the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import chain

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.errors import SourceError
from storage.probe import open_container
from storage.shards import PtsRange, Shard
from storage.store import Store, storage_errors_as

_FIRST_SEEK_STEP_SECONDS = 1
_KEPT_MESSAGES = 3
_MESSAGE_CHARACTERS = 100


@dataclass
class ReadingLosses:
    """What a read could not deliver; filled while the frames are drawn."""

    corrupt_packets: int = 0
    """Packets the decoder refused."""
    out_of_order_frames: int = 0
    """Frames whose pts was missing or not after the frame before; they have no place in time and are left out."""
    messages: list[str] = field(default_factory=list)
    """What else went wrong, for a person: the first three different lines, of at most 100 characters each."""

    def note(self, message: str) -> None:
        """Keep `message` when there is room and it is new."""
        line = " ".join(message.split())[:_MESSAGE_CHARACTERS]
        if line not in self.messages and len(self.messages) < _KEPT_MESSAGES:
            self.messages.append(line)

    def _copy(self) -> ReadingLosses:
        return replace(self, messages=[*self.messages])

    def _go_back_to(self, before: ReadingLosses) -> None:
        self.corrupt_packets, self.out_of_order_frames = before.corrupt_packets, before.out_of_order_frames
        self.messages[:] = before.messages


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
        SourceError: the source cannot be opened, or is no longer the file that was found and probed.
    """
    wanted = wanted or shard.range
    losses = losses if losses is not None else ReadingLosses()
    url = shard.source.url
    _refuse_changed(shard, store)
    with store.open_media(url) as media:
        if wanted.start is not None:
            with open_container(media, name=url) as container:
                stream = _probed_stream(container, shard, threads)
                frames = _frames_from_before(container, stream, wanted.start, losses)
                if frames is not None:
                    yield from _frames_within(frames, wanted, losses)
                    return
            if not isinstance(media, str):
                media.seek(0)
        with open_container(media, name=url) as container:
            stream = _probed_stream(container, shard, threads)
            decoded = _in_display_order if _timed_in_coding_order(container, stream) else _decoded
            yield from _frames_within(decoded(container.demux(stream), stream, losses), wanted, losses)


def _refuse_changed(shard: Shard, store: Store) -> None:
    url = shard.source.url
    with storage_errors_as(SourceError, url):
        changed = store.identity(url) != shard.source.identity
    if changed:
        raise SourceError(f"{url}: the file changed while the job ran. Run the same command again")


def _probed_stream(container: InputContainer, shard: Shard, threads: int) -> VideoStream:
    index = shard.probe.stream_index
    stream = container.streams[index] if index < len(container.streams) else None
    if not isinstance(stream, VideoStream) or stream.time_base != shard.probe.time_base:
        raise SourceError(
            f"{shard.source.url}: stream {index} is not the video that was probed. "
            "The file changed while the job ran: run the same command again"
        )
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = threads
    return stream


def _timed_in_coding_order(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the packets' timestamps count packets in the order of coding: AVI has no others.

    Which frame a timestamp belongs to then follows from all the frames before it, so such a stream is read from its
    beginning, always.
    """
    return container.format.name == "avi" and stream.codec_context.has_b_frames > 0


def _frames_from_before(
    container: InputContainer, stream: VideoStream, start: int, losses: ReadingLosses
) -> Iterator[VideoFrame] | None:
    """The stream's frames from one with pts <= `start` on; None when the stream must be read from its first packet."""
    if _timed_in_coding_order(container, stream):
        return None
    assert stream.time_base is not None
    step = max(1, int(_FIRST_SEEK_STEP_SECONDS / stream.time_base))
    begin = stream.start_time or 0
    target = start
    while target > begin:
        if _seek(container, stream, target):
            frames = _decoded_from_before(container, stream, start, losses)
            if frames is not None:
                return frames
        target = start - step
        step *= 2
    return None


def _decoded_from_before(
    container: InputContainer, stream: VideoStream, start: int, losses: ReadingLosses
) -> Iterator[VideoFrame] | None:
    """Frames from where the demuxer stands on; None, and nothing lost, when the first has pts > `start`."""
    before = losses._copy()
    packets = container.demux(stream)
    keyframe = _keyframe_at_or_before(packets, start)
    if keyframe is None:
        return None
    frames = _decoded(chain([keyframe], packets), stream, losses)
    first = next(frames, None)
    if first is not None and first.pts is not None and first.pts <= start:
        return chain([first], frames)
    losses._go_back_to(before)
    stream.codec_context.flush_buffers()
    return None


def _seek(container: InputContainer, stream: VideoStream, pts: int) -> bool:
    try:
        container.seek(pts, stream=stream, backward=True)
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


def _frames_within(frames: Iterable[VideoFrame], wanted: PtsRange, losses: ReadingLosses) -> Iterator[VideoFrame]:
    last_pts: int | None = None
    for frame in frames:
        pts = frame.pts
        if pts is None or (last_pts is not None and pts <= last_pts):
            losses.out_of_order_frames += 1
            continue
        last_pts = pts
        if wanted.end is not None and pts >= wanted.end:
            return
        if pts in wanted:
            yield frame


def _decoded(
    packets: Iterator[Packet], stream: VideoStream, losses: ReadingLosses, fed: list[int] | None = None
) -> Iterator[VideoFrame]:
    """Every frame that decodes, to the end of the stream, the decoder's delayed ones included.

    `fed` takes the timestamp of every packet that the decoder accepted.
    """
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            losses.note(f"demuxing stopped early: {error.strerror}")
            yield from _flushed(stream)
            return
        pts = packet.pts
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            losses.corrupt_packets += 1
            continue
        if fed is not None and pts is not None:
            heappush(fed, pts)
        yield from frames


def _in_display_order(packets: Iterator[Packet], stream: VideoStream, losses: ReadingLosses) -> Iterator[VideoFrame]:
    """`_decoded` for timestamps in coding order: each frame takes the lowest that is still free."""
    fed: list[int] = []
    for frame in _decoded(packets, stream, losses, fed):
        frame.pts = heappop(fed) if fed else None
        yield frame


def _flushed(stream: VideoStream) -> list[VideoFrame]:
    try:
        return list(stream.decode(None))
    except (av.error.EOFError, av.error.InvalidDataError):
        return []
