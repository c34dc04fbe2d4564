"""Boxes, crop rectangles and their place in the scaled frame. Pixels; x to the right, y down; half-open rectangles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:  # training needs geometry, and none of what storage needs
    from storage.encoding import OutputPicture
    from storage.probe import VideoProbe

Landmarks = tuple[tuple[float, float], ...]
"""Five points (x, y) of a face, in the convention of boxes (the first pixel is [0, 1)): left eye, right eye, nose, left
and right corner of the mouth, as seen in the upright picture."""

CROP_MARGIN = 0.15
"""A crop is the face box widened by this share of its size on each side: room for the mask to fade out."""


class Box(NamedTuple):
    """A face box in source pixels, real-valued: [x0, x1) x [y0, y1)."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    def grown(self, share: float) -> Box:
        """The box with a share of its width added on the left and on the right, and of its height above and below."""
        across, down = share * self.width, share * self.height
        return Box(self.x0 - across, self.y0 - down, self.x1 + across, self.y1 + down)


class Rect(NamedTuple):
    """A rectangle of whole pixels: [x0, x1) x [y0, y1)."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of an image (H, W, ...) that picks this rectangle."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def contains(self, other: Rect) -> bool:
        """Whether the other, which must not be empty, lies inside this one."""
        across = self.x0 <= other.x0 < other.x1 <= self.x1
        return across and self.y0 <= other.y0 < other.y1 <= self.y1

    def intersection(self, other: Rect) -> Rect:
        """What is in both; without width or height where nothing is."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Rect(x0, y0, max(x0, min(self.x1, other.x1)), max(y0, min(self.y1, other.y1)))

    def slices_in(self, bounds: Rect) -> tuple[slice, slice]:
        """Index of this rectangle in an image that fills `bounds`."""
        return Rect(self.x0 - bounds.x0, self.y0 - bounds.y0, self.x1 - bounds.x0, self.y1 - bounds.y0).slices


@dataclass(frozen=True)
class Placement:
    """How source pixels become result pixels: one factor an axis, and the alignment that chroma asks for."""

    source_size: tuple[int, int]
    """(width, height)."""
    result_size: tuple[int, int]
    """(width, height)."""
    chroma_step: tuple[int, int] = (1, 1)
    """Result pixels from one chroma sample to the next, (across, down)."""

    @classmethod
    def of(cls, probe: VideoProbe, picture: OutputPicture) -> Placement:
        """Placement of a source's frames in its result."""
        across, down = picture.log2_chroma
        return cls((probe.width, probe.height), (picture.width, picture.height), (1 << across, 1 << down))

    @property
    def factors(self) -> tuple[float, float]:
        """Result pixels per source pixel, (across, down)."""
        return self.result_size[0] / self.source_size[0], self.result_size[1] / self.source_size[1]

    def crop_rect(self, box: Box, tile: Rect | None = None, *, step: int = 2) -> Rect:
        """The source pixels an expert is shown for a face: the box with its margin, inside the frame.

        Edges are even, so that a result of the same size cuts no chroma sample in two.

        Args:
            tile: of a meeting, in which the crop and its place in the result stay.
            step: edges are at multiples of so many px, an even number; at the frame's and the tile's edge at that edge.
        """
        shown = box.grown(CROP_MARGIN)
        width, height = self.source_size
        x0, y0, x1, y1 = self._inner(tile) if tile else (0, 0, width, height)
        return Rect(
            max(x0, step * math.floor(shown.x0 / step)),
            max(y0, step * math.floor(shown.y0 / step)),
            min(x1, step * math.ceil(shown.x1 / step)),
            min(y1, step * math.ceil(shown.y1 / step)),
        )

    def _inner(self, tile: Rect) -> Rect:
        """The largest rectangle with even edges that is inside a tile, in the result too; edges of the frame stay."""
        (width, height), (fx, fy), (sx, sy) = self.source_size, self.factors, self.chroma_step
        return Rect(
            _first_even(tile.x0, fx, sx),
            _first_even(tile.y0, fy, sy),
            width if tile.x1 == width else _last_even(tile.x1, fx, sx),
            height if tile.y1 == height else _last_even(tile.y1, fy, sy),
        )

    def result_rect(self, crop: Rect) -> Rect:
        """The result pixels that show the source pixels of `crop`, grown to whole chroma samples."""
        (fx, fy), (sx, sy), (width, height) = self.factors, self.chroma_step, self.result_size
        return Rect(
            math.floor(crop.x0 * fx / sx) * sx,
            math.floor(crop.y0 * fy / sy) * sy,
            min(width, math.ceil(crop.x1 * fx / sx) * sx),
            min(height, math.ceil(crop.y1 * fy / sy) * sy),
        )

    def resample(self, restored: np.ndarray, crop: Rect) -> np.ndarray:
        """A restored crop at the result's scale.

        Args:
            restored: (k * crop.height, k * crop.width, 3) uint8 RGB, k the expert's scale.
            crop: the source pixels it was restored from.

        Returns:
            (H, W, 3) uint8 RGB that fills `result_rect(crop)`.
        """
        target = self.result_rect(crop)
        (fx, fy) = self.factors
        if target == (crop.x0 * fx, crop.y0 * fy, crop.x1 * fx, crop.y1 * fy):
            size = (target.width, target.height)
            same_size = size == restored.shape[1::-1]
            return restored if same_size else cv2.resize(restored, size, interpolation=cv2.INTER_AREA)
        return _resample_between_pixels(restored, crop, target, fx, fy)

    def crop_to_result_box(self, box: Box) -> Box:
        """A source box in result pixels."""
        fx, fy = self.factors
        return Box(box.x0 * fx, box.y0 * fy, box.x1 * fx, box.y1 * fy)

    def landmarks_in_result(self, landmarks: Landmarks) -> Landmarks:
        """Landmarks of the source in result pixels."""
        fx, fy = self.factors
        return tuple((x * fx, y * fy) for x, y in landmarks)


def _resample_between_pixels(restored: np.ndarray, crop: Rect, target: Rect, fx: float, fy: float) -> np.ndarray:
    """Resample where result pixels do not fall on the crop's edges: low-pass, then an affine warp of pixel centres."""
    scale_x, scale_y = restored.shape[1] / crop.width, restored.shape[0] / crop.height
    step_x, step_y = scale_x / fx, scale_y / fy  # restored pixels per result pixel
    if max(step_x, step_y) > 1:
        restored = cv2.GaussianBlur(restored, (0, 0), sigmaX=max(0.01, 0.4 * step_x), sigmaY=max(0.01, 0.4 * step_y))
    offset_x = ((target.x0 + 0.5) / fx - crop.x0) * scale_x - 0.5
    offset_y = ((target.y0 + 0.5) / fy - crop.y0) * scale_y - 0.5
    matrix = np.array([[step_x, 0, offset_x], [0, step_y, offset_y]])
    return cv2.warpAffine(
        restored,
        matrix,
        (target.width, target.height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _first_even(start: int, factor: float, step: int) -> int:
    """The first even source pixel from `start` on whose place in the result, on a chroma sample, is so too."""
    pixel = _even_ceil(start)
    while math.floor(pixel * factor / step) * step < start * factor:
        pixel += 2
    return pixel


def _last_even(end: int, factor: float, step: int) -> int:
    """The last even source pixel up to `end`, likewise."""
    pixel = _even_floor(end)
    while math.ceil(pixel * factor / step) * step > end * factor:
        pixel -= 2
    return pixel


def _even_floor(value: float) -> int:
    return 2 * math.floor(value / 2)


def _even_ceil(value: float) -> int:
    return 2 * math.ceil(value / 2)


def rotate_box(box: Box, turns: int, width: int, height: int) -> Box:
    """The box of the same pixels after an image of `width` x `height` is turned left by `turns` * 90 degrees.

    Matches `numpy.rot90(image, turns)`.
    """
    for _ in range(turns % 4):
        box = Box(box.y0, width - box.x1, box.y1, width - box.x0)
        width, height = height, width
    return box


def rotate_landmarks(landmarks: Landmarks, turns: int, width: float, height: float) -> Landmarks:
    """The same points after an image of `width` x `height` is turned left by `turns` * 90 degrees, as `rotate_box`."""
    for _ in range(turns % 4):
        landmarks = tuple((y, width - x) for x, y in landmarks)
        width, height = height, width
    return landmarks


def landmarks_in_crop(landmarks: Landmarks, crop: Rect, turns: int) -> Landmarks:
    """Landmarks of a frame in the pixels of a crop, after that was turned left by `turns` * 90 degrees."""
    in_crop = tuple((x - crop.x0, y - crop.y0) for x, y in landmarks)
    return rotate_landmarks(in_crop, turns, crop.width, crop.height)


def similarity_transform(source_xy: np.ndarray, target_xy: np.ndarray) -> np.ndarray:
    """The turn, scale and shift that brings points nearest to others in the least-squares sense (Umeyama, 1991).

    Args:
        source_xy, target_xy: (N, 2), N at least 2, not all equal.

    Returns:
        (2, 3) float64 matrix M with target ~ M[:, :2] @ source + M[:, 2]; it never mirrors.
    """
    source, target = np.asarray(source_xy, np.float64), np.asarray(target_xy, np.float64)
    # In complex numbers a similarity is z -> a z + b, and least squares has one unknown factor.
    start, end = source @ (1, 1j), target @ (1, 1j)
    centred = start - start.mean()
    factor = np.vdot(centred, end - end.mean()) / np.vdot(centred, centred).real
    shift = end.mean() - factor * start.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
