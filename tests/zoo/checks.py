"""What a result is held against its source by. PyAV alone: nothing here comes from facemill."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import AttachmentStream, Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

MUXERS_OWN_TAGS = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder"))
"""Tags that a muxer writes for itself."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame of the main video stream."""

    seconds: Fraction
    digest: str
    """Of its visible samples."""
    size: tuple[int, int]


@dataclass(frozen=True)
class Copied:
    """A stream other than the main video, as a demuxer gives it."""

    kind: str
    codec: str
    language: str
    disposition: Disposition
    digests: tuple[str, ...]
    """Of each packet."""
    seconds: tuple[Fraction | None, ...]
    """pts of each packet."""


def main_video(container: InputContainer) -> VideoStream:
    """The first video stream that is no cover picture."""
    return next(each for each in container.streams.video if not each.disposition & Disposition.attached_pic)


def frames_of(path: Path) -> list[Frame]:
    """Every frame that a plain decoding loop gives, packets that do not decode left out."""
    return [
        Frame(_seconds(frame), samples_digest(frame), (frame.width, frame.height)) for frame in decoded_frames(path)
    ]


def decoded_frames(path: Path) -> list[VideoFrame]:
    """The main video's frames, in the order in which the decoder gives them."""
    frames: list[VideoFrame] = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = main_video(container)
        try:
            for packet in container.demux(stream):
                try:
                    frames += packet.decode()
                except av.error.InvalidDataError:
                    continue
        except av.error.FFmpegError:
            frames += stream.decode(None)
    return frames


def _seconds(frame: VideoFrame) -> Fraction:
    assert frame.pts is not None
    assert frame.time_base is not None
    return frame.pts * frame.time_base


def samples_digest(frame: VideoFrame) -> str:
    """Hash of a frame's visible samples."""
    return hashlib.sha256(np.ascontiguousarray(frame.to_ndarray()).tobytes()).hexdigest()[:16]


def copied_streams(path: Path) -> list[Copied]:
    """Every stream but the main video and MP4's chapter track, in order."""
    with av.open(str(path), metadata_errors="replace") as container:
        main = main_video(container)
        others = [each for each in container.streams if _is_content(each, container) and each.index != main.index]
        digests: dict[int, list[str]] = {each.index: [] for each in others}
        seconds: dict[int, list[Fraction | None]] = {each.index: [] for each in others}
        for packet in _packets(container):
            if packet.size and packet.stream_index in digests:
                digests[packet.stream_index].append(hashlib.sha256(bytes(packet)).hexdigest()[:16])
                at = None if packet.pts is None or packet.time_base is None else packet.pts * packet.time_base
                seconds[packet.stream_index].append(at)
        return [
            Copied(
                kind=each.type,
                codec=_codec(each),
                language=each.metadata.get("language", "und"),
                disposition=each.disposition,
                digests=tuple(digests[each.index]),
                seconds=tuple(seconds[each.index]),
            )
            for each in others
        ]


def _is_content(stream: Stream, container: InputContainer) -> bool:
    chapter_track = stream.type == "data" and stream.discard == Discard.all and bool(container.chapters())
    return not chapter_track and not isinstance(stream, AttachmentStream)


def _codec(stream: Stream) -> str:
    context = getattr(stream, "codec_context", None)
    return context.name if context is not None else ""


def _packets(container: InputContainer) -> list[av.Packet]:
    packets: list[av.Packet] = []
    with suppress(av.error.FFmpegError):  # damage: what lies before it counts
        packets.extend(container.demux())
    return packets


@dataclass(frozen=True)
class Tags:
    """What a file says about itself and about how its picture is shown."""

    metadata: dict[str, str]
    video_language: str
    video_disposition: Disposition
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    attachments: tuple[tuple[str, str], ...]
    """(name, digest)."""
    rotation: int
    display_shape: Fraction
    """Width by height of the picture as it is shown, rotation left out."""
    colour: tuple[int, int, int, int]
    """Range, matrix, primaries, transfer."""


def tags_of(path: Path) -> Tags:
    """A file's tags, through its header and its first frame."""
    frame = decoded_frames(path)[0]
    with av.open(str(path), metadata_errors="replace") as container:
        video = main_video(container)
        aspect = video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio or Fraction(1)
        attachments = [each for each in container.streams if isinstance(each, AttachmentStream)]
        full_range = frame.color_range == 2 or frame.format.name.startswith("yuvj")
        return Tags(
            metadata={k: text for k, text in container.metadata.items() if k.lower() not in MUXERS_OWN_TAGS},
            video_language=video.metadata.get("language", "und"),
            video_disposition=video.disposition,
            chapters=tuple(
                (
                    chapter["start"] * Fraction(chapter["time_base"] or 1),
                    chapter["end"] * Fraction(chapter["time_base"] or 1),
                    chapter["metadata"].get("title", ""),
                )
                for chapter in container.chapters()
            ),
            attachments=tuple(
                (each.name or "", hashlib.sha256(bytes(each.data)).hexdigest()[:16]) for each in attachments
            ),
            rotation=frame.rotation,
            display_shape=aspect * frame.width / frame.height,
            colour=(
                2 if full_range and not frame.format.is_rgb else 1,
                int(frame.colorspace),
                int(frame.color_primaries),
                int(frame.color_trc),
            ),
        )


@dataclass(frozen=True)
class Joined:
    """What a concatenation of recordings must be: each recording whole, after the end of the one before."""

    frames: list[Fraction]
    streams: list[list[Fraction | None]]


def joined(recordings: Sequence[Path]) -> Joined:
    """Times of recordings that are played one after the other.

    A recording starts where everything in the one before has ended, and keeps the distances between its streams.
    """
    frames: list[Fraction] = []
    streams: list[list[Fraction | None]] = []
    end: Fraction | None = None
    for path in recordings:
        start, last = _extent(path)
        shift = Fraction(0) if end is None else end - start
        frames += [frame.seconds + shift for frame in frames_of(path)]
        copied = [[None if at is None else at + shift for at in each.seconds] for each in copied_streams(path)]
        streams = [before + more for before, more in zip(streams or [[] for _ in copied], copied, strict=True)]
        end = last + shift
    return Joined(frames, streams)


def _extent(path: Path) -> tuple[Fraction, Fraction]:
    """Seconds at which the first packet of a file begins and its last one ends, over all streams."""
    starts, ends = [], []
    with av.open(str(path)) as container:
        for packet in _packets(container):
            if packet.size and packet.pts is not None and packet.time_base is not None:
                starts.append(packet.pts * packet.time_base)
                ends.append((packet.pts + (packet.duration or 0)) * packet.time_base)
    return min(starts), max(ends)


def luma_psnr(frame: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """PSNR of two frames in decibel; 100 when they are equal."""
    error = float(np.mean((frame.astype(np.float64) - other) ** 2))
    return 100.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def is_strictly_rising(times: Sequence[Fraction]) -> bool:
    """Whether every time is after the one before."""
    return all(before < after for before, after in pairwise(times))


def is_part_of(some: Sequence[object], everything: Sequence[object]) -> bool:
    """Whether `some` are among `everything`, as often as they are there."""
    return not Counter(some) - Counter(everything)
