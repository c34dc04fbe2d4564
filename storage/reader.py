"""Reading the frames of a pts range: seek, decode in presentation order, stop. Exact in every container.

Seeking is never trusted. In MPEG-TS a seek lands on any packet, not on a keyframe, and even a seek to the stream's own
start time lands after its first keyframe: a reader that believes the seek loses frames, without an error. Nor is a
keyframe: in H.264 with periodic intra refresh it is where recovery begins, and the decoder gives nothing until it ends.
So the reader decodes from the first keyframe that comes after a seek, goes on when the first frame that comes out is at
or before the wanted start, and else seeks earlier, doubling the step; at worst it opens the file again and decodes from
the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, dropwhile

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream

from storage.catalogue import Source
from storage.clocks import OutlierFilter
from storage.coded_pictures import ClosedKeyframes, repeats_a_frame
from storage.counted_walk import counted_stamp
from storage.demuxing import demuxed
from storage.errors import ChangedSourceError, SourceError
from storage.h264 import FieldPairs
from storage.late_references import HOLD_A_REFERENCE, MidwayStart, in_order_of_showing
from storage.placing import CountedPlacer, place_stamped
from storage.probe import VideoProbe
from storage.seeking import OpenedSource, anchors_before, keyframes_before
from storage.shards import PtsRange, Shard
from storage.storage_errors import storage_errors_as
from storage.store import Store
from storage.timeline import Anchor, Timeline

_STAY_CONFUSED = frozenset(("libdav1d",))
"""Decoders that may refuse good keyframes behind damage, and take them when they begin there. They hold none back."""

_KEPT_MESSAGES = 3
_MESSAGE_CHARACTERS = 100


@dataclass
class ReadingLosses:
    """What a read could not deliver; filled while the frames are drawn."""

    corrupt_packets: int = 0
    """Packets of the range that the decoder refused."""
    concealed_frames: int = 0
    """Frames of the range in which the decoder had to make up what was damaged."""
    messages: list[str] = field(default_factory=list)
    """What else went wrong, for a person: the first three different lines, of at most 100 characters each."""

    def note(self, message: str) -> None:
        """Keep `message` when there is room and it is new."""
        line = " ".join(message.split())[:_MESSAGE_CHARACTERS]
        if line not in self.messages and len(self.messages) < _KEPT_MESSAGES:
            self.messages.append(line)

    def copy(self) -> ReadingLosses:
        """What was lost up to now, to go back to."""
        return replace(self, messages=[*self.messages])

    def go_back_to(self, before: ReadingLosses) -> None:
        """Forget what was lost since: by an attempt that was given up, whose packets are read again."""
        self.corrupt_packets, self.concealed_frames = before.corrupt_packets, before.concealed_frames
        self.messages[:] = before.messages


def read_frames(
    shard: Shard,
    store: Store,
    *,
    wanted: PtsRange | None = None,
    counted: PtsRange | None = None,
    threads: int = 1,
    losses: ReadingLosses | None = None,
) -> Iterator[VideoFrame]:
    """Decode the frames of `wanted` (the shard's own range unless given), in order of strictly rising pts.

    Args:
        counted: the range whose losses are counted; `wanted` unless given.

    Yields:
        Frames as decoded, pts in the stream's time base, of the probed size and pixel format: a frame of another, in a
        stream that changes midway, is scaled to it.

    Raises:
        SourceError: the source cannot be opened, or is no longer the file that was found and probed.
    """
    wanted = wanted or shard.range
    counted = counted or wanted
    losses = losses if losses is not None else ReadingLosses()
    url = shard.source.url
    refuse_changed(shard.source, store)
    with store.open_media(url) as media, ExitStack() as opened:
        source = OpenedSource(shard, media, opened, threads)
        for frame in _frames_within(_placed_frames(source, wanted, counted, losses), wanted):
            counts = frame.pts is not None and frame.pts in counted
            try:
                conformed = _conformed(frame, shard.probe, losses)
            except av.error.FFmpegError:  # damage made it a picture of a kind that nothing can scale
                losses.corrupt_packets += counts
                continue
            losses.concealed_frames += frame.is_corrupt and counts
            yield conformed
    refuse_changed(shard.source, store)


def _placed_frames(
    source: OpenedSource, wanted: PtsRange, counted: PtsRange, losses: ReadingLosses
) -> Iterator[VideoFrame]:
    """The video's frames at their pts, from one at or before the wanted ones on; all of them when these have no start.

    Losses outside of the counted range are not counted: who reads that range counts them.
    """
    timed = partial(_timed, probe=source.shard.probe, wanted=counted, losses=losses)
    if wanted.start is not None:
        timeline = source.shard.probe.timeline
        if timeline.anchors is None:
            frames = _from_a_seek(source, wanted.start, timed, losses)
        else:
            frames = _from_an_anchor(source, timeline.anchors, wanted.start, timed, losses)
        if frames is not None:
            return frames
    container, stream = source.open()
    return timed(demuxed(container, stream), stream)


def refuse_changed(source: Source, store: Store) -> None:
    """Raise ChangedSourceError when the file is no longer the one that was found, or is gone."""
    url = source.url
    try:
        with storage_errors_as(SourceError, url):
            changed = store.identity(url) != source.identity
    except SourceError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise ChangedSourceError(
                f"{url}: the file is gone since the job began. Put it back, or leave it out"
            ) from error
        raise
    if changed:
        raise ChangedSourceError(f"{url}: the file changed while the job ran. Run the same command again")


def _from_a_seek(
    source: OpenedSource, start: int, timed: Callable[..., Iterator[VideoFrame]], losses: ReadingLosses
) -> Iterator[VideoFrame] | None:
    """Frames of a regular file from one with pts <= `start` on; None when it must be read from its first packet."""
    last = source.shard.probe.timeline.last_pts
    for stream, packets in keyframes_before(source, start):
        known = (packet for packet in packets if last is None or packet.pts is None or packet.pts <= last)
        frames = _if_first(timed(known, stream, midway=True), lambda pts: pts <= start, losses)
        if frames is not None:
            return frames
    return None


def _from_an_anchor(
    source: OpenedSource,
    anchors: Sequence[Anchor],
    start: int,
    timed: Callable[..., Iterator[VideoFrame]],
    losses: ReadingLosses,
) -> Iterator[VideoFrame] | None:
    """Frames from the last anchor at or before `start` that gives its frame; None when there is none."""
    for anchor, stream, packets in anchors_before(source, anchors, start):
        # Frames that are shown before the anchor's lack what they refer to.
        shown = dropwhile(partial(_is_before, anchor), timed(packets, stream, first_packet=anchor.packet, midway=True))
        frames = _if_first(shown, anchor.pts.__eq__, losses)
        if frames is not None:
            return frames
    return None


def _is_before(anchor: Anchor, frame: VideoFrame) -> bool:
    return frame.pts is not None and frame.pts < anchor.pts


def _if_first(
    frames: Iterator[VideoFrame], wanted: Callable[[int], bool], losses: ReadingLosses
) -> Iterator[VideoFrame] | None:
    """The frames when the first one is whole and its pts as wanted; None, and nothing lost, when it is not."""
    before = losses.copy()
    first = next(frames, None)
    if first is not None and not first.is_corrupt and first.pts is not None and wanted(first.pts):
        return chain([first], frames)
    losses.go_back_to(before)
    return None


def _frames_within(frames: Iterable[VideoFrame], wanted: PtsRange) -> Iterator[VideoFrame]:
    for frame in frames:
        pts = frame.pts
        assert pts is not None
        if wanted.end is not None and pts >= wanted.end:
            return
        if pts in wanted:
            yield frame


def _conformed(frame: VideoFrame, probe: VideoProbe, losses: ReadingLosses) -> VideoFrame:
    """The frame itself when it is like the video's first; else scaled to be."""
    if frame.width == probe.width and frame.height == probe.height and frame.format.name == probe.pix_fmt:
        return frame
    losses.note(
        f"it changes to {frame.width}x{frame.height} {frame.format.name}: frames from there on were brought to "
        f"{probe.width}x{probe.height} {probe.pix_fmt}"
    )
    scaled = frame.reformat(probe.width, probe.height, probe.pix_fmt, interpolation=Interpolation.BICUBIC)
    scaled.pts, scaled.time_base, scaled.duration = frame.pts, frame.time_base, frame.duration
    return scaled


def _timed(
    packets: Iterator[Packet],
    stream: VideoStream,
    *,
    probe: VideoProbe,
    wanted: PtsRange,
    losses: ReadingLosses,
    first_packet: int = 0,
    midway: bool = False,
) -> Iterator[VideoFrame]:
    """Frames of `packets` at the pts that the timeline gives them.

    `first_packet` is the number of the first one, and `midway` whether it may not be the file's first.
    """
    timeline = probe.timeline
    if timeline.counted:
        frames = _counted(packets, stream, probe, wanted, losses, first_packet)
    else:
        if timeline.has_outliers:
            packets = OutlierFilter(probe.container, stream).applied(packets)
        if timeline.shifted:
            packets = _shifted(packets, timeline, first_packet, FieldPairs(stream))
        frames = _shown(packets, stream, losses, lambda packet: _count_refused(packet.pts, wanted, losses), midway)
    return place_stamped(frames, probe.frame_ticks)


def _count_refused(pts: int | None, wanted: PtsRange, losses: ReadingLosses) -> None:
    losses.corrupt_packets += pts is None or pts in wanted


def _shifted(packets: Iterator[Packet], timeline: Timeline, first_packet: int, fields: FieldPairs) -> Iterator[Packet]:
    """The packets, the times of each epoch shifted to where it is placed."""
    number = first_packet - 1
    for packet in packets:
        if packet.size and not packet.is_discard:
            number += not fields.is_second(packet)
            if packet.pts is not None:
                packet.pts += timeline.epochs[timeline.epoch_of(number)].shift
        yield packet


def _counted(
    packets: Iterator[Packet],
    stream: VideoStream,
    probe: VideoProbe,
    wanted: PtsRange,
    losses: ReadingLosses,
    first_packet: int,
) -> Iterator[VideoFrame]:
    """Frames placed by counting: each carries its packet's number through the decoder, and takes a stamp by it."""
    placer = CountedPlacer(probe.timeline.reorder, first_packet)
    fields = FieldPairs(stream)
    keyframes = ClosedKeyframes(probe.codec)

    def numbered() -> Iterator[Packet]:
        number = first_packet - 1
        for packet in packets:
            if packet.size:
                if not fields.is_second(packet):
                    number += 1
                    placer.fed(counted_stamp(packet, number, probe.frame_ticks))
                    placer.closed(keyframes.found(packet, number))
                packet.pts = number
            yield packet

    def refused(packet: Packet) -> None:
        _count_refused(placer.lost(packet.pts) if packet.pts is not None else None, wanted, losses)

    for frame in _decoded(numbered(), stream, losses, refused):
        if frame.pts is not None:
            frame.pts = placer.place(frame.pts)
        yield frame


def _shown(
    packets: Iterator[Packet],
    stream: VideoStream,
    losses: ReadingLosses,
    refused: Callable[[Packet], None],
    midway: bool,
) -> Iterator[VideoFrame]:
    """As `_decoded`, in the order of showing."""
    if stream.codec_context.name not in HOLD_A_REFERENCE:
        return _decoded(packets, stream, losses, refused)
    start = MidwayStart()
    frames = in_order_of_showing(_decoded(start.noted(packets), stream, losses, refused))
    return start.whole(frames) if midway else frames


def _decoded(
    packets: Iterator[Packet], stream: VideoStream, losses: ReadingLosses, refused: Callable[[Packet], None]
) -> Iterator[VideoFrame]:
    """Every frame that decodes, to the end of the stream, the decoder's delayed ones included.

    `refused` is told of every packet that the decoder did not take.
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
        if repeats_a_frame(packet):
            continue
        try:
            frames = _frames_of(packet, stream)
        except (av.error.EOFError, av.error.MemoryError):
            raise
        except av.error.FFmpegError:
            refused(packet)
            continue
        yield from frames


def _frames_of(packet: Packet, stream: VideoStream) -> list[VideoFrame]:
    """The packet's frames; of a keyframe that a decoder refuses which stays confused, those of a second attempt."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        if not packet.is_keyframe or stream.codec_context.name not in _STAY_CONFUSED:
            raise
    stream.codec_context.flush_buffers()
    return packet.decode()


def _flushed(stream: VideoStream) -> list[VideoFrame]:
    try:
        return list(stream.decode(None))
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError:
        return []
