"""Joining a video: its segments' packets, and every other stream of the source packet by packet, in one file.

Nothing is encoded here. The source is demuxed once: its other streams are copied and entered in an index. The joined
file is then read back, decoded from start to end and compared with that index (`storage.verification`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from storage.checks import Check, Side, Terms
from storage.clocks import PacketPlacer
from storage.containers import ContainerChoice, demuxer_of
from storage.demuxing import demuxed
from storage.errors import MediaError
from storage.media_index import FrameIndex, MediaIndexer, StreamIndex, index_media, packet_digest
from storage.opening import open_container
from storage.packet_log import NO_TIME, PacketLog
from storage.payload import payload_reader
from storage.probe import VideoProbe, probe_video
from storage.result_file import PacketWriter, opened_result
from storage.result_streams import add_streams, tagged_template
from storage.segments import in_ticks, leading_times, reordering_depth, segment_timing
from storage.store import Store
from storage.temporary import temporary_folder
from storage.tick_list import TickList
from storage.verification import compare
from storage.words import counted

_DECODING_THREADS = min(4, os.cpu_count() or 1)
"""Of the last check. More would hold more frames at once than they save time."""


@dataclass
class AssemblyReport:
    """What was joined and how it compares with the source."""

    shown: TickList = field(repr=False)
    """Every pts of the result, in ticks of the source."""
    frames_not_decoded: int
    """Video packets of the source that gave no frame of the result."""
    frames_unpacked: int
    """Frames of the result that no video packet of the source is stamped with, when it is read in one go."""
    streams_copied: int
    packets_copied: int
    streams_left_out: list[str] = field(default_factory=list)
    """Streams of the source that are not in the result, by index and codec."""
    messages: list[str] = field(default_factory=list)
    """What was wrong with the source while its other streams were copied."""
    verified: list[str] = field(default_factory=list)
    """What was compared with the source and is equal."""
    allowed: list[str] = field(default_factory=list)
    """What differs because the result's container cannot hold it."""

    @property
    def frames(self) -> int:
        """How many the result has."""
        return len(self.shown)


def assemble_video(
    source: str | IO[bytes],
    name: str,
    probe: VideoProbe,
    segments: Sequence[Path],
    target: Path,
    choice: ContainerChoice,
    *,
    same_shape: bool = True,
) -> AssemblyReport:
    """Write the finished video to `target` and verify it against the source by reading it back.

    Args:
        source: the source video, a path or a seekable binary file; `name` is what errors call it.
        segments: in order of time.
        target: a local file, written whole or left incomplete when an error is raised.
        same_shape: whether the segments show the source's picture, not a comparison.

    Raises:
        MediaError: the segments do not join, or what was written does not read back as it was put in.
    """
    if not segments:
        raise MediaError(f"{name}: not one frame of its video stream could be decoded")
    timing = _joined_timing(segments, probe)
    joined = _JoinedPackets(segments, probe, timing)
    with temporary_folder(alone=False) as scratch:  # the result is written to where it belongs
        template_path = tagged_template(segments[0], probe, scratch)
        with (
            open_container(source, name=name) as container,
            av.open(str(template_path)) as template,
            opened_result(target, choice, probe, container, len(timing.shown), scratch) as (out, writer),
        ):
            video, copied, left_out = add_streams(out, container, template.streams.video[0], probe, choice)
            bare = container.format.name != demuxer_of(choice.muxer)
            indexer = MediaIndexer(container, name, video=probe.stream_index, bare=bare)
            messages = _copy(writer, container, video, copied, joined, indexer, probe, choice)
    checks = _verify(target, Side(indexer.index, probe), joined, choice, bare=bare, same_shape=same_shape)
    not_decoded, unpacked = _unmatched(indexer.index.picture, timing.shown, probe)
    left_out_indices = {other.index for other in choice.left_out}
    others = [stream for stream in indexer.index.others if stream.index not in left_out_indices]
    return AssemblyReport(
        shown=timing.shown,
        frames_not_decoded=not_decoded,
        frames_unpacked=unpacked,
        streams_copied=len(others),
        packets_copied=sum(len(stream.packets) for stream in others),
        streams_left_out=left_out,
        messages=messages,
        verified=[str(check) for check in checks if check.state == "equal"],
        allowed=[str(check) for check in checks if check.state in ("allowed", "loss")],
    )


@dataclass(frozen=True)
class _JoinedTiming:
    """Timing of all the joined frames, in ticks of the source's time base."""

    shown: TickList
    """Every pts, in the order of showing."""
    depth: int
    """Packets that are decoded before the first frame is shown: the deepest reordering of any segment."""
    lead: np.ndarray
    """(depth,) int64: their dts."""

    def dts(self, position: int) -> int:
        """Of a packet, by its place in coding order: strictly rising, never after its pts, without a step at joints."""
        return int(self.lead[position]) if position < self.depth else self.shown[position - self.depth]


def _joined_timing(segments: Sequence[Path], probe: VideoProbe) -> _JoinedTiming:
    """The segments' timing, read one after another: only the pts of each frame is kept.

    Raises:
        MediaError: two segments overlap in time.
    """
    shown = TickList()
    depth = 0
    for path in segments:
        coded = [at for at, _ in segment_timing(path, probe.time_base)]
        here = sorted(coded)
        depth = max(depth, reordering_depth(coded))
        for pts in here:
            if len(shown) and pts <= shown[-1]:
                raise MediaError(
                    f"two segments hold a frame with pts {pts}: their ranges overlap. Remove them and run again"
                )
            shown.append(pts)
    return _JoinedTiming(shown, depth, leading_times(shown[0], depth, probe.frame_ticks))


class _JoinedPackets:
    """The segments' packets in coding order, timed; the caller gives them their stream and time base."""

    def __init__(self, segments: Sequence[Path], probe: VideoProbe, timing: _JoinedTiming) -> None:
        self._segments, self.time_base, self.timing = segments, probe.time_base, timing
        self.log = PacketLog()
        """Of the packets that were drawn."""

    def __iter__(self) -> Iterator[Packet]:
        position = 0
        configuration: bytes | None = None
        for path in self._segments:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                extradata = stream.codec_context.extradata or b""
                if configuration is not None and extradata != configuration:
                    raise MediaError(
                        f"{path.name} was encoded with another encoder configuration than the segments before it. "
                        "Remove the job's folder under _facemill and run the command again"
                    )
                configuration = extradata
                payload = payload_reader(stream, bare=True)  # as `MediaIndexer` reads them back
                for packet in demuxed(container, stream):
                    if packet.pts is None:
                        continue
                    digest = packet_digest(packet, payload(packet))
                    packet.pts = in_ticks(packet.pts, packet.time_base, self.time_base)
                    packet.dts = self.timing.dts(position)
                    position += 1
                    self.log.add(packet.pts, packet.dts, packet.duration, digest)
                    yield packet


def _copy(
    out: PacketWriter,
    container: InputContainer,
    video: Stream,
    copied: dict[int, Stream],
    joined: _JoinedPackets,
    indexer: MediaIndexer,
    probe: VideoProbe,
    choice: ContainerChoice,
) -> list[str]:
    """Mux joined and copied packets in order of dts, and enter the source's in its index; returns complaints.

    The index has the packets' times as they were placed: what the result must show.
    """
    messages: list[str] = []
    left_out = {other.index for other in choice.left_out} | {probe.stream_index}
    placer = PacketPlacer(container, probe.timeline, probe.stream_index, choice.muxer)
    time_base = probe.time_base
    packets = iter(joined)
    waiting = next(packets, None)

    def mux_video_until(time: Fraction | None) -> None:
        nonlocal waiting
        while waiting is not None and (time is None or (waiting.dts or 0) * time_base <= time):
            waiting.time_base = time_base
            waiting.stream = video
            _mux(out, waiting, f"{indexer.index.name}: the picture")
            waiting = next(packets, None)

    for packet in placer.placed(_demuxed(container, messages)):
        if packet.size == 0:
            continue
        source_index = packet.stream_index
        target = copied.get(source_index)
        indexer.take(packet, hashed=source_index not in left_out)
        if target is None:
            continue
        if packet.dts is not None and packet.time_base is not None:
            mux_video_until(packet.dts * packet.time_base)
        packet.stream = target
        _mux(out, packet, f"{indexer.index.name}: stream {source_index} ({target.type})")
    mux_video_until(None)
    indexer.take_late_streams(container)
    for index, pushed in placer.pushed.items():
        if index in copied:
            messages.append(
                f"stream {index} ({copied[index].type}): the time of {counted(pushed, 'packet')} was before that of "
                "the one before: moved behind it"
            )
    return messages


def _mux(out: PacketWriter, packet: Packet, name: str) -> None:
    """Write a packet of the stream that is called `name`.

    Raises:
        MediaError: the container does not take it.
    """
    try:
        out.mux_one(packet)
    except OSError:
        raise  # a full disk, which says so itself
    except av.error.FFmpegError as error:
        at = f"pts {packet.pts}, dts {packet.dts}, {packet.size} bytes"
        raise MediaError(
            f"{name}: the result's container does not take the packet of {at}: {error.strerror}"
        ) from error


def _demuxed(container: InputContainer, messages: list[str]) -> Iterator[Packet]:
    """The container's packets up to its end, or up to where it is too damaged to go on."""
    try:
        yield from demuxed(container)
    except av.error.FFmpegError as error:
        messages.append(f"demuxing stopped early: {error.strerror}")


def _verify(
    target: Path, source: Side, joined: _JoinedPackets, choice: ContainerChoice, *, bare: bool, same_shape: bool
) -> list[Check]:
    """Read `target` back, decode it from start to end, and compare it with what must be in it.

    Raises:
        MediaError: something is missing, moved or damaged.
    """
    result = Side(
        index_media(str(target), target.name, bare=bare, threads=_DECODING_THREADS),
        probe_video(str(target), Store()),
    )
    terms = Terms(left_out=frozenset(other.index for other in choice.left_out), same_shape=same_shape)
    expected = FrameIndex(joined.timing.shown, joined.time_base)
    checks = compare(source, expected, result, terms, encoded=joined.log)
    faults = [check for check in checks if check.state == "fault"]
    if faults:
        more = f" ({len(faults) - 1} more differences)" if len(faults) > 1 else ""
        raise MediaError(
            f"{source.index.name}: the joined file does not hold what its source does, and was not kept: "
            f"{faults[0]}{more}"
        )
    return checks


def _unmatched(picture: StreamIndex, shown: TickList, probe: VideoProbe) -> tuple[int, int]:
    """How many of the source's video packets gave no frame, and how many frames have no packet.

    Where frames were placed by other than stamps, it follows from the numbers, and only the first is known.
    """
    if not probe.timeline.regular:
        return max(0, len(picture.packets) - len(shown)), 0
    matched = unmatched = 0
    for rows in picture.packets.chunks():
        found = shown.contain(rows["pts"][rows["pts"] != NO_TIME])
        matched, unmatched = matched + int(found.sum()), unmatched + int((~found).sum())
    return unmatched, max(0, len(shown) - matched)
