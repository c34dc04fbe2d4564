"""A degraded face, its truth, and how a restorer's answer is laid over the picture to be compared.

The truth is the portrait at four times the degraded face's width where the portrait is that large (a true x4 pair),
else the portrait at its own size: nothing is ever enlarged to make a truth. The degraded picture is made from the truth
by area reduction, then the strength's blur, noise and codec. A restorer is shown what the product would show it: the
face box with :data:`actors.geometry.CROP_MARGIN` around it, cut out of the degraded picture. Its answer, four times as
large, is laid over the bicubic enlargement of the whole picture, and that is reduced by area to the truth's size, as
the product does at smaller scales. Figures are taken inside the face box.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.experts.expert import enlarge
from actors.geometry import Box, Landmarks, Placement, Rect
from actors.quality import sharpness_of
from flows.evaluation.subjects import Subject
from flows.training.degradation import CLEAN, HARD, MEDIUM, Condition
from flows.training.validation import degrade

SCALE = 4
"""Enlargement of every restorer."""

SMALLEST_RATIO = 1.5
"""A truth is at least so many times as wide as the degraded face; portraits that are narrower are left out."""

SLIGHT = Condition("slight", 0.33, 1.3, 23.0)
LIGHT = Condition("light", 0.67, 2.7, 25.5)
ROUGH = Condition("rough", 1.5, 6.0, 31.5)
"""Between clean, medium and hard: calibration needs faces of every sharpness."""

STRENGTHS: dict[str, Condition] = {
    condition.name: condition for condition in (CLEAN, SLIGHT, LIGHT, MEDIUM, ROUGH, HARD)
}
"""From the mildest to the hardest."""

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class Sample:
    """One degraded face and its truth.

    Attributes:
        name, source: of the portrait.
        width: of the degraded face box, px, as asked for.
        strength: name of the degradation.
        picture_lr: the degraded portrait, (h, w, 3).
        crop: what a restorer is shown of it.
        sharpness: q of the degraded face, as the router measures it.
        truth: (H, W, 3); H / h = W / w up to a pixel, at most :data:`SCALE`.
        box: face box in whole px of ``truth``.
        landmarks: (5, 2) float64, px of ``truth``, centre of the first pixel at 0.
    """

    name: str
    source: str
    width: int
    strength: str
    picture_lr: Image
    crop: Rect
    sharpness: float
    truth: Image
    box: Rect
    landmarks: NDArray[np.float64]

    @property
    def crop_rgb(self) -> Image:
        """What a restorer is shown."""
        return np.ascontiguousarray(self.picture_lr[self.crop.slices])

    @property
    def crop_landmarks(self) -> Landmarks:
        """The landmarks in px of ``crop_rgb``, as the product hands them to an expert: its first pixel is [0, 1)."""
        shrink = np.array(self.picture_lr.shape[1::-1]) / self.truth.shape[1::-1]
        places = (self.landmarks + 0.5) * shrink - (self.crop.x0, self.crop.y0)
        return tuple((float(x), float(y)) for x, y in places)

    def overlaid(self, restored_rgb: Image) -> Image:
        """A restorer's answer to ``crop_rgb`` in its surroundings, at the truth's size.

        Args:
            restored_rgb: the crop, :data:`SCALE` times as large.

        Raises:
            ValueError: it has another size.
        """
        expected = (SCALE * self.crop.height, SCALE * self.crop.width, 3)
        if restored_rgb.shape != expected:
            raise ValueError(f"{self.name}: the restored crop is {restored_rgb.shape}, expected {expected}")
        enlarged = enlarge(self.picture_lr)
        target = Rect(*(SCALE * edge for edge in self.crop))
        enlarged[target.slices] = restored_rgb
        return to_size(enlarged, self.truth.shape[1::-1])


def make_sample(subject: Subject, width: int, strength: Condition, *, seed: int) -> Sample | None:
    """Degrade a subject to a face width; None where it is too narrow to have a truth.

    The noise depends on the seed, the subject's name, the width and the strength alone.
    """
    if subject.face.width < SMALLEST_RATIO * width:
        return None
    truth, reduced_lr = truth_and_reduced(subject.face.pixels_rgb, width / subject.face.width)
    rng = np.random.default_rng([seed, zlib.crc32(subject.name.encode()), width, zlib.crc32(strength.name.encode())])
    picture_lr = degrade(reduced_lr, strength, rng)
    box_lr = scaled_box(subject, picture_lr)
    return Sample(
        name=subject.name,
        source=subject.source,
        width=width,
        strength=strength.name,
        picture_lr=picture_lr,
        crop=crop_rect(picture_lr, box_lr),
        sharpness=sharpness_of(picture_lr, box_lr),
        truth=truth,
        box=whole_pixels(scaled_box(subject, truth), truth),
        landmarks=scaled_landmarks(subject, truth),
    )


def truth_and_reduced(portrait_rgb: Image, reduction: float) -> tuple[Image, Image]:
    """The truth, and the portrait reduced by area to ``reduction`` of its size; the first is at most
    :data:`SCALE` times the second."""
    height, width = portrait_rgb.shape[:2]
    small = (max(1, round(width * reduction)), max(1, round(height * reduction)))
    truth = portrait_rgb
    if SCALE * reduction <= 1:
        truth = to_size(portrait_rgb, (SCALE * small[0], SCALE * small[1]))
    return np.ascontiguousarray(truth), to_size(truth, small)


def scaled_box(subject: Subject, picture: Image) -> Box:
    """The subject's face box in a picture that shows the whole of it at another size."""
    across, down = _factors(subject, picture)
    x0, y0, x1, y1 = subject.face.bbox_xyxy
    return Box(x0 * across, y0 * down, x1 * across, y1 * down)


def scaled_landmarks(subject: Subject, picture: Image) -> NDArray[np.float64]:
    """The subject's landmarks there; a pixel's centre is at whole numbers."""
    return (subject.landmarks + 0.5) * _factors(subject, picture) - 0.5


def _factors(subject: Subject, picture: Image) -> tuple[float, float]:
    height, width = subject.face.pixels_rgb.shape[:2]
    return picture.shape[1] / width, picture.shape[0] / height


def crop_rect(picture_lr: Image, box_lr: Box) -> Rect:
    """What the product would cut out of a frame for a face."""
    height, width = picture_lr.shape[:2]
    placement = Placement((width, height), (SCALE * width, SCALE * height))
    return placement.crop_rect(box_lr)


def whole_pixels(box: Box, picture: NDArray) -> Rect:
    """A box rounded to whole pixels of a picture."""
    height, width = picture.shape[:2]
    across = [int(np.clip(round(x), 0, width)) for x in (box.x0, box.x1)]
    down = [int(np.clip(round(y), 0, height)) for y in (box.y0, box.y1)]
    return Rect(across[0], down[0], across[1], down[1])


def to_size(picture: Image, size: tuple[int, int]) -> Image:
    """Reduce by area to (width, height); the same picture where it has that size."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
