"""What a video is, from its header and its first frame: the facts the rest of the job is planned from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Literal

import av
from av.container import InputContainer
from av.stream import DataStream, Discard, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from storage.errors import SourceError
from storage.store import Store, storage_errors_as

_FALLBACK_RATE = Fraction(25)
_DEMUX_OPTIONS = {"protocol_whitelist": "file,crypto,data"}
"""A container may not make the demuxer open network addresses."""


@dataclass(frozen=True)
class OtherStream:
    """A stream of the source that is carried over packet by packet."""

    index: int
    kind: Literal["video", "audio", "subtitle", "data", "attachment", "unknown"]
    codec: str
    """FFmpeg's codec name; empty when FFmpeg does not know it."""


@dataclass(frozen=True)
class VideoProbe:
    """Header facts of one source. All times are integer pts in `time_base`."""

    container: str
    """FFmpeg's demuxer name, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    codec: str
    stream_index: int
    width: int
    """Coded frame width in pixels, before any rotation for display."""
    height: int
    pix_fmt: str
    time_base: Fraction
    frame_ticks: Fraction
    """Nominal duration of a frame in ticks of `time_base`; a guess where the rate varies."""
    first_pts: int
    """pts of the first decoded frame."""
    duration: int | None
    """Ticks that the header claims, or that the packets span when it claims nothing; None when neither tells.

    May be wrong: never relied on for the last frame.
    """
    rotation: int
    """Degrees counter-clockwise that a player turns the frame: 0, 90, -90 or 180."""
    sample_aspect_ratio: Fraction
    color_range: int
    """AVColorRange: 1 limited, 2 full. Unspecified and RGB are limited, as players and encoders take them."""
    colorspace: int
    """AVColorSpace (ITU-T H.273 MatrixCoefficients) as tagged; 2 when unspecified."""
    color_primaries: int
    color_trc: int
    other_streams: tuple[OtherStream, ...]
    """Everything to be carried over; not MP4's chapter track, which the muxer writes anew from the chapters."""

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise SourceError(f"frame size {self.width}x{self.height} is not a picture")
        if self.frame_ticks <= 0 or self.time_base <= 0:
            raise SourceError(f"time base {self.time_base} with {self.frame_ticks} ticks a frame cannot be timed")

    @property
    def seconds(self) -> float:
        """Claimed duration for display and planning of work, 0.0 when unknown."""
        return float((self.duration or 0) * self.time_base)


@contextmanager
def open_container(source: str | IO[bytes], *, name: str) -> Iterator[InputContainer]:
    """Open a source for demuxing.

    Args:
        source: a path or a seekable binary file.
        name: what to call it in errors.

    Raises:
        SourceError: empty, unreadable, or no media FFmpeg knows.
    """
    try:
        options = _DEMUX_OPTIONS if isinstance(source, str) else {}
        container = av.open(source, "r", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise SourceError(
            f"{name}: cannot be opened as media ({error.strerror}). Check that it is a whole video file"
        ) from error
    with container:
        yield container


def main_video_stream(container: InputContainer, *, name: str) -> VideoStream:
    """The video stream that is restored: the first that is not a cover picture.

    Raises:
        SourceError: there is none.
    """
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
    raise SourceError(f"{name}: no video stream (it has {kinds}). Leave it out of the sources")


def probe_video(url: str, store: Store) -> VideoProbe:
    """Read the header and decode the first frame of the video at `url`.

    The packets are walked through to the last one only when the header does not tell the duration.

    Raises:
        SourceError: empty, unreadable, no video stream, no decodable frame, or no timestamps.
    """
    with storage_errors_as(SourceError, f"{url}: cannot be read"):
        size = store.identity(url).size
    if size == 0:
        raise SourceError(f"{url}: the file is empty (0 bytes). Copy it again from where it came")
    with store.open_media(url) as media, open_container(media, name=url) as container:
        stream = main_video_stream(container, name=url)
        frame = _first_frame(container, stream, url)
        return _describe(container, stream, frame, url)


def _first_frame(container: InputContainer, stream: VideoStream, url: str) -> VideoFrame:
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    return frame
            except av.error.InvalidDataError:
                continue  # damage before the first good frame: the reader counts it
    except av.error.FFmpegError as error:
        raise SourceError(f"{url}: cannot be decoded ({error.strerror}). Check that it is whole") from error
    raise SourceError(f"{url}: no frame of its video stream can be decoded. Check that it is whole")


def _describe(container: InputContainer, stream: VideoStream, frame: VideoFrame, url: str) -> VideoProbe:
    time_base = stream.time_base
    if time_base is None or frame.pts is None:
        raise SourceError(f"{url}: its frames carry no timestamps. Remux it into a container (mp4, mkv) first")
    rate = stream.guessed_rate or stream.average_rate or _FALLBACK_RATE
    context = stream.codec_context
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    frame_ticks = 1 / (rate * time_base)
    duration = _claimed_duration(container, stream, time_base)
    if duration is None or duration < frame_ticks:  # less than a frame: a guess from a bit rate, as of raw MPEG-1
        duration = _measured_duration(container, stream, frame.pts, frame_ticks)
    return VideoProbe(
        container=container.format.name,
        codec=context.name,
        stream_index=stream.index,
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        time_base=time_base,
        frame_ticks=frame_ticks,
        first_pts=frame.pts,
        duration=duration,
        rotation=frame.rotation,
        sample_aspect_ratio=stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1),
        color_range=int(ColorRange.JPEG if full_range and not frame.format.is_rgb else ColorRange.MPEG),
        colorspace=int(frame.colorspace),
        color_primaries=int(frame.color_primaries),
        color_trc=int(frame.color_trc),
        other_streams=tuple(
            OtherStream(other.index, other.type, _codec_name(other))
            for other in container.streams
            if other.index != stream.index and not _is_chapter_track(other, container)
        ),
    )


def _claimed_duration(container: InputContainer, stream: VideoStream, time_base: Fraction) -> int | None:
    if stream.duration:
        return stream.duration
    if container.duration:
        return int(Fraction(container.duration, av.time_base) / time_base)
    return None


def _measured_duration(
    container: InputContainer, stream: VideoStream, first_pts: int, frame_ticks: Fraction
) -> int | None:
    """Ticks from `first_pts` to the end of the last frame, from all the packets that are left; nothing is decoded.

    A recording written to a pipe has no duration in its header. Without one it would be a single shard, for a single
    worker.
    """
    last_pts = first_pts
    try:
        for packet in container.demux(stream):
            last_pts = max(last_pts, packet.pts if packet.pts is not None else first_pts)
    except av.error.FFmpegError:
        pass  # damage on the way: what lies before it is planned, and the last shard is open at its end
    return round(last_pts - first_pts + frame_ticks) if last_pts > first_pts else None


def _is_chapter_track(stream: Stream, container: InputContainer) -> bool:
    """Whether this is the text track in which MP4 keeps chapter titles: the chapters stand for it, it is no content.

    FFmpeg's demuxer turns exactly such tracks into data streams whose packets it discards.
    """
    return isinstance(stream, DataStream) and stream.discard == Discard.all and bool(container.chapters())


def _codec_name(stream: Stream) -> str:
    if isinstance(stream, DataStream):
        return stream.name or ""
    context = stream.codec_context
    return context.name if context is not None else ""
