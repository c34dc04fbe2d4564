"""Segments: the encoded frames of one shard, in an MP4 whose timescale is the source's own time base.

A segment is complete in itself (it starts with an IDR frame, plays alone) and every segment of a video carries the
same decoder configuration, so joining is copying packets.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataKind
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from storage.encoding import UNSPECIFIED, EncodeSettings, OutputPicture, tagged_matrix
from storage.errors import MediaError
from storage.picture_tags import BOTTOM_FIELD_FIRST, TOP_FIELD_FIRST, side_data_of
from storage.probe import VideoProbe

_ENCODERS_OF_SOURCES = (
    bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef"),  # x264
    bytes.fromhex("2ca2de09b51747dbbb55a4fe7fc2fc4e"),  # x265
)
"""UUIDs of the user data in which encoders describe themselves: untrue of the result, which has its own."""

_X264_FRAME_PACKING = {(4, 0): 0, (7, 0): 1, (6, 0): 2, (1, 0): 3, (2, 0): 4, (3, 0): 5}
"""(AVStereo3DType, flags) -> frame packing arrangement of H.264."""

_ROOM_FOR_REORDERING = 16
"""Ticks from zero on that the first frame needs in MPEG-TS when others are decoded before it: a dts below zero is none
there."""


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
        self._graphs: dict[tuple[str, ...], Graph] = {}

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

        Raises:
            MemoryError: the encoder cannot work on pictures of this size. Its settings are known to be good, so there
                is nothing else that it may lack.
        """
        _, stream = self._open()
        assert frame.pts is not None
        frame = self._with_true_side_data(frame)
        frame.time_base = self._probe.time_base
        assert frame.pts is not None
        frame.pict_type = PictureType.NONE  # a decoded frame's own type would force the encoder's choice
        self._pts.append(frame.pts)
        try:
            self._packets += stream.encode(frame)
        except av.error.ExternalError as error:
            picture = f"{frame.width}x{frame.height}"
            raise MemoryError(f"the encoder does not take a picture of {picture}: {error.strerror}") from error

    def _with_true_side_data(self, frame: VideoFrame) -> VideoFrame:
        """The frame with its field order as the encoder reads it, and without another encoder's words about itself."""
        wanted = []
        if self._picture.field_order != "progressive":
            wanted.append("setfield=tff" if self._picture.field_order == "top first" else "setfield=bff")
        user_data = [data for data in side_data_of(frame) if data.type == SideDataKind.SEI_UNREGISTERED]
        if user_data and all(bytes(data)[:16] in _ENCODERS_OF_SOURCES for data in user_data):
            wanted.append("sidedata=mode=delete:type=SEI_UNREGISTERED")
        if not wanted:
            return frame
        graph = self._graphs.setdefault(tuple(wanted), Graph())
        if not graph.configured:
            _configure(graph, frame, wanted)
        graph.vpush(frame)
        passed = graph.vpull()
        passed.pts = frame.pts
        return passed

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
        if (matrix := tagged_matrix(probe, picture)) != UNSPECIFIED:
            context.colorspace = matrix
        if probe.color_primaries != UNSPECIFIED:
            context.color_primaries = probe.color_primaries
        if probe.color_trc != UNSPECIFIED:
            context.color_trc = probe.color_trc
        context.thread_count = self._threads
        if picture.field_order != "progressive":
            context.field_order = TOP_FIELD_FIRST if picture.field_order == "top first" else BOTTOM_FIELD_FIRST
            if codes_fields(picture, self._settings):
                context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        if self._settings.codec == "hevc":
            context.codec_tag = "hvc1"  # the tag that Apple's players ask for
        return stream

    def _encoder_options(self) -> dict[str, str]:
        tags = self._probe.tags
        lossless = (
            self._settings.crf == 0
        )  # which x264 takes for a constant quantizer of 0 in every depth, not for crf 0
        options = {
            **({"qp": "0"} if lossless and self._settings.codec == "h264" else {"crf": f"{self._settings.crf:g}"}),
            "preset": self._settings.preset,
            "udu_sei": "1",  # cameras keep readings in user data
        }
        if self._probe.container == "mpegts" and self._probe.first_pts < _ROOM_FOR_REORDERING:
            options["bf"] = "0"
        if tags.chroma_location and self._picture.log2_chroma == (1, 1):
            options["chroma_sample_location"] = tags.chroma_location
        if self._settings.codec == "hevc":
            # info=0: x265 would write its thread count and CPU into the decoder configuration, and segments of two
            # machines would not join.
            own = ["log-level=error", "info=0", "no-open-gop=1", f"pools={self._threads}"]
            own += ["lossless=1"] if lossless else []
            options["x265-params"] = ":".join([*own, *self._hdr_parameters("master-display", "max-cll")])
            return options
        own = self._hdr_parameters("mastering-display", "cll")
        packing = _X264_FRAME_PACKING.get(struct.unpack_from("=2i", tags.stereo_3d)) if tags.stereo_3d else None
        if packing is not None:
            own.append(f"frame-packing={packing}")
        if own:
            options["x264-params"] = ":".join(own)
        return options

    def _hdr_parameters(self, mastering: str, light: str) -> list[str]:
        """Static HDR metadata as parameters of an encoder, by the names it has for them."""
        tags, told = self._probe.tags.storable(), []
        if tags.mastering_display:
            red, green, blue = ("({},{})".format(*point) for point in tags.mastering_display.primaries)
            white = "({},{})".format(*tags.mastering_display.white_point)
            luminance = "({},{})".format(*tags.mastering_display.luminance)
            told.append(f"{mastering}=G{green}B{blue}R{red}WP{white}L{luminance}")
        if tags.content_light:
            told.append(f"{light}={tags.content_light[0]},{tags.content_light[1]}")
        return told


def codes_fields(picture: OutputPicture, settings: EncodeSettings) -> bool:
    """Whether the encoder can code a picture's two fields as such.

    x265 only takes fields as frames of their own, with a timestamp each; x264 only an even number of lines.
    """
    return picture.field_order != "progressive" and settings.codec == "h264" and picture.height % 2 == 0


def _configure(graph: Graph, frame: VideoFrame, filters: Sequence[str]) -> None:
    """Make `graph` a chain of `filters`, written as FFmpeg writes them, for frames such as this."""
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    chain = [graph.add(*each.split("=", 1)) for each in filters]
    graph.link_nodes(source, *chain, graph.add("buffersink")).configure()


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
