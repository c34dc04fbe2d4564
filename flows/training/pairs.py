"""The stream of training pairs: faces on canvases, through a codec, cut into patches.

An encode costs tens of milliseconds whatever is in it, a patch next to nothing, so many faces share one
canvas, as in a meeting grid, and each gives several patches. A shuffle buffer then mixes patches of many
canvases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flows.training.codec import CodecName, compress_frames
from flows.training.degradation import (
    Degradation,
    DegradationRanges,
    corrupt,
    draw_degradation,
    soften,
    unresize,
)
from flows.training.portraits import DataError, Face

SCALE = 4
"""How much an expert enlarges."""

MIRRORED = [1, 0, 2, 4, 3]
"""Order of the landmarks in a mirrored face: left and right change places."""


class Faces(Protocol):
    """Anything that hands out faces by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int) -> Face: ...


@dataclass(frozen=True)
class PairRecipe:
    """How pairs are made for one expert.

    Attributes:
        ranges: the degradations.
        face_width: narrowest and widest degraded face in px, every octave alike often.
        truth_scales: how many times as large as the degraded face its original may be. The largest that the portrait
            has is taken: nothing is enlarged to make an original.
        patch: side of a low-resolution patch in px.
        tile: side of the low-resolution view of a face on the canvas in px, at least ``patch``.
        grid: tiles a row and a column of the canvas.
        gutter: most px between a tile and its place's corner, so that tiles do not sit on the block grid.
        frames: frames a canvas is encoded with; the last but one is used, a P or B frame.
        patches_per_tile: patches cut from a tile.
        whole_share: how often a patch is laid so that it holds the eyes, the nose and the mouth, if they fit.
        buffer: patches that a shuffle draws from.
    """

    ranges: DegradationRanges
    face_width: tuple[float, float]
    truth_scales: tuple[int, ...] = (SCALE,)
    patch: int = 32
    tile: int = 80
    grid: int = 4
    gutter: int = 15
    frames: int = 4
    patches_per_tile: int = 3
    whole_share: float = 0.0
    buffer: int = 384


class Pair(NamedTuple):
    """A degraded patch (P, P, 3) and its original (S * P, S * P, 3), uint8 RGB, and the landmarks in it.

    S is one of the recipe's ``truth_scales``.

    ``landmarks_xy`` is (5, 2) float64 in px of the original; NaN unless all five lie inside.
    """

    patch_lr: NDArray[np.uint8]
    patch_hr: NDArray[np.uint8]
    landmarks_xy: NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """A view of one face, uint8 RGB, and what shall happen to it.

    Attributes:
        original_hr: (S * H, S * W, 3), the truth; S is one of the recipe's ``truth_scales``.
        reduced_lr: (H, W, 3), the truth reduced by area.
        degradation: what happens to ``reduced_lr`` before a codec.
        landmarks_xy: (5, 2) float64 in px of ``original_hr``; NaN where unknown, or where one lies outside of the view.
    """

    original_hr: NDArray[np.uint8]
    reduced_lr: NDArray[np.uint8]
    degradation: Degradation
    landmarks_xy: NDArray[np.float64] = field(default_factory=lambda: np.full((5, 2), np.nan))

    @property
    def truth_scale(self) -> int:
        """S."""
        return len(self.original_hr) // len(self.reduced_lr)


def eligible(faces: Faces, recipe: PairRecipe) -> NDArray[np.intp]:
    """Numbers of the faces that are large enough for the recipe's narrowest degraded face."""
    widths = np.array([faces[place].width for place in range(len(faces))])
    return np.flatnonzero(widths >= min(recipe.truth_scales) * recipe.face_width[0])


def draw_tile(face: Face, recipe: PairRecipe, rng: np.random.Generator) -> Tile:
    """Reduce a face by area to a drawn width and cut a view around a place near its middle.

    A view that is smaller than a patch is continued by its mirror image, since a stretched face is a wider one.
    """
    narrowest, least = recipe.face_width[0], min(recipe.truth_scales)
    widest = max(narrowest, min(recipe.face_width[1], face.width / least))
    degraded_width = float(np.exp(rng.uniform(np.log(narrowest), np.log(widest))))
    scale = max(each for each in recipe.truth_scales if each == least or each * degraded_width <= face.width)
    reduction = min(1.0, scale * degraded_width / face.width)
    height, width = face.pixels_rgb.shape[:2]
    side = scale * recipe.tile
    view_h, view_w = min(height, int(side / reduction)), min(width, int(side / reduction))
    x0, y0, x1, y1 = face.bbox_xyxy
    top = int(np.clip(rng.uniform(y0, y1) - view_h / 2, 0, height - view_h))
    left = int(np.clip(rng.uniform(x0, x1) - view_w / 2, 0, width - view_w))
    view = face.pixels_rgb[top : top + view_h, left : left + view_w]
    width_hr, height_hr = (
        scale * max(1, min(recipe.tile, int(extent * reduction) // scale)) for extent in (view_w, view_h)
    )
    scaled = cv2.resize(view, (width_hr, height_hr), interpolation=cv2.INTER_AREA)
    original_hr = relight(np.asarray(scaled, np.uint8), rng)
    points = np.full((5, 2), np.nan)
    if face.landmarks_xy is not None:
        enlargement = (width_hr / view_w, height_hr / view_h)
        points = (np.array(face.landmarks_xy) + 0.5 - (left, top)) * enlargement - 0.5
    if rng.random() < 0.5:
        original_hr = np.ascontiguousarray(original_hr[:, ::-1])
        points = points[MIRRORED] * (-1, 1) + (width_hr - 1, 0)
    if np.any((points < 0) | (points > (width_hr - 1, height_hr - 1))):
        points[:] = np.nan  # beside the portrait there is only its mirror image
    below, beside = (max(0, scale * recipe.patch - extent) for extent in (height_hr, width_hr))
    padded = cv2.copyMakeBorder(original_hr, 0, below, 0, beside, cv2.BORDER_REFLECT_101)
    original_hr = np.asarray(padded, np.uint8)
    size_lr = (original_hr.shape[1] // scale, original_hr.shape[0] // scale)
    reduced_lr = cv2.resize(original_hr, size_lr, interpolation=cv2.INTER_AREA)
    return Tile(original_hr, np.asarray(reduced_lr, np.uint8), draw_degradation(recipe.ranges, rng), points)


def relight(image_rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change exposure, gamma and white balance, in half of the cases: studio light is not the world."""
    if rng.random() < 0.5:
        return image_rgb
    levels = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.5)
    gains = rng.uniform(0.65, 1.05) * rng.uniform(0.92, 1.08, size=3)
    table = np.clip(np.rint(255 * levels * gains), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image_rgb, table[None]), np.uint8)


def degrade_tiles(tiles: Sequence[Tile], recipe: PairRecipe, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Send tiles through their degradations and, together on one canvas, through one codec.

    Returns:
        The degraded tiles, uint8 RGB, each the size of its ``reduced_lr``.
    """
    softened = [soften(tile.reduced_lr, tile.degradation) for tile in tiles]
    used = recipe.frames - 2
    shots = [
        _shot(view, tile.degradation, recipe.frames, used, rng) for view, tile in zip(softened, tiles, strict=True)
    ]
    decoded = [shot[used] for shot in shots]
    if rng.random() < recipe.ranges.codec_share:
        canvas, places = _lay_out(shots, recipe, rng)
        codec: CodecName = ("h264", "hevc", "mpeg4")[rng.choice(3, p=(0.5, 0.25, 0.25))]
        frame = compress_frames(canvas, codec, float(rng.uniform(*recipe.ranges.crf)))[used]
        for number, (tile, (top, left)) in enumerate(zip(tiles, places, strict=True)):
            if tile.degradation.coded:
                height, width = decoded[number].shape[:2]
                decoded[number] = frame[top : top + height, left : left + width]
    return [
        unresize(view, tile.degradation, (tile.reduced_lr.shape[0], tile.reduced_lr.shape[1]))
        for view, tile in zip(decoded, tiles, strict=True)
    ]


def _shot(
    view: NDArray[np.uint8], degradation: Degradation, frames: int, used: int, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """Frames of a face that drifts at a constant speed, each with fresh noise; frame ``used`` is in place."""
    velocity = rng.normal(0, 1.0, size=2) * (rng.random() < 0.7)
    size = (view.shape[1], view.shape[0])
    shot = []
    for number in range(frames):
        moved = view
        if number != used:
            dx, dy = velocity * (number - used)
            motion = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
            moved = np.asarray(cv2.warpAffine(view, motion, size, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
        shot.append(corrupt(moved, degradation, rng))
    return shot


def _lay_out(
    shots: Sequence[Sequence[NDArray[np.uint8]]], recipe: PairRecipe, rng: np.random.Generator
) -> tuple[list[NDArray[np.uint8]], list[tuple[int, int]]]:
    """Put shots on a plain canvas, each at a random offset in its cell; places are (top, left)."""
    tallest = max(max(shot[0].shape[:2]) for shot in shots)
    pitch = tallest + recipe.gutter
    side = (pitch * recipe.grid + 15) // 16 * 16
    ground = rng.integers(0, 256, size=3, dtype=np.uint8)
    places = []
    for number in range(len(shots)):
        row, column = divmod(number, recipe.grid)
        top, left = rng.integers(0, recipe.gutter + 1, size=2)
        places.append((row * pitch + int(top), column * pitch + int(left)))
    canvas = []
    for frame in range(len(shots[0])):
        canvas_rgb = np.broadcast_to(ground, (side, side, 3)).copy()
        for shot, (top, left) in zip(shots, places, strict=True):
            height, width = shot[frame].shape[:2]
            canvas_rgb[top : top + height, left : left + width] = shot[frame]
        canvas.append(canvas_rgb)
    return canvas, places


def cut_patches(
    tile: Tile, degraded_lr: NDArray[np.uint8], recipe: PairRecipe, rng: np.random.Generator
) -> Iterator[Pair]:
    """Cut ``patches_per_tile`` pairs at random places of a tile, or around its landmarks."""
    patch, scale = recipe.patch, tile.truth_scale
    room = np.array(degraded_lr.shape[:2]) - patch
    for _ in range(recipe.patches_per_tile):
        first, last = np.zeros(2, np.int64), room
        if rng.random() < recipe.whole_share:
            first, last = _places_around(tile.landmarks_xy / scale, patch, room)
        top, left = (int(place) for place in rng.integers(first, last + 1))
        points = tile.landmarks_xy - (scale * left, scale * top)
        inside = np.all((points >= 0) & (points <= scale * patch - 1))  # False where NaN
        yield Pair(
            degraded_lr[top : top + patch, left : left + patch],
            tile.original_hr[scale * top : scale * (top + patch), scale * left : scale * (left + patch)],
            points if inside else np.full((5, 2), np.nan),
        )


def _places_around(
    landmarks_lr: NDArray[np.float64], patch: int, room: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last (top, left) of a patch that holds all landmarks; anywhere where none does."""
    if np.isnan(landmarks_lr).any():
        return np.zeros(2, np.int64), room
    points_lr = landmarks_lr[:, ::-1]
    first = np.clip(np.ceil(points_lr.max(0)).astype(np.int64) + 1 - patch, 0, room)
    last = np.clip(np.floor(points_lr.min(0)).astype(np.int64), 0, room)
    fits = first <= last
    return np.where(fits, first, 0), np.where(fits, last, room)


def pair_stream(faces: Faces, weights: NDArray[np.float64], recipe: PairRecipe, seed: Sequence[int]) -> Iterator[Pair]:
    """Endless shuffled pairs.

    Args:
        faces: where faces come from.
        weights: (len(faces),) probability of each to be drawn; faces too small for the recipe are left out.
        recipe: how pairs are made.
        seed: entropy; the same seed gives the same stream.

    Raises:
        DataError: no face is large enough for the recipe.
    """
    rng = np.random.default_rng(list(seed))
    numbers = eligible(faces, recipe)
    if not len(numbers):
        least = min(recipe.truth_scales)
        narrowest = round(least * recipe.face_width[0])
        raise DataError(f"none of {len(faces)} faces is {narrowest} px wide; a true x{least} pair needs that")
    chances = weights[numbers] / weights[numbers].sum()
    buffer: list[Pair] = []
    while True:
        drawn = rng.choice(numbers, size=recipe.grid**2, p=chances)
        tiles = [draw_tile(faces[int(number)], recipe, rng) for number in drawn]
        for tile, degraded_lr in zip(tiles, degrade_tiles(tiles, recipe, rng), strict=True):
            buffer += cut_patches(tile, degraded_lr, recipe, rng)
        while len(buffer) > recipe.buffer:
            place = int(rng.integers(len(buffer)))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            yield buffer.pop()


def to_tensor(patches_rgb: Sequence[NDArray[np.uint8]]) -> Tensor:
    """N arrays (H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(patches_rgb)).permute(0, 3, 1, 2).float().div_(255)
