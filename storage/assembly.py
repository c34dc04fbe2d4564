"""Joining a video: its segments' packets, and every other stream of the source packet by packet, in one file.

Nothing is encoded here. The source is demuxed once: its other streams are copied and entered in an index. The joined
file is then read back, decoded from start to end and compared with that index (`storage.verification`).
"""

from __future__ import annotations

import io
import math
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, DataStream, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.checks import Check, Side, Terms
from storage.clocks import PacketPlacer
from storage.containers import ContainerChoice, demuxer_of
from storage.demuxing import demuxed
from storage.errors import MediaError
from storage.media_index import NO_TIME, FrameIndex, MediaIndexer, PacketLog, StreamIndex, index_media, packet_digest
from storage.mp4_tags import picture_boxes, with_boxes
from storage.payload import payload_reader
from storage.picture_tags import BOTTOM_FIELD_FIRST, TOP_FIELD_FIRST
from storage.probe import TIME_CODE, VideoProbe, codec_name, open_container, probe_video
from storage.programs import program_of, program_options, program_tags
from storage.segments import in_ticks, leading_times, reordering_depth, segment_timing
from storage.store import Store
from storage.stream_checks import MUXER_TAGS
from storage.temporary import temporary_folder
from storage.verification import compare
from storage.words import counted

_DECODING_THREADS = min(4, os.cpu_count() or 1)
"""Of the last check. More would hold more frames at once than they save time."""

_MAX_TIMESCALE = 2**31 - 1

_TAGS_OF_CODING = frozenset(
    "encoder ENCODER BPS NUMBER_OF_BYTES _STATISTICS_WRITING_APP _STATISTICS_WRITING_DATE_UTC _STATISTICS_TAGS".split()
)
"""Tags of a video stream, without Matroska's language suffix, that speak of how it was coded."""

_CODES_IN_MP4 = {"hevc": ("hvc1", "hev1"), "prores": ("apco", "apcs", "apcn", "apch", "ap4h", "ap4x")}
"""Codecs that MP4 and MOV have several codes for. FFmpeg's muxer would write one of them whatever the template's is:
HEVC as hev1, which QuickTime and Safari do not play, ProRes as if it were of another quality."""


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
    verified: list[str] = field(default_factory=list)
    """What was compared with the source and is equal."""
    allowed: list[str] = field(default_factory=list)
    """What differs because the result's container cannot hold it."""


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
    with temporary_folder() as scratch:
        template_path = _tagged(segments[0], probe, scratch)
        with (
            open_container(source, name=name) as container,
            av.open(str(template_path)) as template,
            av.open(str(target), "w", format=choice.muxer, options=_muxer_options(choice, probe, container)) as out,
        ):
            video, copied, left_out = _add_streams(out, container, template.streams.video[0], probe, choice)
            bare = container.format.name != demuxer_of(choice.muxer)
            indexer = MediaIndexer(container, name, video=probe.stream_index, bare=bare)
            messages = _copy(out, container, video, copied, joined, indexer, probe, choice)
    checks = _verify(target, Side(indexer.index, probe), joined, choice, bare=bare, same_shape=same_shape)
    left_out_indices = {other.index for other in choice.left_out}
    others = [stream for stream in indexer.index.others if stream.index not in left_out_indices]
    return AssemblyReport(
        frames=len(timing.shown),
        first_pts=int(timing.shown[0]),
        last_pts=int(timing.shown[-1]),
        frames_not_decoded=_not_decoded(indexer.index.picture, timing.shown, probe),
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

    shown: np.ndarray
    """(N,) int64: every pts, in the order of showing."""
    depth: int
    """Packets that are decoded before the first frame is shown: the deepest reordering of any segment."""
    lead: np.ndarray
    """(depth,) int64: their dts."""

    def dts(self, position: int) -> int:
        """Of a packet, by its place in coding order: strictly rising, never after its pts, without a step at joints."""
        return int(self.lead[position] if position < self.depth else self.shown[position - self.depth])


def _joined_timing(segments: Sequence[Path], probe: VideoProbe) -> _JoinedTiming:
    """The segments' timing, read one after another: only the pts of each frame is kept, 8 bytes.

    Raises:
        MediaError: two segments overlap in time.
    """
    shown: array[int] = array("q")
    depth = 0
    for path in segments:
        coded = [at for at, _ in segment_timing(path, probe.time_base)]
        here = sorted(coded)
        depth = max(depth, reordering_depth(coded))
        for pts in here:
            if shown and pts <= shown[-1]:
                raise MediaError(
                    f"two segments hold a frame with pts {pts}: their ranges overlap. Remove them and run again"
                )
            shown.append(pts)
    everything = np.frombuffer(shown, dtype=np.int64)
    return _JoinedTiming(everything, depth, leading_times(int(everything[0]), depth, probe.frame_ticks))


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


def _tagged(segment: Path, probe: VideoProbe, scratch: Path) -> Path:
    """A segment that says of its picture what a container can say; the segment itself when that is nothing."""
    with av.open(str(segment)) as container:
        stream = container.streams.video[0]
        size = (stream.width, stream.height)
    across, down = Fraction(size[0], probe.width), Fraction(size[1], probe.height)
    return with_boxes(segment, picture_boxes(probe.tags.scaled(across, down), size), scratch / "tagged.mp4")


def _muxer_options(choice: ContainerChoice, probe: VideoProbe, container: InputContainer) -> dict[str, str]:
    if choice.muxer == "mpegts":
        return {"mpegts_copyts": "1", **program_options(program_of(container, probe.stream_index))}
    if choice.muxer not in ("mp4", "mov"):
        # Sound may begin before 0, with what its decoder drops: nothing moves. Matroska's UIDs are numbers instead of
        # random, so that the same segments make the same file in every run.
        return {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}
    timescale = probe.time_base.denominator
    sounds = [stream.codec_context for stream in container.streams.audio if stream.codec_context is not None]
    movie_timescale = math.lcm(timescale, *(sound.sample_rate for sound in sounds if sound.sample_rate))
    return {
        "movflags": "+faststart+use_metadata_tags" if _asks_for_free_keys(choice, container) else "+faststart",
        "write_tmcd": "1" if any(other.codec == TIME_CODE for other in probe.other_streams) else "0",
        "strict": "unofficial",  # st3d and sv3d, which every player of such videos knows, are no standard
        "video_track_timescale": str(timescale),
        # Edit lists, which place the first packet of each track, are counted in the movie timescale.
        "movie_timescale": str(movie_timescale if movie_timescale <= _MAX_TIMESCALE else timescale),
    }


def _asks_for_free_keys(choice: ContainerChoice, container: InputContainer) -> bool:
    """Whether some of the source's tags have no place in MP4's usual list: then all go into one with keys of any name.

    Told by writing them, and a frame, to memory.
    """
    wanted = {key: text for key, text in container.metadata.items() if key.lower() not in MUXER_TAGS}
    content = io.BytesIO()
    with av.open(content, "w", format=choice.muxer) as out:
        out.metadata.update(wanted)
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        frame = VideoFrame(16, 16)
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux_one(packet)
    content.seek(0)
    with av.open(content, metadata_errors="replace") as written:
        return any(written.metadata.get(key) != text for key, text in wanted.items())


def _add_streams(
    out: OutputContainer, container: InputContainer, template: Stream, probe: VideoProbe, choice: ContainerChoice
) -> tuple[Stream, dict[int, Stream], list[str]]:
    """Streams of the result in the source's order, with tags, dispositions and chapters."""
    out.metadata.update({key: text for key, text in container.metadata.items() if key.lower() not in MUXER_TAGS})
    if choice.muxer == "mpegts":
        out.metadata.update(program_tags(program_of(container, probe.stream_index)))
    out.set_chapters(container.chapters())
    held = {other.index for other in probe.other_streams} - {other.index for other in choice.left_out}
    video: Stream | None = None
    copied: dict[int, Stream] = {}
    left_out = [f"{other.index}:{other.kind}:{other.codec or 'unknown'}" for other in choice.left_out]
    for stream in container.streams:
        if stream.index not in held | {probe.stream_index}:
            continue
        if isinstance(stream, AttachmentStream):
            out.add_attachment(stream.name or f"attachment-{stream.index}", stream.mimetype or "", stream.data)
            continue
        if isinstance(stream, DataStream) and codec_name(stream) == TIME_CODE:
            continue  # the muxer makes it from the picture's tag; copied, it would lack the rate of the picture
        is_video = stream.index == probe.stream_index
        origin = template if is_video else stream
        added = out.add_stream_from_template(origin)
        if choice.muxer in ("mp4", "mov"):
            _keep_code(added, origin)
        added.metadata.update(_stream_tags(stream, container))
        added.disposition = stream.disposition
        if is_video:
            assert isinstance(added, VideoStream)
            assert isinstance(stream, VideoStream)
            _tag_picture(added, stream, probe)
            video = added
        else:
            copied[stream.index] = added
    assert video is not None
    return video, copied, left_out


def _stream_tags(stream: Stream, container: InputContainer) -> dict[str, str]:
    """What a stream says of itself. FFmpeg reads an MP4 track's title as `name`, and writes it from `title` alone."""
    tags = dict(stream.metadata)
    if container.format.name == demuxer_of("mp4") and "name" in tags:
        tags.setdefault("title", tags["name"])
    return tags


def _keep_code(added: Stream, origin: Stream) -> None:
    """Give a stream of MP4 or MOV the code of the one that it is a copy of, where its codec has several."""
    code = origin.codec_context.codec_tag if origin.codec_context is not None else ""
    if code in _CODES_IN_MP4.get(codec_name(origin), ()):
        added.codec_context.codec_tag = code


def _tag_picture(added: VideoStream, source: VideoStream, probe: VideoProbe) -> None:
    """What a stream of the result says of its picture outside of its codec's own headers."""
    added.time_base = probe.time_base
    if "timecode" in source.metadata and source.average_rate:
        added.codec_context.framerate = source.average_rate  # which the time code counts in
    if probe.tags.display_matrix:
        added.set_display_matrix(probe.tags.display_matrix)
    if probe.tags.interlaced:
        order = TOP_FIELD_FIRST if probe.tags.field_order == "top first" else BOTTOM_FIELD_FIRST
        added.codec_context.field_order = source.codec_context.field_order or order
    for key in source.metadata:
        if key.split("-")[0] in _TAGS_OF_CODING:
            del added.metadata[key]


def _copy(
    out: OutputContainer,
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


def _mux(out: OutputContainer, packet: Packet, name: str) -> None:
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


def _not_decoded(picture: StreamIndex, shown: np.ndarray, probe: VideoProbe) -> int:
    """How many of the source's video packets gave no frame; by number where frames were placed by other than stamps."""
    if not probe.timeline.regular:
        return max(0, len(picture.packets) - len(shown))
    stamps = (rows["pts"][rows["pts"] != NO_TIME] for rows in picture.packets.chunks())
    return sum(len(pts) - int(np.isin(pts, shown).sum()) for pts in stamps)
