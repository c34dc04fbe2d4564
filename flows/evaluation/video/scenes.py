"""Clips of which everything is known: portraits that move along known paths, degraded and encoded.

A scene is made at the result's size and reduced by area: so each frame has its truth, pixel by pixel.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Box
from flows.evaluation.samples import STRENGTHS, Image
from flows.evaluation.subjects import Subject
from flows.training.validation import WHOLE, blurred, noisy

RATE = 25
SCALE = 2
"""Of the result, and of the truth to the degraded clip."""

Motion = Literal["still", "sway", "pass", "nearer", "breathe"]
MOTIONS: tuple[Motion, ...] = ("still", "sway", "pass", "nearer")
"""It stays; it sways by 12 % of the face's width in 2.4 s; it goes by 1 % a frame; it grows by 20 %."""
BREATHE: Motion = "breathe"
"""It grows and shrinks by 4 % in 2.4 s: to show what happens at a width that divides."""

_AROUND = 1.0
"""Share of the face's width that the picture has on each side of the face, at least, beyond the motion."""

_LENS_SIGMA = 0.7
"""Of the truth, its px: detail finer than its pixels would flicker by itself when it moves."""

_NEARER = 1.2
"""How many times as large a face is that has come nearer."""

_FEATHER = 0.06
"""Share of a portrait's sides over which it goes over into the background."""


@dataclass(frozen=True)
class Actor:
    """One portrait in a scene.

    Attributes:
        subject: who.
        width: of the face, px of the degraded clip, at the start.
        centre: (x, y) of the face box there at the start, px of the degraded clip.
        motion: of the face.
    """

    subject: Subject
    width: float
    centre: tuple[float, float]
    motion: Motion

    def matrix(self, number: int, frames: int) -> NDArray[np.float64]:
        """(2, 3): from px of the portrait, centre of the first one at 0, to px of the truth of a frame, likewise."""
        x0, y0, x1, y1 = self.subject.face.bbox_xyxy
        shift, growth = self._moved(number, frames)
        scale = SCALE * growth * self.width / (x1 - x0)
        place = SCALE * (np.array(self.centre) + shift)
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        return np.array([[scale, 0, place[0] - scale * middle[0]], [0, scale, place[1] - scale * middle[1]]])

    def box(self, number: int, frames: int) -> Box:
        """The face's box in the degraded frame."""
        x0, y0, x1, y1 = self.subject.face.bbox_xyxy
        (sx, _, tx), (_, sy, ty) = self.matrix(number, frames) / SCALE
        return Box(sx * x0 + tx, sy * y0 + ty, sx * x1 + tx, sy * y1 + ty)

    def landmarks(self, number: int, frames: int) -> NDArray[np.float64]:
        """(5, 2) in px of the truth, the first pixel being [0, 1)."""
        matrix = self.matrix(number, frames)
        return (self.subject.landmarks + 0.5) @ matrix[:, :2].T + matrix[:, 2]

    def _moved(self, number: int, frames: int) -> tuple[NDArray[np.float64], float]:
        """Shift in px of the degraded clip, and growth."""
        if self.motion == "sway":
            turn = 2 * np.pi * number / (2.4 * RATE)
            return self.width * np.array([0.12 * np.sin(turn), 0.04 * np.sin(1.7 * turn)]), 1.0
        if self.motion == BREATHE:
            return np.zeros(2), 1 + 0.04 * np.sin(2 * np.pi * number / (2.4 * RATE))
        if self.motion == "pass":
            return np.array([0.01 * self.width * (number - frames / 2), 0.0]), 1.0
        if self.motion == "nearer":
            return np.zeros(2), _NEARER ** (number / max(1, frames - 1))
        return np.zeros(2), 1.0


@dataclass(frozen=True)
class Scene:
    """A clip to be made.

    Attributes:
        name: for people.
        size: (width, height) of the degraded clip, even.
        actors: in it; portraits do not overlap unless they are meant to.
        strength: name of the degradation.
        frames: how many.
        seed: of the noise and the background.
        tiles: (columns, rows) of a meeting's grid, parted by lines, an actor in each; (1, 1) for none.
    """

    name: str
    size: tuple[int, int]
    actors: tuple[Actor, ...]
    strength: str
    frames: int
    seed: int
    tiles: tuple[int, int] = (1, 1)

    def truths(self) -> list[Image]:
        """Every frame at the result's size, (H, W, 3) uint8 RGB."""
        width, height = (SCALE * side for side in self.size)
        background = _background(width, height, self.seed, self.tiles)
        return [self._truth(background, number) for number in range(self.frames)]

    def _truth(self, background: Image, number: int) -> Image:
        frame = background.astype(np.float32)
        for place, actor in enumerate(self.actors):
            rows, columns = self._tile(place)
            view = frame[rows, columns]
            matrix = actor.matrix(number, self.frames)
            matrix[:, 2] -= (columns.start, rows.start)
            portrait = actor.subject.face.pixels_rgb
            size = (view.shape[1], view.shape[0])
            reduced, matrix = _reduced(portrait, matrix)
            sigma = _LENS_SIGMA / float(matrix[0, 0])
            reduced = np.asarray(cv2.GaussianBlur(reduced, (0, 0), sigma), np.uint8)
            warped = cv2.warpAffine(reduced, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            share = cv2.warpAffine(_soft_edge(reduced.shape[:2]), matrix, size, flags=cv2.INTER_LINEAR)[..., None]
            view += share * (warped.astype(np.float32) - view)
        return np.clip(np.rint(frame), 0, 255).astype(np.uint8)

    def _tile(self, place: int) -> tuple[slice, slice]:
        """Rows and columns of the truth that an actor may be seen in."""
        columns, rows = self.tiles
        width, height = (SCALE * side for side in self.size)
        if self.tiles == (1, 1):
            return slice(0, height), slice(0, width)
        row, column = divmod(place, columns)
        return (
            slice(row * height // rows + 2, (row + 1) * height // rows - 2),
            slice(column * width // columns + 2, (column + 1) * width // columns - 2),
        )

    def write(self, truths: Sequence[Image], path: Path) -> None:
        """Degrade the frames and encode them as H.264 in a Matroska or MP4 file."""
        condition = STRENGTHS[self.strength]
        rng = np.random.default_rng([self.seed, zlib.crc32(self.name.encode())])
        with av.open(str(path), "w") as out:
            options = {"crf": f"{condition.crf or 12:g}", "preset": "medium", "threads": "1"}
            stream = out.add_stream("libx264", rate=RATE, options=options)
            stream.width, stream.height = self.size
            stream.pix_fmt = "yuv420p"
            stream.time_base = Fraction(1, RATE)
            for number, truth in enumerate(truths):
                small = np.asarray(cv2.resize(truth, self.size, interpolation=cv2.INTER_AREA), np.uint8)
                frame = av.VideoFrame.from_ndarray(noisy(blurred(small, condition), condition, rng), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))


def is_wide_enough(subject: Subject, width: int) -> bool:
    """Whether a portrait need not be enlarged for a truth of this width, even when it has come nearer."""
    return subject.face.width >= SCALE * _NEARER * width


def scene_of_one(subject: Subject, width: int, motion: Motion, strength: str, *, frames: int, seed: int) -> Scene:
    """A portrait, wide enough for it, that moves over a background."""
    side = 2 * round(width * (1 + 2 * _AROUND) / 2) + 16
    size = (WHOLE[1] * -(-(side + side // 2) // WHOLE[1]), side)
    actor = Actor(subject, width, (size[0] / 2, size[1] / 2), motion)
    return Scene(f"{subject.name} {width} px {motion} {strength}", size, (actor,), strength, frames, seed)


def meeting(subjects: Sequence[Subject], width: int, strength: str, side: int, *, frames: int, seed: int) -> Scene:
    """A meeting's grid of side x side tiles, each with a portrait that sways or is still."""
    tile = (WHOLE[1] * max(1, round(2.6 * width / WHOLE[1])), 2 * round(0.95 * width))
    actors = []
    for place in range(side * side):
        row, column = divmod(place, side)
        centre = ((column + 0.5) * tile[0], (row + 0.5) * tile[1])
        actors.append(Actor(subjects[place % len(subjects)], width, centre, MOTIONS[place % 2]))
    size = (side * tile[0], side * tile[1])
    return Scene(f"meeting {side} x {side} {strength}", size, tuple(actors), strength, frames, seed, (side, side))


def _background(width: int, height: int, seed: int, tiles: tuple[int, int]) -> Image:
    """A wall: soft light, some texture; black lines between tiles."""
    rng = np.random.default_rng(seed)
    light = cv2.resize(
        rng.uniform(90, 170, (3, 4, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    texture = cv2.GaussianBlur(rng.normal(0, 24, (height, width, 1)).astype(np.float32), (0, 0), 2.0)
    wall = np.clip(light + texture.reshape(height, width, 1), 0, 255).astype(np.uint8)
    columns, rows = tiles
    for column in range(1, columns):
        wall[:, column * width // columns - 2 : column * width // columns + 2] = 0
    for row in range(1, rows):
        wall[row * height // rows - 2 : row * height // rows + 2] = 0
    return wall


def _reduced(portrait_rgb: Image, matrix: NDArray[np.float64]) -> tuple[Image, NDArray[np.float64]]:
    """A portrait reduced by area by the whole factor that its frame allows, and the matrix that is left."""
    by = int(1 / float(matrix[0, 0]))
    if by < 2:
        return portrait_rgb, matrix
    height, width = (side // by * by for side in portrait_rgb.shape[:2])
    size = (width // by, height // by)
    small = np.asarray(cv2.resize(portrait_rgb[:height, :width], size, interpolation=cv2.INTER_AREA), np.uint8)
    left = matrix.copy()
    left[:, :2] = by * matrix[:, :2]
    left[:, 2] = matrix[:, 2] + matrix[:, :2] @ np.full(2, (by - 1) / 2)
    return small, left


def _soft_edge(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """(H, W): 1 in the portrait, falling to 0 at its edges."""
    ramps = []
    for count in shape[:2]:
        at = (np.arange(count) + 0.5) / count
        ramp = np.clip(np.minimum(at, 1 - at) / _FEATHER, 0, 1)
        ramps.append(ramp * ramp * (3 - 2 * ramp))
    return np.outer(*ramps).astype(np.float32)
