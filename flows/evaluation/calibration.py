"""Which q_low serves the faces best that sharpness divides between the experts.

Both experts restore the same faces of every sharpness; then the routed result at any bound is known without computing
it again. What is maximised is the mean gain over bicubic in PSNR, LPIPS and cosine, each divided by its own standard
deviation over all results of both experts, so that the three count alike: PSNR alone prefers blur, LPIPS alone does not
notice a changed person, and the cosine alone hardly moves on faces this large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from flows.evaluation.bench import Measurement
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T
from storage.errors import UsageError

WIDTHS = (100, 125)
FACES = 12
"""Of these few the calibration takes minutes."""

_CURVE_POINTS = 200
_RESAMPLES = 400
_LIKELY = (10, 90)
"""Percentiles of the best bound over other draws of as many portraits."""


@dataclass(frozen=True)
class Mean:
    """Means over all faces.

    Attributes:
        score: the mean that is maximised; 0 is bicubic.
        psnr, lpips, cosine: gains over bicubic.
    """

    score: float
    psnr: float
    lpips: float
    cosine: float


@dataclass(frozen=True)
class Point:
    """The routed result at one bound.

    Attributes:
        q_low: faces at least this sharp go to Expert-F.
        share_f: of all faces.
        mean: of the routed results.
    """

    q_low: float
    share_f: float
    mean: Mean


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes:
        faces: degraded faces that both experts restored.
        points: the curve, by rising q_low; the first sends every face to F, the last every one to T.
        best: its highest point.
        likely: where the best bound lies for four in five other draws of as many portraits (bootstrap).
        ideal: the mean if every face went to the expert that scores higher on it.
    """

    faces: int
    points: tuple[Point, ...]
    best: Point
    likely: tuple[float, float]
    ideal: Mean

    @property
    def always_t(self) -> Point:
        """Without routing, by T."""
        return self.points[-1]

    @property
    def always_f(self) -> Point:
        """Without routing, by F."""
        return self.points[0]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def calibrate(measured: Sequence[Measurement]) -> Calibration:
    """Find the bound from what bicubic and both experts made of the same faces.

    Raises:
        UsageError: there are fewer than two such faces.
    """
    by_sample: dict[tuple[str, int, str], dict[str, Measurement]] = {}
    for m in measured:
        by_sample.setdefault((m.face, m.width, m.strength), {})[m.restorer] = m
    whole = [found for found in by_sample.values() if {BICUBIC, EXPERT_T, EXPERT_F} <= set(found)]
    if len(whole) < 2:
        raise UsageError(f"--calibrate: only {len(whole)} faces are wide enough; give a folder with larger ones")
    sharpness = np.array([found[BICUBIC].sharpness_lr for found in whole])
    gains = {name: np.array([_gains(found[name], found[BICUBIC]) for found in whole]) for name in (EXPERT_T, EXPERT_F)}
    scores = _scores(gains)
    bounds = _bounds(sharpness)
    points = tuple(_point(bound, sharpness, gains, scores) for bound in bounds)
    best = max(points, key=lambda point: point.mean.score)
    likely = _likely(bounds, sharpness, scores[EXPERT_F] - scores[EXPERT_T], [found[BICUBIC].face for found in whole])
    prefers_f = scores[EXPERT_F] > scores[EXPERT_T]
    return Calibration(len(whole), points, best, likely, _mean(prefers_f, gains, scores))


def _gains(found: Measurement, bicubic: Measurement) -> tuple[float, float, float]:
    """PSNR, LPIPS and cosine against bicubic; LPIPS falls when it gets better."""
    new, old = found.figures, bicubic.figures
    return new.psnr - old.psnr, new.lpips - old.lpips, new.cosine - old.cosine


def _scores(gains: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """(N,) for each expert: mean of the three gains in standard deviations, LPIPS with its sign turned."""
    spread = np.maximum(np.concatenate(list(gains.values())).std(axis=0), 1e-9)
    towards = np.array([1.0, -1.0, 1.0])
    return {name: (gain * towards / spread).mean(axis=1) for name, gain in gains.items()}


def _bounds(sharpness: NDArray[np.float64]) -> list[float]:
    """Bounds between neighbouring faces, at most :data:`_CURVE_POINTS`, and one beyond either end."""
    ordered = np.unique(sharpness)
    between = (ordered[1:] + ordered[:-1]) / 2
    if len(between) > _CURVE_POINTS:
        between = between[np.linspace(0, len(between) - 1, _CURVE_POINTS).round().astype(int)]
    return [0.0, *map(float, between), float(ordered[-1]) * 1.01 + 1]


def _point(
    q_low: float,
    sharpness: NDArray[np.float64],
    gains: dict[str, NDArray[np.float64]],
    scores: dict[str, NDArray[np.float64]],
) -> Point:
    to_f = sharpness >= q_low
    return Point(round(q_low, 1), float(to_f.mean()), _mean(to_f, gains, scores))


def _mean(
    to_f: NDArray[np.bool_], gains: dict[str, NDArray[np.float64]], scores: dict[str, NDArray[np.float64]]
) -> Mean:
    psnr, lpips, cosine = np.where(to_f[:, None], gains[EXPERT_F], gains[EXPERT_T]).mean(axis=0)
    score = np.where(to_f, scores[EXPERT_F], scores[EXPERT_T]).mean()
    return Mean(float(score), float(psnr), float(lpips), float(cosine))


def _likely(
    bounds: Sequence[float], sharpness: NDArray[np.float64], f_ahead: NDArray[np.float64], faces: Sequence[str]
) -> tuple[float, float]:
    """Percentiles of the best bound when portraits are drawn anew with replacement, each with all its samples.

    Args:
        f_ahead: (N,) score of F less that of T.
    """
    rng = np.random.default_rng(0)
    names, portrait = np.unique(faces, return_inverse=True)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    to_f = sharpness >= np.asarray(bounds)[:, None]
    gained = to_f @ (draws[:, portrait] * f_ahead).T  # (bounds, draws): sum over the faces that go to F
    best = np.asarray(bounds)[gained.argmax(axis=0)]
    low, high = np.percentile(best, _LIKELY)
    return round(float(low), 1), round(float(high), 1)
