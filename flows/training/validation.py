"""Figures during training: how far an expert is above bicubic on people that it has never seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from actors.experts import Expert
from actors.experts.expert import enlarge
from flows.perception.sface import align
from flows.training.codec import compress_frames
from flows.training.degradation import Condition, Degradation, add_noise, gaussian_kernel, soften
from flows.training.losses import Perception
from flows.training.pairs import SCALE, Faces, to_tensor
from flows.training.portraits import Face

CONTEXT = 0.25
"""What a validation crop shows around the face box, as a share of the box on each side."""


@dataclass(frozen=True)
class Sample:
    """One degraded face and its truth.

    Attributes:
        condition: name of the degradation.
        degraded_lr: (H, W, 3) uint8 RGB.
        original_hr: (4H, 4W, 3) uint8 RGB.
        bbox_xyxy: face box in whole px of ``original_hr``; figures are taken inside it.
        landmarks_xy: (5, 2) float64 in px of ``original_hr``, or None where unknown.
    """

    condition: str
    degraded_lr: NDArray[np.uint8]
    original_hr: NDArray[np.uint8]
    bbox_xyxy: tuple[int, int, int, int]
    landmarks_xy: NDArray[np.float64] | None = None


Figure = Literal["psnr", "lpips", "cosine"]

FIGURES: tuple[Figure, ...] = get_args(Figure)
"""PSNR in dB; LPIPS with AlexNet, lower is better; SFace's cosine to the original."""


@dataclass(frozen=True)
class Score:
    """Mean figures inside the face box under one condition, of an expert and of bicubic; NaN if not measured."""

    condition: str
    faces: int
    expert: Mapping[Figure, float]
    bicubic: Mapping[Figure, float]

    @property
    def gain(self) -> float:
        """Expert's PSNR above bicubic's, dB."""
        return self.expert["psnr"] - self.bicubic["psnr"]

    def __str__(self) -> str:
        text = f"{self.condition} {self.expert['psnr']:.2f} dB ({self.gain:+.2f})"
        for figure in ("lpips", "cosine"):
            if not np.isnan(self.expert[figure]):
                text += f", {figure} {self.expert[figure]:.3f} ({self.bicubic[figure]:.3f})"
        return text


def degrade(
    reduced_lr: NDArray[np.uint8], condition: Condition, rng: np.random.Generator, *, frames: int = 3
) -> NDArray[np.uint8]:
    """Put a face that was reduced by area through a fixed condition: blur, noise, then H.264.

    A still of three frames is encoded, with fresh noise in each, and the middle one returned: it is a
    predicted frame.
    """
    blurred_lr = blurred(reduced_lr, condition)
    return encoded([noisy(blurred_lr, condition, rng) for _ in range(frames)], condition)[frames // 2]


def blurred(reduced_lr: NDArray[np.uint8], condition: Condition) -> NDArray[np.uint8]:
    """A frame after the condition's blur; (H, W, 3) uint8, as in the next two."""
    if condition.blur_sigma <= 0:
        return reduced_lr
    kernel = gaussian_kernel(condition.blur_sigma, condition.blur_sigma, 0.0)
    return soften(reduced_lr, Degradation(blur_kernel=kernel))


def noisy(frame_rgb: NDArray[np.uint8], condition: Condition, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A frame with the condition's noise."""
    if condition.noise_sigma <= 0:
        return frame_rgb
    return add_noise(frame_rgb, Degradation(noise_sigma=condition.noise_sigma), rng)


WHOLE = (16, 128)
"""Sides of frames are multiples of this, px down and across: of eight macroblocks across. Of fewer, x264 as PyAV 18 has
it makes now these bytes and now others, where there is AVX-512."""


def encoded(frames_rgb: Sequence[NDArray[np.uint8]], condition: Condition) -> list[NDArray[np.uint8]]:
    """Frames after the condition's codec; its last row and column are repeated for it, and cut again."""
    if condition.crf <= 0:
        return list(frames_rgb)
    height, width = frames_rgb[0].shape[:2]
    beyond = ((0, -height % WHOLE[0]), (0, -width % WHOLE[1]), (0, 0))
    whole = [np.pad(frame, beyond, mode="edge") for frame in frames_rgb]
    decoded = compress_frames(whole, condition.codec, condition.crf, preset="medium")
    return [np.ascontiguousarray(frame[:height, :width]) for frame in decoded]


def validation_samples(
    faces: Faces, width: int, conditions: Sequence[Condition], *, limit: int, seed: int = 0
) -> list[Sample]:
    """Degrade the widest faces, at most ``limit``, to a face width in px, under each condition.

    A face that is too small for a true x4 pair is reduced to a quarter instead, so that nothing is enlarged.
    """
    order = sorted(range(len(faces)), key=lambda place: -faces[place].width)[:limit]
    samples = []
    for place in order:
        original_hr, bbox, landmarks = _original(faces[place], width)
        size = (original_hr.shape[1] // SCALE, original_hr.shape[0] // SCALE)
        reduced_lr = np.asarray(cv2.resize(original_hr, size, interpolation=cv2.INTER_AREA), np.uint8)
        for number, condition in enumerate(conditions):
            rng = np.random.default_rng([seed, place, number])
            degraded_lr = degrade(reduced_lr, condition, rng)
            samples.append(Sample(condition.name, degraded_lr, original_hr, bbox, landmarks))
    return samples


def _original(
    face: Face, width: int
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int], NDArray[np.float64] | None]:
    """The face and its context, reduced to ``SCALE * width``, sides multiples of SCALE; its box and landmarks there."""
    x0, y0, x1, y1 = face.bbox_xyxy
    height, full = face.pixels_rgb.shape[:2]
    left, top = max(0, round(x0 - CONTEXT * (x1 - x0))), max(0, round(y0 - CONTEXT * (y1 - y0)))
    right, bottom = min(full, round(x1 + CONTEXT * (x1 - x0))), min(height, round(y1 + CONTEXT * (y1 - y0)))
    reduction = min(1.0, SCALE * width / face.width)
    size = [max(1, round((b - a) * reduction / SCALE)) * SCALE for a, b in ((left, right), (top, bottom))]
    view = cv2.resize(face.pixels_rgb[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    across = [int(np.clip(round((x - left) * reduction), 0, size[0])) for x in (x0, x1)]
    down = [int(np.clip(round((y - top) * reduction), 0, size[1])) for y in (y0, y1)]
    landmarks = None
    if face.landmarks_xy is not None:
        reductions = (size[0] / (right - left), size[1] / (bottom - top))
        landmarks = (np.array(face.landmarks_xy) + 0.5 - (left, top)) * reductions - 0.5
    return np.asarray(view, np.uint8), (across[0], down[0], across[1], down[1]), landmarks


def psnr(restored_rgb: NDArray[np.uint8], original_rgb: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio over all pixels and channels, dB; 99 when the images are equal."""
    error = float(np.mean((restored_rgb.astype(np.float64) - original_rgb.astype(np.float64)) ** 2))
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def score(expert: Expert, samples: Sequence[Sample], perception: Perception | None = None) -> list[Score]:
    """Restore every sample and compare it with the truth inside the face box; one score a condition.

    LPIPS and the cosine are measured where ``perception`` is given.
    """
    gathered: dict[str, list[tuple[_Figures, _Figures]]] = {}
    for sample in samples:
        pair = tuple(
            _figures(image, sample, perception)
            for image in (expert.restore([sample.degraded_lr])[0], enlarge(sample.degraded_lr))
        )
        gathered.setdefault(sample.condition, []).append((pair[0], pair[1]))
    return [
        Score(condition, len(pairs), _mean([p[0] for p in pairs]), _mean([p[1] for p in pairs]))
        for condition, pairs in gathered.items()
    ]


_Figures = dict[Figure, float]


def _mean(figures: Sequence[_Figures]) -> _Figures:
    return {figure: float(np.mean([f[figure] for f in figures])) for figure in FIGURES}


def _figures(image_rgb: NDArray[np.uint8], sample: Sample, perception: Perception | None) -> _Figures:
    x0, y0, x1, y1 = sample.bbox_xyxy
    found: _Figures = {
        "psnr": psnr(image_rgb[y0:y1, x0:x1], sample.original_hr[y0:y1, x0:x1]),
        "lpips": np.nan,
        "cosine": np.nan,
    }
    if perception is None:
        return found
    device = perception.alex.mean.device
    with torch.inference_mode():
        restored, original = (to_tensor([image]).to(device) for image in (image_rgb, sample.original_hr))
        found["lpips"] = float(perception.alex(restored[..., y0:y1, x0:x1], original[..., y0:y1, x0:x1]))
        if sample.landmarks_xy is not None:
            points = sample.landmarks_xy[None]
            vectors = [perception.sface(align(image, points)) for image in (restored, original)]
            found["cosine"] = float((vectors[0] * vectors[1]).sum())
    return found
