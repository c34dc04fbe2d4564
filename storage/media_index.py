"""The index of a media file: what its header says, and of every packet its times and a hash.

An index stands for the file in a comparison. Its size on disk is 32 bytes a packet, in temporary files; in memory it is
bounded, whatever the length of the video. Only the pts of the decoded frames are held, as `TickList` holds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO

import av
from av.container import InputContainer
from av.packet import Packet, PktSideDataT
from av.stream import AttachmentStream, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.clocks import PacketPlacer
from storage.coded_pictures import repeats_a_frame
from storage.demuxing import demuxed
from storage.descriptions import late_streams
from storage.h264 import FieldPairs
from storage.opening import open_container
from storage.packet_log import PacketLog
from storage.payload import payload_reader
from storage.probe import TIME_CODE, codec_name, is_chapter_track, main_video_stream
from storage.programs import Program, programs
from storage.tick_list import TickList
from storage.timeline import Timeline

_SIDE_DATA_THAT_IS_CONTENT: tuple[PktSideDataT, ...] = (
    "palette",
    "webvtt_identifier",
    "webvtt_settings",
    "matroska_block_additional",
    "subtitle_position",
    "a53_cc",
)


@dataclass
class StreamIndex:
    """One stream: what its header says, and its packets."""

    index: int
    kind: str
    """`video`, `audio`, `subtitle` or `data`."""
    codec: str
    time_base: Fraction
    metadata: Mapping[str, str]
    disposition: int
    """FFmpeg's flags."""
    packets: PacketLog = field(default_factory=PacketLog)
    skipped_samples: list[int] = field(default_factory=lambda: [0, 0])
    """Samples that a player leaves out at the start and at the end: the encoder's delay and padding."""

    @property
    def name(self) -> str:
        """Such as `stream 1 (audio, aac)`."""
        return f"stream {self.index} ({self.kind}, {self.codec or 'unknown'})"


@dataclass(frozen=True)
class Chapter:
    """A named stretch of time."""

    start: Fraction
    """Seconds."""
    end: Fraction
    time_base: Fraction
    """Seconds a tick of the container's clock for chapters."""
    title: str


@dataclass(frozen=True)
class Attachment:
    """A file inside the file, such as a font."""

    name: str
    mimetype: str
    sha256: str


@dataclass
class FrameIndex:
    """The frames that come out of a decoder."""

    pts: TickList
    """In ticks of `time_base`, in the order of showing."""
    time_base: Fraction
    not_decoded: int = 0
    """Packets that the decoder refused, and frames that it marked as damaged."""
    without_pts: int = 0
    """Frames that came without a pts; they are not in `pts`."""

    @property
    def rises(self) -> bool:
        """Whether every frame has a place in time after the one before."""
        return not self.without_pts and self.pts.rises


@dataclass
class MediaIndex:
    """One file."""

    name: str
    """What to call it."""
    container: str
    """FFmpeg's demuxer name."""
    duration: Fraction | None
    """Seconds that the header claims."""
    metadata: Mapping[str, str]
    chapters: tuple[Chapter, ...]
    attachments: tuple[Attachment, ...]
    streams: tuple[StreamIndex, ...]
    """In the file's order, time code tracks last, where MP4's muxer writes them.

    Neither attachments nor MP4's chapter track, which is told by `chapters`.
    """
    video: int
    """`StreamIndex.index` of the picture that is restored."""
    programs: tuple[Program, ...] = ()
    """Of a transport stream."""
    frames: FrameIndex | None = None
    """None when nothing was decoded."""
    messages: list[str] = field(default_factory=list)
    """What was wrong with the file while it was read."""

    @property
    def picture(self) -> StreamIndex:
        """The video stream that is restored."""
        return next(stream for stream in self.streams if stream.index == self.video)

    @property
    def others(self) -> list[StreamIndex]:
        """Every other stream."""
        return [stream for stream in self.streams if stream.index != self.video]


class MediaIndexer:
    """Fills the index of an open container from its packets, in the order of demuxing."""

    def __init__(self, container: InputContainer, name: str, *, video: int, bare: bool) -> None:
        """Args:
        video: stream index of the picture that is restored.
        bare: hash what packets hold without their container's framing, to compare two containers. That of the picture
            is always left out: it was encoded in another.
        """
        self._streams = {
            stream.index: _stream_index(stream)
            for stream in container.streams
            if not isinstance(stream, AttachmentStream) and not is_chapter_track(stream, container)
        }
        self._payload = {
            index: payload_reader(container.streams[index], bare=bare or index == video) for index in self._streams
        }
        picture = container.streams[video]
        assert isinstance(picture, VideoStream)
        self._fields = FieldPairs(picture)
        duration = container.duration
        self.index = MediaIndex(
            name=name,
            container=container.format.name,
            duration=None if duration is None else Fraction(duration, av.time_base),
            metadata=dict(container.metadata),
            chapters=_chapters(container),
            attachments=_attachments(container),
            streams=tuple(sorted(self._streams.values(), key=lambda each: each.codec == TIME_CODE)),
            video=video,
            programs=programs(container),
        )

    def take_late_streams(self, container: InputContainer) -> None:
        """Enter the streams that appeared while the container was demuxed; they have no packets here."""
        tick = Fraction(1, av.time_base)
        late = (StreamIndex(each.index, each.kind, each.codec, tick, {}, 0) for each in late_streams(container))
        self.index.streams = (*self.index.streams, *late)

    def take(self, packet: Packet, *, hashed: bool = True) -> None:
        """Enter a packet; empty ones, those of no stream in the index, and pictures that an edit list hides are not.
        Of two fields that are one frame, the first stands for both.

        Args:
            hashed: whether its content will be compared.
        """
        stream = self._streams.get(packet.stream_index)
        if stream is None or packet.size == 0 or (packet.is_discard and packet.stream_index == self.index.video):
            return
        if packet.stream_index == self.index.video and self._fields.is_second(packet):
            return
        digest = packet_digest(packet, self._payload[packet.stream_index](packet)) if hashed else 0
        stream.packets.add(packet.pts, packet.dts, packet.duration, digest)
        if has_side_data(packet) and packet.has_sidedata("skip_samples"):
            skipped = bytes(packet.get_sidedata("skip_samples"))
            stream.skipped_samples[0] += int.from_bytes(skipped[0:4], "little")
            stream.skipped_samples[1] += int.from_bytes(skipped[4:8], "little")


def index_media(
    source: str | IO[bytes],
    name: str,
    *,
    bare: bool,
    threads: int,
    timeline: Timeline | None = None,
    into: str | None = None,
) -> MediaIndex:
    """Read a file from start to end and decode its picture.

    Args:
        source: a path or a seekable binary file; `name` is what to call it.
        bare: as of `MediaIndexer`.
        threads: of the decoder.
        timeline: moves the packets of a source to where they are placed in time; as they are stamped unless given.
        into: FFmpeg's name of the container that shall hold them; its own unless given.

    Raises:
        SourceError: it is no media file, or has no picture.
    """
    with open_container(source, name=name) as container:
        stream = main_video_stream(container, name=name)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        indexer = MediaIndexer(container, name, video=stream.index, bare=bare)
        decoding = _Decoding(stream)
        placer = PacketPlacer(container, timeline or Timeline(), stream.index, into or container.format.name)
        try:
            for packet in placer.placed(demuxed(container)):
                indexer.take(packet)
                if packet.stream.index == stream.index:  # its empty last packet says 0 where the number is asked for
                    decoding.feed(packet)
        except av.error.FFmpegError as error:
            indexer.index.messages.append(f"demuxing stopped early: {error.strerror}")
            decoding.feed(None)
        indexer.take_late_streams(container)
        indexer.index.frames = decoding.frames()
        return indexer.index


class _Decoding:
    """Decodes a stream for the pts of its frames."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._pts = TickList()
        self._not_decoded = self._without_pts = 0

    def feed(self, packet: Packet | None) -> None:
        """Decode a packet; None, or the demuxer's empty packet at the end, brings out the frames that are delayed."""
        if packet is not None and repeats_a_frame(packet):
            return
        try:
            frames: list[VideoFrame] = self._stream.decode(packet) if packet is not None else self._stream.decode(None)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            self._not_decoded += 1
            return
        for frame in frames:
            self._not_decoded += bool(frame.is_corrupt)
            if frame.pts is None:
                self._without_pts += 1
            else:
                self._pts.append(frame.pts)

    def frames(self) -> FrameIndex:
        assert self._stream.time_base is not None
        return FrameIndex(self._pts, self._stream.time_base, self._not_decoded, self._without_pts)


def has_side_data(packet: Packet) -> bool:
    """Whether a packet has any: most have none, and to ask for one kind takes five times as long."""
    return next(packet.iter_sidedata(), None) is not None


def packet_digest(packet: Packet, payload: bytes) -> int:
    """8 bytes of the SHA-256 of what a packet holds, as a number."""
    content = hashlib.sha256(payload)
    for kind in _SIDE_DATA_THAT_IS_CONTENT if has_side_data(packet) else ():
        if packet.has_sidedata(kind):
            content.update(kind.encode())
            content.update(bytes(packet.get_sidedata(kind)))
    return int.from_bytes(content.digest()[:8], "little")


def _stream_index(stream: Stream) -> StreamIndex:
    return StreamIndex(
        index=stream.index,
        kind=stream.type,
        codec=codec_name(stream),
        time_base=stream.time_base or Fraction(1, av.time_base),
        metadata=dict(stream.metadata),
        disposition=int(stream.disposition),
    )


def _chapters(container: InputContainer) -> tuple[Chapter, ...]:
    chapters = []
    for told in container.chapters():
        tick = told["time_base"] or Fraction(1, av.time_base)
        chapters.append(Chapter(told["start"] * tick, told["end"] * tick, tick, told["metadata"].get("title", "")))
    return tuple(chapters)


def _attachments(container: InputContainer) -> tuple[Attachment, ...]:
    return tuple(
        Attachment(stream.name or "", stream.mimetype or "", hashlib.sha256(bytes(stream.data)).hexdigest())
        for stream in container.streams
        if isinstance(stream, AttachmentStream)
    )
