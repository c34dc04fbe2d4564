"""How restored frames are encoded: the settings, and the pixel format and size that a source is worked in."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from av.video.format import VideoFormat
from pydantic import BaseModel, ConfigDict, Field, field_validator

from storage.errors import SourceError
from storage.picture_tags import FieldOrder
from storage.probe import VideoProbe

Codec = Literal["h264", "hevc"]
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"
]

MAX_FRAME_SIDE = 16384
"""Widest and tallest frame that x264 takes, pixels."""

MIN_FRAME_SIDE = 16
"""Narrowest and flattest frame that x265 takes, pixels. x264 takes smaller ones; nobody asks for them by --size."""

MOST_STRETCHED = 100
"""Times that a pixel of a --size may be longer one way than the other. x265 takes no more than somewhat above that."""


class EncodeSettings(BaseModel):
    """Codec and quality of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: Codec = "h264"
    crf: float = Field(18.0, ge=0, le=51)
    """Constant rate factor of x264 and x265: lower is better, 18 is about transparent, 0 is lossless."""
    preset: Preset = "fast"

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the encoder."""
        return {"h264": "libx264", "hevc": "libx265"}[self.codec]


class SizeSettings(BaseModel):
    """What the result's frames are: a factor of the source's size, or exact pixels; interlaced or not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Literal[1, 2, 4] = 2
    size: str | None = Field(None, pattern=r"^[1-9]\d{0,4}x[1-9]\d{0,4}$")
    """`WxH` in pixels of the coded frame; overrides `scale`. The sample aspect ratio changes so that the picture
    keeps its shape."""
    deinterlace: bool = False
    """Make one full frame of the two fields of each interlaced frame; otherwise both are kept, scaled apart."""

    @field_validator("size")
    @classmethod
    def _sides(cls, value: str | None) -> str | None:
        if value is not None and not all(MIN_FRAME_SIDE <= int(side) <= MAX_FRAME_SIDE for side in value.split("x")):
            raise ValueError(f"each side must have {MIN_FRAME_SIDE} to {MAX_FRAME_SIDE} pixels")
        return value

    @field_validator("scale", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdecimal() else value  # a flag gives text


@dataclass(frozen=True)
class OutputPicture:
    """The frames that the encoder is handed, for one source."""

    width: int
    height: int
    pix_fmt: str
    """FFmpeg's name; planar YUV or grey, of the source's own depth and subsampling where the codec has it."""
    sample_aspect_ratio: Fraction
    field_order: FieldOrder = "progressive"
    """Of the frames handed over: an interlaced source's own, unless it was deinterlaced."""

    @property
    def bits(self) -> int:
        """Bits a sample."""
        return VideoFormat(self.pix_fmt).components[0].bits

    @property
    def log2_chroma(self) -> tuple[int, int]:
        """(horizontal, vertical) log2 of the chroma subsampling; (0, 0) for 4:4:4 and grey."""
        return chroma_subsampling(self.pix_fmt)


def output_picture(probe: VideoProbe, size: SizeSettings, codec: Codec = "h264") -> OutputPicture:
    """Size, pixel format, sample aspect ratio and field order of the result for a source.

    Of what is returned, the codec decides the depth only, which no geometry depends on.

    Raises:
        SourceError: the result would be larger or smaller than the codec takes, or its pixels absurdly stretched.
    """
    if size.size is None:
        width, height = probe.width * size.scale, probe.height * size.scale
    else:
        width, height = (int(side) for side in size.size.split("x"))
    shape = Fraction(probe.width * height, probe.height * width)
    field_order: FieldOrder = "progressive" if size.deinterlace else probe.tags.field_order
    picture = OutputPicture(
        width,
        height,
        _working_pix_fmt(probe.pix_fmt, width, height, codec, interlaced=field_order != "progressive"),
        probe.sample_aspect_ratio * shape,
        field_order,
    )
    require_encodable(picture, "choose a smaller --scale")
    if codec == "hevc" and min(width, height) < MIN_FRAME_SIDE:
        raise SourceError(
            f"a result of {width}x{height} is smaller than the {MIN_FRAME_SIDE} pixels a side that HEVC's encoder "
            "takes: choose a larger --scale, or --codec h264"
        )
    if size.size is not None:
        _require_shape(picture, probe, size.size)
    return picture


def _require_shape(picture: OutputPicture, probe: VideoProbe, size: str) -> None:
    """Raise SourceError when a size that was asked for is far from the shape of the source."""
    stretched = max(picture.sample_aspect_ratio, 1 / picture.sample_aspect_ratio)
    if stretched > MOST_STRETCHED:
        raise SourceError(
            f"--size {size} is too far from the shape of this source, {probe.width}x{probe.height}: a pixel would be "
            f"{float(stretched):.0f} times as long one way as the other. Choose a size nearer to it"
        )


UNSPECIFIED, RGB = 2, 0
_BT709, _BT601 = 1, 6
"""H.273 MatrixCoefficients."""

_SD_HEIGHT = 576


def matrix_code(probe: VideoProbe) -> int:
    """H.273 code of the matrix between the result's YCbCr and RGB.

    Untagged video is taken as players take it, BT.601 up to 576 lines, else BT.709; so is what RGB is converted to.
    """
    if probe.colorspace not in (UNSPECIFIED, RGB):
        return probe.colorspace
    return _assumed_matrix(probe.height)


def tagged_matrix(probe: VideoProbe, picture: OutputPicture) -> int:
    """The matrix code that the result says; unspecified where the source says nothing and players guess right."""
    if probe.colorspace == UNSPECIFIED and _assumed_matrix(probe.height) == _assumed_matrix(picture.height):
        return UNSPECIFIED
    return matrix_code(probe)


def _assumed_matrix(height: int) -> int:
    return _BT601 if height <= _SD_HEIGHT else _BT709


def require_encodable(picture: OutputPicture, advice: str) -> None:
    """Raise SourceError, with `advice`, when a picture is larger than the encoders take."""
    if max(picture.width, picture.height) > MAX_FRAME_SIDE:
        raise SourceError(
            f"a result of {picture.width}x{picture.height} is larger than {MAX_FRAME_SIDE} pixels a side: {advice}"
        )


_DEEPEST = {"h264": 10, "hevc": 12}
"""Bits a sample that the encoders take."""


def _working_pix_fmt(source: str, width: int, height: int, codec: Codec, *, interlaced: bool) -> str:
    """The planar format nearest to `source` that the codec's encoder takes at this size.

    4:2:0 and 4:2:2 need even sides: an odd one is written as 4:4:4. Fields in 4:2:0 need a height of whole fours: else
    4:2:2. RGB and palette sources become 4:2:0, which every player shows. Odd depths go to the next that there is.
    """
    described = VideoFormat(source)
    deep = _depth_suffix(max(component.bits for component in described.components), codec)
    if source.startswith(("gray", "ya")):
        return f"gray{deep}"
    across, down = chroma_subsampling(source)
    layout = {(1, 1): "420", (1, 0): "422", (0, 0): "444"}.get((across, down), "444")
    if described.is_rgb or source.startswith(("pal", "mono")):
        layout = "420"
    if interlaced and layout == "420" and height % 4:
        layout = "422"
    if (layout == "420" and (width % 2 or height % 2)) or (layout == "422" and width % 2):
        layout = "444"
    full_range = "j" if source.startswith("yuvj") and not deep else ""
    return f"yuv{full_range}{layout}p{deep}"


def _depth_suffix(bits: int, codec: Codec) -> str:
    depth = next((depth for depth in (8, 10, 12) if depth >= bits), 12)
    depth = min(depth, _DEEPEST[codec])
    return "" if depth == 8 else f"{depth}le"


def lost_in_format(source: str, result: str) -> list[str]:
    """What a picture in the pixel format `source` has and one in the format `result` has not, in words."""
    described, told = VideoFormat(source), []
    if any(component.is_alpha for component in described.components):
        told.append("transparency")
    bits = max(component.bits for component in described.components)
    kept = VideoFormat(result).components[0].bits
    if bits > kept:
        told.append(f"{bits} bits a sample (the result has {kept})")
    if described.is_rgb or source.startswith("pal"):
        told.append(f"RGB samples (the result is {result})")
    return told


def chroma_subsampling(pix_fmt: str) -> tuple[int, int]:
    """(horizontal, vertical) log2 of the chroma subsampling of a pixel format."""
    described = VideoFormat(pix_fmt, 64, 64)
    if described.is_rgb or len(described.components) < 3:
        return 0, 0
    return (64 // described.chroma_width()).bit_length() - 1, (64 // described.chroma_height()).bit_length() - 1
