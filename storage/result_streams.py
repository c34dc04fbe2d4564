"""What a result's container is opened with, and what its streams say of themselves: tags, codes and dispositions."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, DataStream, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.containers import ContainerChoice, demuxer_of
from storage.mp4_tags import picture_boxes, with_boxes
from storage.picture_tags import BOTTOM_FIELD_FIRST, TOP_FIELD_FIRST
from storage.probe import TIME_CODE, VideoProbe, codec_name
from storage.programs import program_of, program_options, program_tags
from storage.stream_checks import MUXER_TAGS

_MAX_TIMESCALE = 2**31 - 1

_TAGS_OF_CODING = frozenset(
    "encoder ENCODER BPS NUMBER_OF_BYTES _STATISTICS_WRITING_APP _STATISTICS_WRITING_DATE_UTC _STATISTICS_TAGS".split()
)
"""Tags of a video stream, without Matroska's language suffix, that speak of how it was coded."""

_CODES_IN_MP4 = {"hevc": ("hvc1", "hev1"), "prores": ("apco", "apcs", "apcn", "apch", "ap4h", "ap4x")}
"""Codecs that MP4 and MOV have several codes for. FFmpeg's muxer would write one of them whatever the template's is:
HEVC as hev1, which QuickTime and Safari do not play, ProRes as if it were of another quality."""


def tagged_template(segment: Path, probe: VideoProbe, scratch: Path) -> Path:
    """A segment that says of its picture what a container can say; the segment itself when that is nothing."""
    with av.open(str(segment)) as container:
        stream = container.streams.video[0]
        size = (stream.width, stream.height)
    across, down = Fraction(size[0], probe.width), Fraction(size[1], probe.height)
    return with_boxes(segment, picture_boxes(probe.tags.scaled(across, down), size), scratch / "tagged.mp4")


def muxer_options(choice: ContainerChoice, probe: VideoProbe, container: InputContainer) -> dict[str, str]:
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


def add_streams(
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
        # Of a stream that is copied no encoder is asked for: AV1 has a decoder by a name that no encoder has.
        added = out.add_stream_from_template(origin, opaque=not is_video)
        if choice.muxer in ("mp4", "mov"):
            _keep_code(added, origin)
        added.metadata.update(_stream_tags(stream, container))
        added.disposition = stream.disposition
        if is_video:
            assert isinstance(added, VideoStream)
            assert isinstance(stream, VideoStream)
            _tag_picture(added, stream, probe, choice.muxer)
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


def _tag_picture(added: VideoStream, source: VideoStream, probe: VideoProbe, muxer: str) -> None:
    """What a stream of the result says of its picture outside of its codec's own headers."""
    added.time_base = probe.time_base
    # A time code counts in frames a second. Matroska tells how long a frame lasts, where all last as long: else players
    # guess a frame a tick.
    even = muxer == "matroska" and source.average_rate == source.guessed_rate
    if ("timecode" in source.metadata or even) and source.average_rate:
        added.codec_context.framerate = source.average_rate
    if probe.tags.display_matrix:
        added.set_display_matrix(probe.tags.display_matrix)
    if probe.tags.interlaced:
        order = TOP_FIELD_FIRST if probe.tags.field_order == "top first" else BOTTOM_FIELD_FIRST
        added.codec_context.field_order = source.codec_context.field_order or order
    for key in source.metadata:
        if key.split("-")[0] in _TAGS_OF_CODING:
            del added.metadata[key]
