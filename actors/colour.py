"""Between the planes a video is stored in and the RGB that detectors and experts work on.

The background never changes colour space: it is scaled in the source's own planes. Only crops go to RGB, and only
patches come back, by the matrix and range that the source is tagged with (ITU-R BT.601, BT.709, BT.2020).
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from storage.encoding import OutputPicture, matrix_code
from storage.probe import VideoProbe

SCALER = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
"""Exact rounding and full-resolution chroma: the fast paths of the scaler shift colours by up to two levels."""

_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""By H.273 MatrixCoefficients."""


def matrix_of(probe: VideoProbe) -> Colorspace:
    """The matrix between the result's YCbCr and RGB; BT.601 for the few that the scaler does not know."""
    return _MATRIX.get(matrix_code(probe), Colorspace.ITU601)


def frame_to_rgb(frame: VideoFrame, probe: VideoProbe) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded frame."""
    if _is_limited_grey(frame.format.name, probe):
        step = 2.0 ** (frame.format.components[0].bits - 8)
        levels = (plane_views(frame)[0].astype(np.float32) / step - 16) * (255 / 219)
        grey = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return frame.to_ndarray(
        format="rgb24",
        src_colorspace=matrix_of(probe),
        dst_colorspace=matrix_of(probe),
        src_color_range=ColorRange(probe.color_range),
        dst_color_range=ColorRange.JPEG,
        interpolation=SCALER,
    )


def rgb_to_planes(patch_rgb: np.ndarray, probe: VideoProbe, picture: OutputPicture) -> tuple[np.ndarray, ...]:
    """A patch in the result's own planes.

    Args:
        patch_rgb: (H, W, 3) uint8 RGB, its corner on a chroma sample of the result.

    Returns:
        Y, Cb, Cr (grey: Y alone), uint8 or uint16, chroma of ceil(H / step) x ceil(W / step).
    """
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(patch_rgb), format="rgb24")
    if _is_limited_grey(picture.pix_fmt, probe):
        weights = np.array((0.299, 0.587, 0.114), np.float32)
        step = 2 ** (picture.bits - 8)
        levels = step * (16 + (patch_rgb.astype(np.float32) @ weights) * (219 / 255))
        return (np.rint(levels).astype(np.uint8 if picture.bits == 8 else np.dtype("<u2")),)
    converted = frame.reformat(
        format=picture.pix_fmt,
        src_colorspace=matrix_of(probe),
        dst_colorspace=matrix_of(probe),
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange(probe.color_range),
        interpolation=SCALER,
    )
    return tuple(plane.copy() for plane in plane_views(converted))


def _is_limited_grey(pix_fmt: str, probe: VideoProbe) -> bool:
    """Grey of limited range, which swscale takes for full whatever it is told; HEVC without chroma is such."""
    return pix_fmt.startswith("gray") and probe.color_range == ColorRange.MPEG


def plane_views(frame: VideoFrame) -> tuple[np.ndarray, ...]:
    """The planes of a planar frame as arrays (H, W) of uint8, or uint16 above 8 bits, that share its memory."""
    deep = frame.format.components[0].bits > 8
    dtype: np.dtype[np.uint8 | np.uint16] = np.dtype("<u2") if deep else np.dtype(np.uint8)
    return tuple(
        np.frombuffer(memoryview(plane), dtype=dtype).reshape(plane.height, plane.line_size // dtype.itemsize)[
            :, : plane.width
        ]
        for plane in frame.planes
    )
