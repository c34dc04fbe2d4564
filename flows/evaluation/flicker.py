"""How much a restorer flickers: what differs from frame to frame of a restored clip after the motion is undone.

The clip is a portrait that moves along a known path, degraded, encoded, and restored frame by frame.

Figures of stills cannot tell: a network that invents another texture from every frame's noise may look good in each.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Box
from actors.quality import sharpness_of
from flows.evaluation.bench import Bench
from flows.evaluation.remembered import FigureStore
from flows.evaluation.restorers import BICUBIC
from flows.evaluation.samples import (
    SMALLEST_RATIO,
    STRENGTHS,
    Image,
    Sample,
    crop_rect,
    scaled_box,
    scaled_landmarks,
    to_size,
    truth_and_reduced,
    whole_pixels,
)
from flows.evaluation.subjects import Subject
from flows.training.degradation import Condition
from flows.training.validation import blurred, encoded, noisy

FRAMES = 9
_REACH = 2.0
"""Amplitude of the motion, px of the degraded picture: at most about one px a frame, and never whole pixels."""


@dataclass(frozen=True)
class Clip:
    """A moving portrait.

    Attributes:
        frames: each with its degraded picture, truth, box and landmarks where they are in it.
        shifts: (FRAMES, 2) float64: how far right and down of its place the portrait is in each, px of the truths.
    """

    frames: tuple[Sample, ...]
    shifts: NDArray[np.float64]


@dataclass(frozen=True)
class FlickerRow:
    """Mean over clips of one restorer, width and strength.

    Attributes:
        restorer, width, strength: as in :class:`flows.evaluation.bench.Row`.
        n: clips.
        flicker: mean absolute difference of successive results inside the face box after the motion is undone, grey
            levels of 255.
        of_truth: the same of the truth: what undoing the motion leaves.
        to_bicubic: ``flicker`` over bicubic's.
    """

    restorer: str
    width: int
    strength: str
    n: int
    flicker: float
    of_truth: float
    to_bicubic: float


def path(frames: int, reach: float) -> NDArray[np.float64]:
    """(frames, 2): a smooth path about the origin, at most ``reach`` from it on either axis."""
    turn = 2 * np.pi * np.arange(frames) / 17
    return reach * np.stack([np.sin(turn + 0.4), 0.7 * np.sin(1.3 * turn + 1.1)], axis=1)


def make_clip(subject: Subject, width: int, condition: Condition, *, seed: int) -> Clip | None:
    """A clip of a subject at a face width; None where it is too narrow to have a truth.

    Every frame gets its own noise; the clip is encoded as one.
    """
    if subject.face.width < SMALLEST_RATIO * width:
        return None
    truth, reduced_lr = truth_and_reduced(subject.face.pixels_rgb, width / subject.face.width)
    size = reduced_lr.shape[1::-1]
    ratio = truth.shape[1] / size[0]
    shifts = path(FRAMES, _REACH) * ratio
    truths = [shifted(truth, shift) for shift in shifts]
    rng = np.random.default_rng([seed, zlib.crc32(subject.name.encode()), width, zlib.crc32(condition.name.encode())])
    pictures = encoded([noisy(blurred(to_size(frame, size), condition), condition, rng) for frame in truths], condition)
    frames = [
        _frame(subject, width, condition.name, picture, frame, shift, ratio)
        for picture, frame, shift in zip(pictures, truths, shifts, strict=True)
    ]
    median = float(np.median([frame.sharpness for frame in frames]))  # the router decides for the track
    return Clip(tuple(replace(frame, sharpness=median) for frame in frames), shifts)


def _frame(
    subject: Subject,
    width: int,
    strength: str,
    picture_lr: Image,
    truth: Image,
    shift: NDArray[np.float64],
    ratio: float,
) -> Sample:
    box_lr = moved(scaled_box(subject, picture_lr), shift / ratio)
    return Sample(
        name=subject.name,
        source=subject.source,
        width=width,
        strength=strength,
        picture_lr=picture_lr,
        crop=crop_rect(picture_lr, box_lr),
        sharpness=sharpness_of(picture_lr, box_lr),
        truth=truth,
        box=whole_pixels(scaled_box(subject, truth), truth),
        landmarks=scaled_landmarks(subject, truth) + shift,
    )


def moved(box: Box, shift: NDArray[np.float64]) -> Box:
    """The box shifted right and down."""
    across, down = (float(by) for by in shift)
    return Box(box.x0 + across, box.y0 + down, box.x1 + across, box.y1 + down)


def shifted(image: NDArray, shift: NDArray[np.float64]) -> NDArray:
    """An image moved right and down by a fraction of pixels, bicubic, mirrored at the edges; same shape and dtype."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def flicker(frames_rgb: Sequence[Image], clip: Clip) -> float:
    """Mean absolute difference of successive frames inside the face box, in grey levels, after the motion is undone.

    Args:
        frames_rgb: as many as the clip has, of its truths' size.
    """
    box = clip.frames[0].box
    still = [
        shifted(frame.astype(np.float32), -shift)[box.slices]
        for frame, shift in zip(frames_rgb, clip.shifts, strict=True)
    ]
    return float(np.mean([np.abs(after - before).mean() for before, after in pairwise(still)]))


def restored_flicker(bench: Bench, name: str, clip: Clip, remembered: FigureStore) -> float:
    """Flicker of a restorer's results on a clip; remembered by content."""
    restorer = bench.restorer(bench.who(name, clip.frames[0]))
    digest = hashlib.sha256(f"flicker 1 {restorer.identity} {[frame.crop for frame in clip.frames]}".encode())
    for frame in clip.frames:
        digest.update(frame.picture_lr.tobytes())
    digest.update(clip.shifts.tobytes())
    digest.update(f"{clip.frames[0].truth.shape} {clip.frames[0].box}".encode())
    if restorer.uses_landmarks:
        for frame in clip.frames:
            digest.update(frame.landmarks.tobytes())
    known = remembered.get(digest.hexdigest())
    if known is not None:
        return float(known)
    crops_rgb, landmarks = zip(*((frame.crop_rgb, frame.crop_landmarks) for frame in clip.frames), strict=True)
    answers = restorer.restore(crops_rgb, landmarks)
    results = [frame.overlaid(answer.image) for frame, answer in zip(clip.frames, answers, strict=True)]
    found = flicker(results, clip)
    remembered.put(digest.hexdigest(), found)
    return found


def flicker_rows(
    bench: Bench,
    names: Sequence[str],
    subjects: Sequence[Subject],
    width: int,
    strength: str,
    remembered: FigureStore,
    *,
    seed: int,
) -> list[FlickerRow]:
    """One row a restorer over the clips of these subjects; none where all are too narrow."""
    made = (make_clip(subject, width, STRENGTHS[strength], seed=seed) for subject in subjects)
    clips = [clip for clip in made if clip is not None]
    if not clips:
        return []
    of_truth = float(np.mean([flicker([frame.truth for frame in clip.frames], clip) for clip in clips]))
    bicubic = float(np.mean([restored_flicker(bench, BICUBIC, clip, remembered) for clip in clips]))
    rows = []
    for name in names:
        mean = float(np.mean([restored_flicker(bench, name, clip, remembered) for clip in clips]))
        rows.append(
            FlickerRow(name, width, strength, len(clips), round(mean, 3), round(of_truth, 3), round(mean / bicubic, 3))
        )
    return rows
