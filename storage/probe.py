"""What a video is, from its header, its first frame and its packets: the facts the rest of the job is planned from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import IO

import av
from av.container import InputContainer
from av.stream import DataStream, Discard, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from pydantic import ConfigDict

from storage.coded_pictures import repeats_a_frame
from storage.decoder_threads import decode_alike
from storage.demuxing import demuxed
from storage.descriptions import StreamKind, late_streams
from storage.errors import SourceError
from storage.limits import (
    MAX_PIXELS,
    require_bounded,
)
from storage.occupied import Stretch
from storage.opening import open_container
from storage.picture_tags import PictureTags, crop_exactly, read_picture_tags
from storage.scan import Scan
from storage.scanning import scan_packets
from storage.stamping import is_counted, measured_lead, measured_reorder
from storage.storage_errors import storage_errors_as
from storage.store import Store
from storage.timeline import Timeline

TIME_CODE = "tmcd"
"""Codec name of a track that MP4's muxers write from the picture's `timecode` tag."""

_FALLBACK_RATE = Fraction(25)
_FASTEST_RATE, _SLOWEST_RATE = Fraction(1000), Fraction(1, 60)
"""Frames a second that a header may tell. Beyond them it is damaged, and not believed."""

_TELL_DURATION = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf"))
"""Demuxers whose duration comes from a header; others guess it from the size or from the last packets."""

_CUT_SECONDS = Fraction(1, 2)
"""A file that ends by more before its promised end is called cut."""


@dataclass(frozen=True)
class OtherStream:
    """A stream of the source that is carried over packet by packet."""

    index: int
    kind: StreamKind
    codec: str
    """FFmpeg's codec name; empty when FFmpeg does not know it."""
    is_empty: bool = False
    """Whether it is announced but has not one packet."""
    is_late: bool = False
    """Whether it appears only midway, so that no packet of it can be had."""


@dataclass(frozen=True)
class VideoProbe:
    """Facts of one source. All times are integer pts in `time_base`."""

    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")  # as `kept_probes` writes it

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
    """Ticks that the packets span; None when they do not tell. Never relied on for the last frame."""
    rotation: int
    """Degrees counter-clockwise that a player turns the frame, mirroring aside: 0, 90, -90 or 180."""
    sample_aspect_ratio: Fraction
    color_range: int
    """AVColorRange: 1 limited, 2 full. Unspecified and RGB are limited, as players and encoders take them."""
    colorspace: int
    """AVColorSpace (ITU-T H.273 MatrixCoefficients) as tagged; 2 when unspecified."""
    color_primaries: int
    color_trc: int
    other_streams: tuple[OtherStream, ...]
    """Everything to be carried over; not MP4's chapter track, which the muxer writes anew from the chapters."""
    timeline: Timeline = field(default_factory=Timeline)
    """How its frames come by their pts."""
    tags: PictureTags = field(default_factory=PictureTags)
    """What else the picture says about itself."""
    occupied: tuple[Stretch, ...] = ()
    """Where its frames are, give or take some seconds, in order; empty when that is not known."""

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise SourceError(f"frame size {self.width}x{self.height} is not a picture")
        if self.frame_ticks <= 0 or self.time_base <= 0:
            raise SourceError(f"time base {self.time_base} with {self.frame_ticks} ticks a frame cannot be timed")

    @property
    def seconds(self) -> float:
        """Duration for display and planning of work, 0.0 when unknown."""
        return float((self.duration or 0) * self.time_base)


def main_video_stream(container: InputContainer, *, name: str) -> VideoStream:
    """The video stream that is restored: the first that is not a cover picture, and of a codec that FFmpeg knows.

    Raises:
        SourceError: there is none.
    """
    videos = [each for each in container.streams.video if not each.disposition & av.stream.Disposition.attached_pic]
    for stream in videos:
        if stream.codec_context is not None:
            return stream
    if videos:
        raise SourceError(f"{name}: FFmpeg does not know the codec of its video. Convert it with what wrote it first")
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
    raise SourceError(f"{name}: no video stream (it has {kinds}). Leave it out of the sources")


def probe_video(url: str, store: Store) -> VideoProbe:
    """Read the header, decode the first frame of the video at `url`, and walk through its packets.

    Raises:
        SourceError: empty, unreadable, no video stream, or no decodable frame.
    """
    with storage_errors_as(SourceError, f"{url}: cannot be read"):
        size = store.identity(url).size
    if size == 0:
        raise SourceError(f"{url}: the file is empty (0 bytes). Copy it again from where it came")
    with store.open_media(url) as media:
        with _opened(media, url) as (container, stream):
            crop_exactly(stream)
            frame = _first_frame(container, stream, url)
            probe = _describe(container, stream, frame, url)
        with _opened(media, url) as (container, stream):
            counted = is_counted(container, stream)
        reorder = lead = 0
        if counted or frame.pts is None:
            with _opened(media, url) as (container, stream):
                if counted:
                    reorder = measured_reorder(container, stream)
                else:
                    lead = measured_lead(container, stream)
        with _opened(media, url) as (container, stream):
            ticks = probe.frame_ticks
            scan = scan_packets(container, stream, ticks, counted=counted, reorder=reorder, lead=lead)
            timeline = _with_rate_told(_with_cut_told(scan, container), stream, probe)
            late = tuple(
                OtherStream(each.index, each.kind, each.codec, is_late=True) for each in late_streams(container)
            )
    stamped = frame.pts is not None and not counted and not scan.timeline.shifted
    first_pts = probe.first_pts if stamped else scan.first_pts
    if first_pts is None:
        raise SourceError(f"{url}: its frames cannot be placed in time. Remux it into a container (mp4, mkv) first")
    duration = scan.end_pts - first_pts if scan.end_pts is not None and scan.end_pts > first_pts else None
    require_bounded(float((duration or 0) * probe.time_base), url)
    others = tuple(
        replace(other, is_empty=other.kind != "attachment" and other.index not in scan.streams)
        for other in probe.other_streams
    )
    return replace(
        probe,
        first_pts=first_pts,
        duration=duration,
        timeline=timeline,
        occupied=scan.occupied,
        other_streams=(*others, *(OtherStream(each.index, each.kind, each.codec, is_late=True) for each in late)),
        frame_ticks=scan.frame_ticks or probe.frame_ticks,
    )


def _with_cut_told(scan: Scan, container: InputContainer) -> Timeline:
    """The timeline, with a remark when the header promises more than is there."""
    promised, found = container.duration, scan.end_seconds
    if found is None or promised is None or container.format.name not in _TELL_DURATION:
        return scan.timeline
    start = Fraction(container.start_time or 0, av.time_base)
    lacking = start + Fraction(promised, av.time_base) - found
    if lacking <= _CUT_SECONDS:
        return scan.timeline
    told = f"it ends {float(lacking):.1f} s before the end that its header tells: it may be cut"
    return replace(scan.timeline, remarks=(*scan.timeline.remarks, told))


def _told_rate(stream: VideoStream) -> Fraction:
    return stream.guessed_rate or stream.average_rate or _FALLBACK_RATE


def _nominal_rate(container: InputContainer, stream: VideoStream) -> Fraction:
    """Frames a second, as told where that may be; of AVI always, whose stamps count in nothing else."""
    told = _told_rate(stream)
    return told if container.format.name == "avi" or _SLOWEST_RATE <= told <= _FASTEST_RATE else _FALLBACK_RATE


def _with_rate_told(timeline: Timeline, stream: VideoStream, probe: VideoProbe) -> Timeline:
    """The timeline, with a remark when its frames are counted at another rate than the one that is told."""
    told = _told_rate(stream)
    if not timeline.counted or told * probe.frame_ticks * probe.time_base == 1:
        return timeline
    remark = (
        f"its header tells {float(told):.2g} frames a second, and it has no timestamps: {_FALLBACK_RATE} were taken"
    )
    return replace(timeline, remarks=(*timeline.remarks, remark))


@contextmanager
def _opened(media: str | IO[bytes], url: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not isinstance(media, str):
        media.seek(0)
    with open_container(media, name=url) as container:
        stream = main_video_stream(container, name=url)
        decode_alike(stream)
        yield container, stream


def _first_frame(container: InputContainer, stream: VideoStream, url: str) -> VideoFrame:
    try:
        for packet in demuxed(container, stream):
            if repeats_a_frame(packet):
                continue
            try:
                for frame in packet.decode():
                    return frame
            except av.error.FFmpegError:
                continue  # damage before the first good frame: the reader counts it
    except av.error.FFmpegError as error:
        raise SourceError(f"{url}: cannot be decoded ({error.strerror}). Check that it is whole") from error
    raise SourceError(
        f"{url}: no frame of its video stream can be decoded. Check that it is whole, and that its frames have no more "
        f"than {MAX_PIXELS / 1e6:.0f} million pixels"
    )


def _describe(container: InputContainer, stream: VideoStream, frame: VideoFrame, url: str) -> VideoProbe:
    time_base = stream.time_base
    if time_base is None:
        raise SourceError(f"{url}: its video stream has no time base. Remux it into a container (mp4, mkv) first")
    rate = _nominal_rate(container, stream)
    context = stream.codec_context
    full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    tags = read_picture_tags(container, stream, frame)
    return VideoProbe(
        container=container.format.name,
        codec=context.name,
        stream_index=stream.index,
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        time_base=time_base,
        frame_ticks=1 / (rate * time_base),
        first_pts=frame.pts or 0,
        duration=None,
        rotation=tags.rotation,
        sample_aspect_ratio=stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1),
        color_range=int(ColorRange.JPEG if full_range and not frame.format.is_rgb else ColorRange.MPEG),
        colorspace=int(frame.colorspace),
        color_primaries=int(frame.color_primaries),
        color_trc=int(frame.color_trc),
        other_streams=tuple(
            OtherStream(other.index, other.type, codec_name(other))
            for other in container.streams
            if other.index != stream.index and not is_chapter_track(other, container)
        ),
        tags=tags,
    )


def is_chapter_track(stream: Stream, container: InputContainer) -> bool:
    """Whether this is the text track in which MP4 keeps chapter titles: the chapters stand for it, it is no content.

    FFmpeg's demuxer turns exactly such tracks into data streams whose packets it discards.
    """
    return isinstance(stream, DataStream) and stream.discard == Discard.all and bool(container.chapters())


def codec_name(stream: Stream) -> str:
    """FFmpeg's name; `tmcd` for MP4's time code tracks, which it does not name, and empty for what it does not know."""
    if isinstance(stream, DataStream):
        return stream.name or (TIME_CODE if "timecode" in stream.metadata else "")
    context = stream.codec_context
    return context.name if context is not None else ""
