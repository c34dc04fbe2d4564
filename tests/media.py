"""Makes small videos in milliseconds, from a seed. Every frame differs from every other, so a mix-up shows."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import imageio_ffmpeg
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Disposition
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from storage.catalogue import Source
from storage.encoding import EncodeSettings, SizeSettings, output_picture
from storage.probe import VideoProbe, probe_video
from storage.reader import read_frames
from storage.segments import SegmentWriter
from storage.shards import PtsRange, Shard, plan_shards
from storage.store import Store


@dataclass(frozen=True)
class Audio:
    """One audio stream of a made video."""

    codec: str = "aac"
    rate: int = 48000
    seconds: float = 1.0
    start: float = 0.0
    """Seconds on the container's clock of the first sample."""
    language: str = ""
    title: str = ""
    disposition: Disposition | None = None


@dataclass(frozen=True)
class Clip:
    """What a made video is like; the suffix of its path decides the container unless `muxer` does."""

    frames: int = 25
    size: tuple[int, int] = (64, 48)
    codec: str = "libx264"
    muxer: str | None = None
    rate: Fraction = Fraction(25)
    time_base: Fraction | None = None
    """Of the frames' pts; 1 / rate unless given."""
    pts: Sequence[int] | None = None
    """One a frame; 0, 1, 2 ... unless given. Sets the number of frames."""
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    """Of the encoder."""
    muxer_options: dict[str, str] = field(default_factory=dict)
    gop: int = 10
    b_frames: int = 0
    full_range: bool = False
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation: int = 0
    """Degrees counter-clockwise that a player shall turn the picture."""
    audio: tuple[Audio, ...] = ()
    subtitles: tuple[tuple[float, float, str], ...] = ()
    """(start, end, text) in seconds; Matroska only."""
    metadata: dict[str, str] = field(default_factory=dict)
    chapters: tuple[tuple[float, float, str], ...] = ()
    attachment: bytes = b""
    """Matroska only."""
    language: str = ""
    """Of the video stream."""
    seed: int = 0


def picture(number: int, clip: Clip) -> VideoFrame:
    """Frame `number` of a clip: a slow wave with a block that wanders over it."""
    width, height = clip.size
    y, x = np.mgrid[:height, :width]
    shift = 0.7 * number + clip.seed
    rgb = np.stack([np.sin((x + shift * (k + 1)) / 9) + np.cos((y - shift) / (5 + k)) for k in range(3)], axis=-1)
    rgb = (128 + 50 * rgb).astype(np.uint8)
    left, top = (3 * number) % max(1, width - 12), (2 * number) % max(1, height - 12)
    rgb[top : top + 12, left : left + 12] = (number * 37 % 256, 255 - number * 11 % 256, number * 71 % 256)
    return VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=clip.pix_fmt)


def make_video(path: Path, clip: Clip | None = None) -> Path:
    """Write `clip` to `path`."""
    clip = clip or Clip()
    if clip.rotation:
        upright = path.with_name(f"upright-{path.name}")
        _write(upright, clip)
        with_rotation(upright, clip.rotation, path)
        upright.unlink()
    else:
        _write(path, clip)
    return path


def with_rotation(source: Path, degrees: int, target: Path) -> None:
    """Copy `source` with a display matrix in its track header."""
    turned = ffmpeg.input(str(source), **{"display_rotation:v:0": degrees})
    _run(ffmpeg.output(turned, str(target), c="copy"))


def with_aspect(source: Path, ratio: str, target: Path) -> Path:
    """Copy `source` with a display aspect, such as `16:9`, in the container alone: the coded stream keeps its own."""
    _run(ffmpeg.output(ffmpeg.input(str(source)), str(target), c="copy", aspect=ratio))
    return target


def piped(source: Path, target: Path) -> Path:
    """Copy `source` to Matroska the way a recorder writes to a pipe: its header knows no duration."""
    content, _ = ffmpeg.output(ffmpeg.input(str(source)), "pipe:1", c="copy", f="matroska").run(
        cmd=imageio_ffmpeg.get_ffmpeg_exe(), capture_stdout=True, quiet=True
    )
    target.write_bytes(content)
    return target


def _run(output: Any) -> None:
    output.overwrite_output().run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)


def _write(path: Path, clip: Clip) -> None:
    with av.open(str(path), "w", format=clip.muxer, options=clip.muxer_options) as out:
        out.metadata.update(clip.metadata)
        if clip.chapters:
            out.set_chapters(
                [
                    {
                        "id": number,
                        "start": round(start * 1000),
                        "end": round(end * 1000),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for number, (start, end, title) in enumerate(clip.chapters, 1)
                ]
            )
        packets = _video_packets(out, clip)
        for audio in clip.audio:
            packets += _audio_packets(out, audio, clip.seed)
        subtitles = io.BytesIO(_srt(clip.subtitles).encode())
        if clip.subtitles:
            packets += _subtitle_packets(out, subtitles)
        if clip.attachment:
            out.add_attachment("notes.txt", "text/plain", clip.attachment)
        for packet in sorted(packets, key=_decoding_time):
            out.mux_one(packet)


def _decoding_time(packet: Packet) -> Fraction:
    assert packet.time_base is not None
    at = packet.dts if packet.dts is not None else packet.pts
    return (at or 0) * packet.time_base


def _video_packets(out: OutputContainer, clip: Clip) -> list[Packet]:
    time_base = clip.time_base or 1 / clip.rate
    stream = out.add_stream(clip.codec, rate=clip.rate, options={**_encoder_options(clip), **clip.options})
    context = stream.codec_context
    context.width, context.height = clip.size
    context.pix_fmt = clip.pix_fmt
    context.time_base = time_base
    stream.time_base = time_base
    context.gop_size = clip.gop
    context.max_b_frames = clip.b_frames
    context.thread_count = 1
    context.sample_aspect_ratio = clip.sample_aspect_ratio
    if clip.full_range:
        context.color_range = 2
    if clip.language:
        stream.metadata["language"] = clip.language
    packets: list[Packet] = []
    for number, pts in enumerate(clip.pts if clip.pts is not None else range(clip.frames)):
        frame = picture(number, clip)
        frame.pts, frame.time_base, frame.pict_type = pts, time_base, PictureType.NONE
        packets += stream.encode(frame)
    packets += stream.encode(None)
    if clip.codec == "libsvtav1" and sys.platform == "linux":
        # SVT-AV1 makes its caller a real-time process where it may, as for root: that and all that it starts from then
        # on, Ray among it, would keep everything else on the machine from running.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return packets


def _encoder_options(clip: Clip) -> dict[str, str]:
    if clip.codec == "libx264":
        return {"preset": "veryfast", "x264-params": f"scenecut=0:bframes={clip.b_frames}:b-adapt=0"}
    if clip.codec == "libx265":
        return {"preset": "ultrafast", "x265-params": f"log-level=error:pools=1:bframes={clip.b_frames}:b-adapt=0"}
    if clip.codec.startswith("libvpx"):
        return {"deadline": "realtime", "cpu-used": "8"}
    return {}


def _audio_packets(out: OutputContainer, audio: Audio, seed: int) -> list[Packet]:
    stream = out.add_stream(audio.codec, rate=audio.rate)
    stream.codec_context.layout = "mono"
    if audio.language:
        stream.metadata["language"] = audio.language
    if audio.title:
        stream.metadata["title"] = audio.title
    if audio.disposition:
        stream.disposition = audio.disposition
    samples = round(audio.rate * audio.seconds)
    phase = np.arange(samples) * (2 * np.pi * (300 + 40 * stream.index + seed) / audio.rate)
    wave = (8000 * np.sin(phase)).astype(np.int16)[None]
    at = round(audio.start * audio.rate)
    packets: list[Packet] = []
    resampler = av.AudioResampler(format=stream.codec_context.format or "fltp", layout="mono", rate=audio.rate)
    for first in range(0, samples, 1024):
        frame = av.AudioFrame.from_ndarray(wave[:, first : first + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = audio.rate, Fraction(1, audio.rate), at + first
        for ready in resampler.resample(frame):
            packets += stream.encode(ready)
    return packets + list(stream.encode(None))


def _srt(subtitles: Sequence[tuple[float, float, str]]) -> str:
    def clock(seconds: float) -> str:
        return f"00:00:{int(seconds):02d},{round(seconds % 1 * 1000):03d}"

    return "".join(f"{n}\n{clock(a)} --> {clock(b)}\n{text}\n\n" for n, (a, b, text) in enumerate(subtitles, 1))


def _subtitle_packets(out: OutputContainer, subtitles: io.BytesIO) -> list[Packet]:
    with av.open(subtitles, "r", format="srt") as container:
        stream = out.add_stream_from_template(container.streams.subtitles[0])
        stream.metadata["language"] = "nld"
        packets = [packet for packet in container.demux() if packet.size]
        for packet in packets:
            packet.stream = stream
    return packets


def source_of(path: Path, relative_path: str = "") -> Source:
    """The catalogue's entry for a file."""
    return Source(str(path), relative_path or path.name, Store().identity(str(path)))


def shards_of(path: Path, seconds: Fraction | float = 1) -> list[Shard]:
    """A file's shards of about `seconds`, from its own probe."""
    return plan_shards(source_of(path), probe_video(str(path), Store()), Fraction(seconds))


def whole(path: Path) -> Shard:
    """A file as one shard."""
    return Shard(source_of(path), probe_video(str(path), Store()), PtsRange(None, None))


def planes_digest(frame: VideoFrame) -> str:
    """Hash of a frame's visible samples."""
    return hashlib.sha256(np.ascontiguousarray(frame.to_ndarray()).tobytes()).hexdigest()[:16]


def decoded_by_pyav(path: Path, stream: int = 0) -> list[tuple[int, str]]:
    """(pts, planes' hash) of every frame, straight from PyAV's own loop."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.video[stream])
        return [(int(frame.pts or 0), planes_digest(frame)) for frame in frames]


def constant(size: tuple[int, int], value: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of one grey."""
    return np.full((size[1], size[0], 3), value, np.uint8)


def encode_shard(
    shard: Shard, path: Path, settings: EncodeSettings | None = None, size: SizeSettings | None = None
) -> int:
    """Encode the shard's frames as they are into a segment at `path`; returns how many there were."""
    target = output_picture(shard.probe, size or SizeSettings(scale=1))
    settings = settings or EncodeSettings(preset="ultrafast", crf=30)
    with SegmentWriter(path, shard.probe, target, settings) as writer:
        for frame in read_frames(shard, Store()):
            pts = frame.pts
            scaled = frame.reformat(target.width, target.height, target.pix_fmt)
            scaled.make_writable()
            scaled.pts = pts
            writer.write(scaled)
    writer.check()
    return writer.summary.frames


def encode_segments(
    shards: Sequence[Shard], folder: Path, settings: EncodeSettings | None = None, size: SizeSettings | None = None
) -> list[Path]:
    """A segment for every shard that has a frame, in order of time."""
    folder.mkdir(exist_ok=True)
    paths = [(folder / f"{number}.mp4", shard) for number, shard in enumerate(shards)]
    return [path for path, shard in paths if encode_shard(shard, path, settings, size)]


@dataclass(frozen=True)
class StreamStory:
    """What a demuxer tells about one stream, put together without facemill."""

    kind: str
    codec: str
    language: str
    title: str
    disposition: Disposition
    packets: tuple[str, ...]
    """Hash of each packet."""
    times: tuple[Fraction, ...]
    """pts in seconds of each packet, in coding order."""
    decoding_times: tuple[Fraction, ...]
    """dts in seconds."""


@dataclass(frozen=True)
class FileStory:
    """What a demuxer tells about a file."""

    streams: tuple[StreamStory, ...]
    attachments: tuple[tuple[str, bytes], ...]
    metadata: dict[str, str]
    chapters: tuple[tuple[Fraction, Fraction, str], ...]
    duration: Fraction | None
    rotation: int
    sample_aspect_ratio: Fraction | None

    @property
    def video(self) -> StreamStory:
        return next(stream for stream in self.streams if stream.kind == "video")

    @property
    def others(self) -> list[StreamStory]:
        return [stream for stream in self.streams if stream is not self.video]


def story_of(path: Path, probe: VideoProbe | None = None) -> FileStory:
    """Read a file's streams and tags through PyAV alone."""
    rotation = 0
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            rotation = frame.rotation
            break
    with av.open(str(path)) as container:
        streams = [
            stream
            for stream in container.streams
            if not isinstance(stream, AttachmentStream) and stream.discard != Discard.all  # MP4's chapter track
        ]
        found: dict[int, list[tuple[str, Fraction | None, Fraction | None]]] = {each.index: [] for each in streams}
        for packet in container.demux():
            if packet.size and packet.stream_index in found:
                assert packet.time_base is not None
                times = (None if at is None else at * packet.time_base for at in (packet.pts, packet.dts))
                found[packet.stream_index].append((hashlib.sha256(bytes(packet)).hexdigest()[:16], *times))
        return FileStory(
            streams=tuple(
                StreamStory(
                    kind=each.type,
                    codec=each.codec_context.name if each.codec_context else "",
                    language=each.metadata.get("language", "und"),
                    title=each.metadata.get("title", ""),
                    disposition=each.disposition,
                    packets=tuple(packet for packet, _, _ in found[each.index]),
                    times=tuple(pts for _, pts, _ in found[each.index] if pts is not None),
                    decoding_times=tuple(dts for _, _, dts in found[each.index] if dts is not None),
                )
                for each in streams
            ),
            attachments=_attachments(container),
            metadata=dict(container.metadata),
            chapters=tuple(
                (
                    chapter["start"] * Fraction(chapter["time_base"] or 1),
                    chapter["end"] * Fraction(chapter["time_base"] or 1),
                    chapter["metadata"].get("title", ""),
                )
                for chapter in container.chapters()
            ),
            duration=None if container.duration is None else Fraction(container.duration, av.time_base),
            rotation=rotation,
            sample_aspect_ratio=container.streams.video[0].codec_context.sample_aspect_ratio,
        )


def _attachments(container: InputContainer) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (each.name or "", bytes(each.data)) for each in container.streams if isinstance(each, AttachmentStream)
    )
