"""What a result is held against its source by. PyAV alone: nothing here comes from facemill."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.stream import AttachmentStream, Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

_ENCODERS = (bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"), bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"))
"""x264's and x265's UUIDs in user data."""

MUXERS_OWN_TAGS = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder"))
"""Tags that a muxer writes for itself."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame of the main video stream."""

    seconds: Fraction | None
    """None where a raw stream tells no time."""
    digest: str
    """Of its visible samples."""
    size: tuple[int, int]
    pix_fmt: str
    side_data: tuple[tuple[str, bytes], ...]
    """Captions and user data in the frame; the encoder's words about itself are none."""
    interlaced: bool


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
    time_base: Fraction
    """Seconds a tick."""


def main_video(container: InputContainer) -> VideoStream:
    """The first video stream that is no cover picture."""
    return next(each for each in container.streams.video if not each.disposition & Disposition.attached_pic)


def frames_of(path: Path) -> list[Frame]:
    """Every frame that a plain decoding loop gives, packets that do not decode left out."""
    return [
        Frame(
            _seconds(frame),
            samples_digest(frame),
            (frame.width, frame.height),
            frame.format.name,
            tuple(
                (each.type.name, bytes(each))
                for each in _side_data(frame)
                if each.type.name in ("A53_CC", "SEI_UNREGISTERED") and bytes(each)[:16] not in _ENCODERS
            ),
            frame.interlaced_frame,
        )
        for frame in decoded_frames(path)
    ]


def decoded_frames(path: Path) -> list[VideoFrame]:
    """The main video's frames, in the order in which the decoder gives them."""
    frames: list[VideoFrame] = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = main_video(container)
        stream.codec_context.flags |= Flags.unaligned  # else a cropped left edge is rounded
        stream.codec_context.thread_count = 1  # with more, damage costs other frames of AV1 and VP9 each time
        try:
            for packet in container.demux(stream):
                if packet.size == 0 and packet.dts is not None:
                    continue  # "as before": Theora's way, which no decoder takes
                try:
                    frames += packet.decode()
                except av.error.FFmpegError:
                    continue
        except av.error.FFmpegError:
            frames += stream.decode(None)
    return frames


def _seconds(frame: VideoFrame) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def samples_digest(frame: VideoFrame) -> str:
    """Hash of a frame's visible samples."""
    if frame.format.has_palette or (not frame.format.is_planar and len(frame.format.components) > 1):
        frame = frame.reformat(format="yuv444p16le")
    bytes_a_sample = (frame.format.components[0].bits + 7) // 8
    samples = hashlib.sha256()
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        samples.update(np.ascontiguousarray(rows[:, : plane.width * bytes_a_sample]).tobytes())
    return samples.hexdigest()[:16]


def _side_data(frame: VideoFrame) -> list[Any]:
    return [frame.side_data[at] for at in range(len(frame.side_data))]  # type: ignore[misc]


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
                time_base=each.time_base or Fraction(1),
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
    hdr: tuple[tuple[Fraction, ...], bytes]
    """Mastering display, content light level."""
    layout: tuple[bytes, ...]
    """Display matrix, kind of stereoscopy, spherical projection."""
    cropping: tuple[Fraction, ...]
    """Shares of the picture that a player leaves out: left, right, top, bottom."""
    chroma_location: str
    programs: tuple[str, ...]
    """Of a transport stream: number, name and provider, as FFmpeg tells them."""


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
            hdr=_hdr(frame),
            layout=_of_kinds(frame, "DISPLAYMATRIX", "STEREO3D", "SPHERICAL"),
            cropping=_cropping(container, frame),
            chroma_location=_chroma_location(container),
            programs=tuple(re.findall(r"^  (Program \d+.*?)\n  Stream", _described(container), flags=re.M | re.S)),
            colour=(
                2 if full_range and not frame.format.is_rgb else 1,
                int(frame.colorspace),
                int(frame.color_primaries),
                int(frame.color_trc),
            ),
        )


def _hdr(frame: VideoFrame) -> tuple[tuple[Fraction, ...], bytes]:
    mastering, light = _of_kinds(frame, "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
    numbers = np.frombuffer(mastering[:80], np.int32).reshape(-1, 2).tolist()
    return tuple(Fraction(*pair) for pair in numbers), light


def _of_kinds(frame: VideoFrame, *kinds: str) -> tuple[bytes, ...]:
    """Side data of a frame; of stereoscopy only what is shown how, not the lenses."""
    found = {each.type.name: bytes(each) for each in _side_data(frame)}
    return tuple(found.get(kind, b"")[: 8 if kind == "STEREO3D" else None] for kind in kinds)


def _described(container: InputContainer) -> str:
    """FFmpeg's description of a file, with all that it tells at most."""
    av.logging.set_level(av.logging.VERBOSE)
    av.logging.set_libav_level(av.logging.VERBOSE)
    try:
        return container.dumps_format()  # type: ignore[attr-defined, no-any-return]
    finally:
        av.logging.set_libav_level(av.logging.INFO)
        av.logging.set_level(None)


def _cropping(container: InputContainer, frame: VideoFrame) -> tuple[Fraction, ...]:
    told = re.search(r"Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", _described(container))
    sides = (frame.width, frame.width, frame.height, frame.height)
    return tuple(Fraction(int(n), side) for n, side in zip(told.groups(), sides, strict=True)) if told else ()


def _chroma_location(container: InputContainer) -> str:
    """Where 4:2:0 chroma lies: at the left where nothing is said, as H.264 and players have it."""
    told = re.search(r"yuvj?420p\w*\([^)]*?(topleft|left|center)\)", _described(container))
    return told[1] if told else "left"


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


def frame_lumas(path: Path) -> list[NDArray[np.uint8]]:
    """(H, W) uint8 of every frame of an 8-bit 4:2:0 video."""
    return [frame.to_ndarray()[: frame.height] for frame in decoded_frames(path)]


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


def is_same_tick(found: Fraction | None, wanted: Fraction | None, tick: Fraction) -> bool:
    """Whether a time on a clock of `tick` seconds is the wanted one, or nearest to it where the clock has not that."""
    if found is None or wanted is None:
        return found is wanted
    return 2 * abs(found - wanted) <= tick and (found == wanted or (wanted / tick).denominator != 1)
