"""The two moments of an interlaced frame, apart and together again.

The even rows of such a frame are one moment, the odd rows another. Scaled as one picture they would mix; scaled as two
of half the height they would end up half a line apart, for a row of one field lies between two rows of the other. So
each field is first made a picture of full height: its own rows where they are, the others interpolated from them. Two
such pictures are scaled as any other, and every second row of each makes the result. Chroma of 4:2:0 lies alike: row r
belongs to the field of luma row r, in the middle of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame

from actors.colour import plane_views
from storage.encoding import chroma_subsampling
from storage.picture_tags import FieldOrder


def moments_of(frame: VideoFrame, field_order: FieldOrder) -> list[VideoFrame]:
    """The pictures that a frame shows one after the other: itself, or its two fields at full height.

    Args:
        frame: a decoded frame; not changed.

    Returns:
        One frame, or two new ones of its size and depth, the field that is shown first at the front.
    """
    if field_order == "progressive":
        return [frame]
    planar = frame.reformat(format=_planar(frame.format.name))
    return [_field_at_full_height(planar, parity) for parity in _parities(field_order)]


def weave(target: VideoFrame, moments: Sequence[VideoFrame], field_order: FieldOrder) -> None:
    """Fill `target` with every second row of each of two pictures of its size and format, in place."""
    for moment, parity in zip(moments, _parities(field_order), strict=True):
        for plane, rows in zip(plane_views(target), plane_views(moment), strict=True):
            plane[parity::2] = rows[parity::2]


def _parities(field_order: FieldOrder) -> tuple[int, int]:
    """Which rows, even or odd, are shown first and second."""
    return (0, 1) if field_order == "top first" else (1, 0)


def _field_at_full_height(frame: VideoFrame, parity: int) -> VideoFrame:
    picture = VideoFrame(frame.width, frame.height, frame.format.name)
    bits = frame.format.components[0].bits
    for plane, source in zip(plane_views(picture), plane_views(frame), strict=True):
        fill_from_field(plane, source, parity, bits)
    picture.pts, picture.duration = frame.pts, frame.duration
    return picture


def fill_from_field(plane: np.ndarray, source: np.ndarray, parity: int, bits: int) -> None:
    """Make a plane of one field: its rows as they are, the others by the cubic (-1, 9, 9, -1) / 16 through them.

    Args:
        plane: (H, W) uint8 or uint16, is filled.
        source: (H, W) of the same type; rows `parity`, `parity` + 2, ... are read.
        bits: a sample's.
    """
    lines = source[parity::2].astype(np.int32)
    plane[parity::2] = source[parity::2]
    missing = plane[1 - parity :: 2]
    if not len(lines) or not len(missing):
        return
    # The row between lines k and k + 1 of the field; a field of odd rows begins with one before its line 0.
    first = np.arange(len(missing)) - parity
    near = [lines[np.clip(first + offset, 0, len(lines) - 1)] for offset in (-1, 0, 1, 2)]
    between = (9 * (near[1] + near[2]) - near[0] - near[3] + 8) >> 4
    missing[:] = np.clip(between, 0, (1 << bits) - 1)


def _planar(pix_fmt: str) -> str:
    """The format with a plane for each component that holds the same samples."""
    described = VideoFormat(pix_fmt)
    if len(described.components) == 1 or (described.is_planar and not pix_fmt.startswith(("nv", "p0"))):
        return pix_fmt
    if described.is_rgb:
        return "gbrp"
    across, down = chroma_subsampling(pix_fmt)
    layout = {(1, 1): "420", (1, 0): "422", (0, 0): "444"}[across, down]
    bits = described.components[0].bits
    return f"yuv{layout}p" if bits == 8 else f"yuv{layout}p{bits}le"
