"""What a picture says about itself besides its samples: field order, chroma siting, HDR, orientation, cropping, 3-D.

PyAV shows most of it as side data of the first decoded frame, as FFmpeg's structures in memory; where the chroma lies
and what the container crops, it shows only in FFmpeg's description of the file. Decoders do not apply a container's
cropping, so frames stay whole and the result gets the same tag.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, cast

import av
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import SideData, SideDataContainer
from av.sidedata.sidedata import Type as Kind
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from storage.descriptions import described_stream

_ROTATIONS = {
    90: (0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30),
    -90: (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
    180: (-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30),
}
"""Display matrices of plain rotations, by degrees counter-clockwise."""

FieldOrder = Literal["progressive", "top first", "bottom first"]

TOP_FIELD_FIRST, BOTTOM_FIELD_FIRST = 4, 5
"""AVFieldOrder of frames that hold both fields, as FFmpeg's muxers and encoders use it."""

_CHROMA_LOCATIONS = frozenset("left center topleft top bottomleft bottom".split())
_KEPT = {
    Kind.MASTERING_DISPLAY_METADATA,
    Kind.CONTENT_LIGHT_LEVEL,
    Kind.AMBIENT_VIEWING_ENVIRONMENT,
    Kind.DISPLAYMATRIX,
    Kind.STEREO3D,
    Kind.SPHERICAL,
    Kind.A53_CC,  # the encoders write the captions that a frame carries
    Kind.SEI_UNREGISTERED,
    Kind.FILM_GRAIN_PARAMS,  # the decoder has put the grain into the picture
    Kind.MOTION_VECTORS,
    Kind.VIDEO_ENC_PARAMS,
    Kind.VIDEO_HINT,
}
_CALLED = {
    Kind.PANSCAN: "pan and scan rectangle",
    Kind.AFD: "active format description",
    Kind.GOP_TIMECODE: "time code of its groups of pictures",
    Kind.S12M_TIMECODE: "time code of its frames (SMPTE 12M)",
    Kind.ICC_PROFILE: "ICC profile",
    Kind.DYNAMIC_HDR_PLUS: "HDR10+ metadata",
    Kind.DYNAMIC_HDR_VIVID: "HDR Vivid metadata",
    Kind.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    Kind.DOVI_METADATA: "Dolby Vision metadata",
}


@dataclass(frozen=True)
class MasteringDisplay:
    """SMPTE ST 2086: the display that the picture was graded on, each value in the unit that codecs store."""

    primaries: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    """CIE 1931 x and y of red, green and blue, in 1 / 50000."""
    white_point: tuple[int, int]
    """CIE 1931 x and y, in 1 / 50000."""
    luminance: tuple[int, int]
    """(highest, lowest), in 1 / 10000 cd/m2."""


@dataclass(frozen=True)
class Cropping:
    """Pixels that a player leaves out on each side, as the container says; the frames still have them."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def scaled(self, across: Fraction, down: Fraction) -> Cropping:
        """The same of a picture that is `across` times as wide and `down` times as high, to the nearest pixel."""
        return Cropping(
            round(self.left * across), round(self.right * across), round(self.top * down), round(self.bottom * down)
        )


@dataclass(frozen=True)
class PictureTags:
    """Tags of a video stream that go beyond size, shape and colour codes."""

    field_order: FieldOrder = "progressive"
    """Which lines of a frame are shown first: those of its even rows (`top first`), of its odd rows, or all at once."""
    chroma_location: str = ""
    """FFmpeg's name of where 4:2:0 chroma lies, such as `left`; empty when unspecified."""
    mastering_display: MasteringDisplay | None = None
    content_light: tuple[int, int] | None = None
    """(MaxCLL, MaxFALL), cd/m2."""
    ambient_light: tuple[int, int, int] | None = None
    """Illuminance in 1 / 10000 lux, x and y in 1 / 50000."""
    display_matrix: tuple[int, ...] = ()
    """Nine numbers, rows first, as MP4 and FFmpeg store them; empty when the frame is shown as it is coded."""
    stereo_3d: bytes = b""
    """FFmpeg's AVStereo3D."""
    spherical: bytes = b""
    """FFmpeg's AVSphericalMapping."""
    cropping: Cropping = Cropping()
    left_out: tuple[str, ...] = ()
    """What the frames carry besides and the result will not, in words."""

    @property
    def interlaced(self) -> bool:
        return self.field_order != "progressive"

    def scaled(self, across: Fraction, down: Fraction) -> PictureTags:
        """Tags of this picture when it is `across` times as wide and `down` times as high."""
        return replace(self, cropping=self.cropping.scaled(across, down))

    def storable(self) -> PictureTags:
        """These tags without the numbers that neither encoders nor MP4 have room for; Matroska has it for any."""
        display, light, ambient = self.mastering_display, self.content_light, self.ambient_light
        points = (*display.primaries, display.white_point) if display is not None else ()
        return replace(
            self,
            mastering_display=display if all(_has_room(number, 16) for point in points for number in point) else None,
            content_light=light if light and all(_has_room(number, 16) for number in light) else None,
            ambient_light=ambient if ambient and all(map(_has_room, ambient, (32, 16, 16))) else None,
        )

    def of_two_side_by_side(self) -> PictureTags:
        """Tags of a picture that shows this one twice: upright, not mirrored, and without what speaks of its edges."""
        matrix = tuple(_ROTATIONS[self.rotation]) if self.rotation else ()
        return replace(self, display_matrix=matrix, stereo_3d=b"", spherical=b"", cropping=Cropping())

    def unlike(self, written: PictureTags) -> list[str]:
        """What of these tags is not found in those of the result, in words."""
        pairs = {
            "field order": (self.field_order, written.field_order),
            "mastering display metadata": (self.mastering_display, written.mastering_display),
            "content light level": (self.content_light, written.content_light),
            "ambient viewing environment": (self.ambient_light, written.ambient_light),
            "display matrix": (self.display_matrix, written.display_matrix),
            "stereoscopic layout": (self.stereo_3d[:8], written.stereo_3d[:8]),
            "spherical projection": (self.spherical, written.spherical),
            "cropping by the container": (self.cropping, written.cropping),
        }
        return [name for name, (wanted, found) in pairs.items() if wanted != found]

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise, 0, 90, -90 or 180, that turn the coded frame upright; it may still be mirrored."""
        if not self.display_matrix:
            return 0
        _, right, _, _, down, *_ = self.display_matrix  # where a step to the right, and one down, lead vertically
        if abs(down) >= abs(right):
            return 0 if down > 0 else 180
        return -90 if right > 0 else 90


def _has_room(number: int, bits: int) -> bool:
    return 0 <= number < 1 << bits


def read_picture_tags(container: InputContainer, stream: VideoStream, frame: VideoFrame) -> PictureTags:
    """Tags of a stream.

    Args:
        frame: the first decoded frame.
    """
    found = {data.type: data for data in side_data_of(frame)}
    description = described_stream(container, stream.index)
    return PictureTags(
        field_order=_field_order(stream, frame),
        chroma_location=_chroma_location(description),
        mastering_display=_mastering_display(found.get(Kind.MASTERING_DISPLAY_METADATA)),
        content_light=_content_light(found.get(Kind.CONTENT_LIGHT_LEVEL)),
        ambient_light=_ambient_light(found.get(Kind.AMBIENT_VIEWING_ENVIRONMENT)),
        display_matrix=_display_matrix(found.get(Kind.DISPLAYMATRIX)),
        stereo_3d=_bytes_of(found.get(Kind.STEREO3D)),
        spherical=_bytes_of(found.get(Kind.SPHERICAL)),
        cropping=_cropping(description),
        left_out=tuple(sorted({_CALLED.get(kind, kind.name.lower()) for kind in found if kind not in _KEPT})),
    )


def side_data_of(frame: VideoFrame) -> list[SideData]:
    """A frame's side data, one after the other."""
    held = cast(SideDataContainer, frame.side_data)  # the stubs name the one kind that has a class of its own
    return [held[at] for at in range(len(held))]


def crop_exactly(stream: VideoStream) -> None:
    """Let the decoder honour a coded stream's cropping to the pixel; it would round the left edge for faster access."""
    stream.codec_context.flags |= av.codec.context.Flags.unaligned


def _field_order(stream: VideoStream, frame: VideoFrame) -> FieldOrder:
    if frame.interlaced_frame:
        return "top first" if _shows_top_first(frame) else "bottom first"
    return _FIELD_ORDERS.get(stream.codec_context.field_order, "progressive")


_FIELD_ORDERS: dict[int, FieldOrder] = {2: "top first", 3: "bottom first", 4: "top first", 5: "bottom first"}
"""By AVFieldOrder, of streams whose frames say nothing themselves."""


def _shows_top_first(frame: VideoFrame) -> bool:
    """Whether the frame's flag says so, which PyAV has no attribute for: a filter that lets only such frames pass."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    passes = graph.add("select", "eq(interlace_type,TOPFIRST)")
    sink = graph.add("buffersink")
    graph.link_nodes(source, passes, sink).configure()
    graph.vpush(frame)
    try:
        graph.vpull()
    except av.error.BlockingIOError:
        return False
    return True


def _chroma_location(description: list[str]) -> str:
    """From a line such as `... yuv420p(tv, bt709, progressive, left), 1280x720 ...`."""
    told = re.findall(r"[(, ]([a-z]+)\), \d+x\d+", description[0]) if description else []
    return told[0] if told and told[0] in _CHROMA_LOCATIONS else ""


def _cropping(description: list[str]) -> Cropping:
    if "    Side data:" not in description:
        return Cropping()
    for line in description[description.index("    Side data:") :]:
        told = re.fullmatch(r"\s+Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)\s*", line)
        if told:
            return Cropping(*map(int, told.groups()))
    return Cropping()


def _bytes_of(found: SideData | None) -> bytes:
    return bytes(found) if found is not None else b""


def _rationals(found: SideData, count: int) -> list[Fraction]:
    numbers = struct.unpack_from(f"={2 * count}i", bytes(found))
    return [Fraction(numbers[at], numbers[at + 1] or 1) for at in range(0, 2 * count, 2)]


def _mastering_display(found: SideData | None) -> MasteringDisplay | None:
    """From AVMasteringDisplayMetadata: ten rationals, then whether primaries and luminance are known."""
    if found is None:
        return None
    x = [round(value * 50000) for value in _rationals(found, 8)]
    lowest, highest = (round(value * 10000) for value in _rationals(found, 10)[8:])
    if not all(struct.unpack_from("=2i", bytes(found), 80)):
        return None  # codecs store all of it or nothing
    return MasteringDisplay(((x[0], x[1]), (x[2], x[3]), (x[4], x[5])), (x[6], x[7]), (highest, lowest))


def _content_light(found: SideData | None) -> tuple[int, int] | None:
    return struct.unpack_from("=2I", bytes(found)) if found is not None else None


def _ambient_light(found: SideData | None) -> tuple[int, int, int] | None:
    if found is None:
        return None
    illuminance, x, y = _rationals(found, 3)
    return round(illuminance * 10000), round(x * 50000), round(y * 50000)


def _display_matrix(found: SideData | None) -> tuple[int, ...]:
    matrix = struct.unpack_from("=9i", bytes(found)) if found is not None else ()
    return () if matrix[:6] == (65536, 0, 0, 0, 65536, 0) else matrix
