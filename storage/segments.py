"""Segments: the encoded frames of one shard, in an MP4 whose timescale is the source's own time base.

A segment is complete in itself (it starts with an IDR frame, plays alone) and every segment of a video carries the
same decoder configuration, so joining is copying packets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from storage.encoding import EncodeSettings, OutputPicture
from storage.errors import MediaError
from storage.probe import VideoProbe

_UNSPECIFIED = 2
"""Value of every H.273 colour code that says nothing."""


def pts_digest(all_pts: Iterable[int]) -> str:
    """A short hash of a list of pts, to compare two readings of a range without carrying the list."""
    return hashlib.sha256(",".join(map(str, all_pts)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SegmentSummary:
    """What a segment holds, as its writer counted it."""

    frames: int
    first_pts: int | None
    """None when there are no frames, and then no file either."""
    last_pts: int | None
    digest: str
    """`pts_digest` of the frames."""
    size: int
    """Bytes of the file."""
    sha256: str
    """Of the file; empty when there is none."""


def file_sha256(path: Path) -> str:
    """Hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SegmentWriter:
    """Encodes frames into one segment file. Use as a context manager, then ask for `summary`."""

    def __init__(
        self, path: Path, probe: VideoProbe, picture: OutputPicture, settings: EncodeSettings, *, threads: int = 1
    ) -> None:
        """Args:
        path: where the MP4 goes; not created when no frame comes.
        probe: of the source; gives the time base and the colour tags.
        picture: size and pixel format of the frames to come.
        threads: encoder threads.
        """
        self._path, self._probe, self._picture, self._settings = path, probe, picture, settings
        self._threads = threads
        self._pts: list[int] = []
        self._packets: list[Packet] = []
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._container is None or self._stream is None:
            return
        try:
            if kind is None:
                self._packets += self._stream.encode(None)
                self._mux(self._container)
        finally:
            self._container.close()

    def write(self, frame: VideoFrame) -> None:
        """Encode one frame.

        Args:
            frame: of the size and format of `picture`, pts in the source's time base and rising from call to call.
        """
        _, stream = self._open()
        assert frame.pts is not None
        frame.time_base = self._probe.time_base
        frame.pict_type = PictureType.NONE  # a decoded frame's own type would force the encoder's choice
        self._pts.append(frame.pts)
        self._packets += stream.encode(frame)

    def _mux(self, container: OutputContainer) -> None:
        # libx265 leaves dts unset when it is given fewer frames than it reorders, so none of an encoder's is used.
        times = decoding_times([packet.pts or 0 for packet in self._packets], self._probe.frame_ticks)
        for packet, dts in zip(self._packets, times, strict=True):
            packet.dts = int(dts)
            container.mux_one(packet)
        self._packets.clear()

    @property
    def summary(self) -> SegmentSummary:
        """Valid after the context is left."""
        if not self._pts:
            return SegmentSummary(0, None, None, pts_digest(()), 0, "")
        size, sha256 = self._path.stat().st_size, file_sha256(self._path)
        return SegmentSummary(len(self._pts), self._pts[0], self._pts[-1], pts_digest(self._pts), size, sha256)

    def check(self) -> None:
        """Read the file back: its packets must carry exactly the pts that were written.

        Raises:
            MediaError: they do not.
        """
        if not self._pts:
            return
        found = sorted(pts for pts, _ in segment_timing(self._path, self._probe.time_base))
        if found != self._pts:
            raise MediaError(
                f"{self._path.name}: wrote {len(self._pts)} frames with pts {self._pts[:3]}..., "
                f"read back {len(found)} with {found[:3]}... This is a fault of facemill's writer: please report it"
            )

    def _open(self) -> tuple[OutputContainer, VideoStream]:
        if self._container is None or self._stream is None:
            time_base = self._probe.time_base
            # The edit list that places the first frame is counted in the movie timescale.
            options = {
                "video_track_timescale": str(time_base.denominator),
                "movie_timescale": str(time_base.denominator),
            }
            self._container = av.open(str(self._path), "w", format="mp4", options=options)
            self._stream = self._add_stream(self._container)
        return self._container, self._stream

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        probe, picture = self._probe, self._picture
        rate = (1 / (probe.frame_ticks * probe.time_base)).limit_denominator(1001)
        stream = container.add_stream(self._settings.encoder, rate=rate, options=self._encoder_options())
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.pix_fmt
        context.time_base = probe.time_base
        context.framerate = rate
        context.sample_aspect_ratio = picture.sample_aspect_ratio.limit_denominator(65535)
        context.color_range = probe.color_range
        if probe.colorspace != _UNSPECIFIED and probe.colorspace != 0:  # 0 is RGB, which the result never is
            context.colorspace = probe.colorspace
        if probe.color_primaries != _UNSPECIFIED:
            context.color_primaries = probe.color_primaries
        if probe.color_trc != _UNSPECIFIED:
            context.color_trc = probe.color_trc
        context.thread_count = self._threads
        if self._settings.codec == "hevc":
            context.codec_tag = "hvc1"  # the tag that Apple's players ask for
        return stream

    def _encoder_options(self) -> dict[str, str]:
        options = {"crf": f"{self._settings.crf:g}", "preset": self._settings.preset}
        if self._settings.codec == "hevc":
            # info=0: x265 would write its thread count and CPU into the decoder configuration, and segments of two
            # machines would not join.
            options["x265-params"] = f"log-level=error:info=0:no-open-gop=1:pools={self._threads}"
        return options


def decoding_times(pts: Sequence[int] | np.ndarray, frame_ticks: Fraction) -> np.ndarray:
    """A dts for each of the `pts` in coding order: strictly rising, never after the pts.

    Packet i is decoded when the frame shown D places earlier is shown, where D is the deepest reordering; the first D
    packets are decoded before the first frame, a nominal frame apart, or closer where dts would begin below zero,
    which MPEG-TS cannot hold.

    Returns:
        (N,) int64.
    """
    shown = np.sort(np.asarray(pts, dtype=np.int64))
    if not len(shown):
        return shown
    lead = leading_times(int(shown[0]), reordering_depth(pts), frame_ticks)
    return np.concatenate([lead, shown])[: len(shown)]


def reordering_depth(pts: Sequence[int] | np.ndarray) -> int:
    """How many packets, of those with `pts` in coding order, are decoded before the one that is shown first."""
    coded = np.asarray(pts, dtype=np.int64)
    rank = np.searchsorted(np.sort(coded), coded)
    return int(np.max(np.arange(len(coded)) - rank, initial=0))


def leading_times(first_pts: int, depth: int, frame_ticks: Fraction) -> np.ndarray:
    """dts of the `depth` packets that are decoded before the frame at `first_pts` is shown.

    Returns:
        (depth,) int64, rising.
    """
    step = max(1, math.floor(frame_ticks))
    if depth and first_pts >= depth:
        step = min(step, first_pts // depth)
    return first_pts - step * np.arange(depth, 0, -1, dtype=np.int64)


def segment_timing(path: Path, time_base: Fraction) -> list[tuple[int, bool]]:
    """(pts, is_keyframe) of every packet of a segment, in coding order, pts in ticks of `time_base`."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            (in_ticks(packet.pts, packet.time_base, time_base), packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.pts is not None
        ]


def in_ticks(pts: int, of: Fraction, time_base: Fraction) -> int:
    """`pts` counted in `of`, exactly, in ticks of `time_base`.

    Raises:
        MediaError: it falls between two ticks.
    """
    ticks = pts * of / time_base
    if ticks.denominator != 1:
        raise MediaError(f"pts {pts} in units of {of} s is no whole number of ticks of {time_base} s")
    return int(ticks)
