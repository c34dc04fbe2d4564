"""Joining a video: its segments' packets, and every other stream of the source packet by packet, in one file.

Nothing is decoded or encoded here. The source is demuxed once: its other streams are copied, and the pts of its video
packets are the truth that the joined frames are held against.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Stream

from storage.containers import ContainerChoice
from storage.errors import MediaError
from storage.probe import VideoProbe, open_container
from storage.segments import decoding_times, in_ticks, segment_timing
from storage.timeline import EpochFinder

_MUXER_OWN_TAGS = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder"))
"""Container tags that a muxer writes for itself; a source's would be untrue of the result."""

_MAX_TIMESCALE = 2**31 - 1


@dataclass
class AssemblyReport:
    """What was joined and how it compares with the source."""

    frames: int
    first_pts: int | None
    last_pts: int | None
    frames_not_decoded: int
    """Video packets of the source that gave no frame of the result."""
    streams_copied: int
    packets_copied: int
    streams_left_out: list[str] = field(default_factory=list)
    """Streams of the source that are not in the result, by index and codec."""
    messages: list[str] = field(default_factory=list)
    """What was wrong with the source while its other streams were copied."""


@dataclass
class _CopiedStream:
    """An output stream that takes the source's packets, with a running hash of what it took."""

    stream: Stream
    packets: int = 0
    hash: Any = field(default_factory=hashlib.sha256)

    def take(self, packet: Packet) -> None:
        self.packets += 1
        self.hash.update(bytes(packet))


def assemble_video(
    source: str | IO[bytes],
    name: str,
    probe: VideoProbe,
    segments: Sequence[Path],
    target: Path,
    choice: ContainerChoice,
) -> AssemblyReport:
    """Write the finished video to `target` and check it by reading it back.

    Args:
        source: the source video, a path or a seekable binary file; `name` is what errors call it.
        segments: in order of time.
        target: a local file, written whole or left incomplete when an error is raised.

    Raises:
        MediaError: the segments do not join, or what was written does not read back as it was put in.
    """
    if not segments:
        raise MediaError(f"{name}: not one frame of its video stream could be decoded")
    timing = _joined_timing(segments, probe)
    with tempfile.TemporaryDirectory(prefix="facemill-") as scratch:
        template_path = _with_rotation(segments[0], probe.rotation, Path(scratch))
        with (
            open_container(source, name=name) as container,
            av.open(str(template_path)) as template,
            av.open(str(target), "w", format=choice.muxer, options=_muxer_options(choice, probe, container)) as out,
        ):
            video, copied, left_out = _add_streams(out, container, template.streams.video[0], probe, choice)
            source_pts, messages = _copy(out, container, video, copied, _joined_packets(segments, timing), probe)
    _check(target, probe, video.index, timing, copied)
    return AssemblyReport(
        frames=len(timing.pts),
        first_pts=int(timing.shown[0]),
        last_pts=int(timing.shown[-1]),
        frames_not_decoded=_not_decoded(np.frombuffer(source_pts, dtype=np.int64), timing.shown, probe),
        streams_copied=len(copied),
        packets_copied=sum(other.packets for other in copied.values()),
        streams_left_out=left_out,
        messages=messages,
    )


def _not_decoded(source_pts: np.ndarray, shown: np.ndarray, probe: VideoProbe) -> int:
    """How many of the source's video packets gave no frame; by number where frames were placed by other than stamps."""
    if probe.timeline.regular:
        return len(source_pts) - int(np.isin(shown, source_pts).sum())
    return max(0, len(source_pts) - len(shown))


@dataclass(frozen=True)
class _JoinedTiming:
    """Timing of all the joined packets, in ticks of the source's time base."""

    pts: np.ndarray
    """(N,) int64, in coding order."""
    dts: np.ndarray
    """(N,) int64, strictly rising, never after the pts."""
    shown: np.ndarray
    """(N,) int64: the pts, sorted."""


def _joined_timing(segments: Sequence[Path], probe: VideoProbe) -> _JoinedTiming:
    """pts as encoded; dts anew for the whole video, so that joints show no gap and no step back."""
    pts = np.array([at for path in segments for at, _ in segment_timing(path, probe.time_base)], dtype=np.int64)
    shown = np.sort(pts)
    if np.any(np.diff(shown) <= 0):
        twice = shown[1:][np.diff(shown) <= 0][0]
        raise MediaError(f"two segments hold a frame with pts {twice}: their ranges overlap. Remove them and run again")
    return _JoinedTiming(pts, decoding_times(pts, probe.frame_ticks), shown)


def _joined_packets(segments: Sequence[Path], timing: _JoinedTiming) -> Iterator[Packet]:
    """The segments' packets in coding order, timed; the caller gives them their stream and time base."""
    position = 0
    configuration: bytes | None = None
    for path in segments:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            extradata = stream.codec_context.extradata or b""
            if configuration is not None and extradata != configuration:
                raise MediaError(
                    f"{path.name} was encoded with another encoder configuration than the segments before it. "
                    "Remove the job's folder under _facemill and run the command again"
                )
            configuration = extradata
            for packet in container.demux(stream):
                if packet.pts is None:
                    continue
                packet.pts, packet.dts = int(timing.pts[position]), int(timing.dts[position])
                position += 1
                yield packet


def _with_rotation(segment: Path, rotation: int, scratch: Path) -> Path:
    """A segment whose track header says how a player must turn the picture; the segment itself when it need not."""
    if rotation == 0:
        return segment
    turned = scratch / "turned.mp4"
    stream = ffmpeg.input(str(segment), **{"display_rotation:v:0": rotation})
    try:
        ffmpeg.output(stream, str(turned), c="copy").overwrite_output().run(
            cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True
        )
    except ffmpeg.Error as error:
        raise MediaError(
            f"{segment.name}: the rotation tag cannot be written ({error.stderr.decode()[-200:]})"
        ) from error
    return turned


def _muxer_options(choice: ContainerChoice, probe: VideoProbe, container: InputContainer) -> dict[str, str]:
    if choice.muxer == "mpegts":
        return {"mpegts_copyts": "1"}
    if choice.muxer not in ("mp4", "mov"):
        return {}
    timescale = probe.time_base.denominator
    movie_timescale = math.lcm(timescale, *(stream.rate for stream in container.streams.audio if stream.rate))
    return {
        "movflags": "+faststart",
        "video_track_timescale": str(timescale),
        # Edit lists, which place the first packet of each track, are counted in the movie timescale.
        "movie_timescale": str(movie_timescale if movie_timescale <= _MAX_TIMESCALE else timescale),
    }


def _add_streams(
    out: OutputContainer, container: InputContainer, template: Stream, probe: VideoProbe, choice: ContainerChoice
) -> tuple[Stream, dict[int, _CopiedStream], list[str]]:
    """Streams of the result in the source's order, with tags, dispositions and chapters."""
    out.metadata.update({key: text for key, text in container.metadata.items() if key.lower() not in _MUXER_OWN_TAGS})
    out.set_chapters(container.chapters())
    held = {other.index for other in probe.other_streams} - {other.index for other in choice.left_out}
    video: Stream | None = None
    copied: dict[int, _CopiedStream] = {}
    left_out = [f"{other.index}:{other.kind}:{other.codec or 'unknown'}" for other in choice.left_out]
    for stream in container.streams:
        if stream.index not in held | {probe.stream_index}:
            continue
        if isinstance(stream, AttachmentStream):
            out.add_attachment(stream.name or f"attachment-{stream.index}", stream.mimetype or "", stream.data)
            continue
        is_video = stream.index == probe.stream_index
        added = out.add_stream_from_template(template if is_video else stream)
        added.metadata.update(stream.metadata)
        added.disposition = stream.disposition
        if is_video:
            added.time_base = probe.time_base
            video = added
        else:
            copied[stream.index] = _CopiedStream(added)
    assert video is not None
    return video, copied, left_out


def _copy(
    out: OutputContainer,
    container: InputContainer,
    video: Stream,
    copied: dict[int, _CopiedStream],
    joined: Iterator[Packet],
    probe: VideoProbe,
) -> tuple[array[int], list[str]]:
    """Mux joined and copied packets in order of dts; return the pts of the source's video packets, and complaints."""
    source_pts: array[int] = array("q")
    messages: list[str] = []
    shifts = _EpochShifts(container, probe)
    waiting = next(joined, None)

    def mux_video_until(time: Fraction | None) -> None:
        nonlocal waiting
        while waiting is not None and (time is None or (waiting.dts or 0) * probe.time_base <= time):
            waiting.time_base = probe.time_base
            waiting.stream = video
            out.mux_one(waiting)
            waiting = next(joined, None)

    for packet in _demuxed(container, messages):
        if packet.size == 0:
            continue
        shifts.apply(packet)
        if packet.stream_index == probe.stream_index:
            if packet.is_discard:
                continue  # left out by an edit list
            if packet.pts is not None or probe.timeline.counted:
                source_pts.append(packet.pts or 0)
            continue
        other = copied.get(packet.stream_index)
        if other is None:
            continue
        if packet.dts is not None and packet.time_base is not None:
            mux_video_until(packet.dts * packet.time_base)
        other.take(packet)
        packet.stream = other.stream
        out.mux_one(packet)
    mux_video_until(None)
    return source_pts, messages


class _EpochShifts:
    """Moves the times of every stream's packets as the timeline moves the video's."""

    def __init__(self, container: InputContainer, probe: VideoProbe) -> None:
        self._epochs, self._time_base = probe.timeline.epochs, probe.time_base
        bases = {each.index: each.time_base for each in container.streams if each.time_base}
        self._finder = EpochFinder(container.format.name, probe.stream_index, bases) if len(self._epochs) > 1 else None

    def apply(self, packet: Packet) -> None:
        if self._finder is None or packet.time_base is None:
            return
        epoch = min(self._finder.epoch_of(packet), len(self._epochs) - 1)
        shift = round(self._epochs[epoch].shift * self._time_base / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift


def _demuxed(container: InputContainer, messages: list[str]) -> Iterator[Packet]:
    """The container's packets up to its end, or up to where it is too damaged to go on."""
    try:
        yield from container.demux()
    except av.error.FFmpegError as error:
        messages.append(f"demuxing stopped early: {error.strerror}")


def _check(
    target: Path, probe: VideoProbe, video_index: int, timing: _JoinedTiming, copied: dict[int, _CopiedStream]
) -> None:
    """Read `target` back: the video's pts to the tick, every copied stream's packets by hash."""
    found_pts: array[int] = array("q")
    expected = {other.stream.index: other for other in copied.values()}
    found = {index: _CopiedStream(other.stream) for index, other in expected.items()}
    with av.open(str(target)) as container:
        for packet in container.demux():
            if packet.size == 0:
                continue
            if packet.stream_index == video_index:
                found_pts.append(in_ticks(packet.pts or 0, packet.time_base, probe.time_base))
            elif packet.stream_index in found:
                found[packet.stream_index].take(packet)
    if not np.array_equal(np.sort(np.frombuffer(found_pts, dtype=np.int64)), timing.shown):
        raise MediaError(f"{target.name}: the joined file does not carry the pts that were written to it")
    for index, other in expected.items():
        if found[index].packets != other.packets or found[index].hash.digest() != other.hash.digest():
            raise MediaError(
                f"{target.name}: stream {index} reads back as {found[index].packets} packets that differ from the "
                f"{other.packets} copied from the source"
            )
