"""Which expert restores a face, from its width and sharpness; and how a track keeps to its decision."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

WINDOW_RADIUS = 2
"""Measurements on each side that a track's width and sharpness are the median of."""

MEMORY = 4
"""Measurements that hysteresis looks back: finite, so that a decision is the same in whichever shard it is made."""


class Tier(StrEnum):
    """Width band of a face."""

    TINY = "tiny"
    """Too little to restore."""
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"
    """Recognisable already."""


class Decision(StrEnum):
    """What happens to a face."""

    SKIP = "skip"
    RESIZE = "resize"
    EXPERT_T = "expert_t"
    EXPERT_F = "expert_f"


class RoutingBounds(BaseModel):
    """The routing table's bounds. Widths in source pixels; sharpness is the variance of the Laplacian."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    w_skip: float = Field(50.0, gt=0, le=10000)
    """Narrower faces are left as background."""
    w_medium: float = Field(100.0, gt=0, le=10000)
    """From this width on, sharpness decides between the experts."""
    w_resize: float = Field(150.0, gt=0, le=10000)
    """Faces this wide or wider are plainly resized."""
    q_low: float = Field(57.0, ge=0)
    """Medium faces at least this sharp go to Expert-F, the others to Expert-T."""
    hysteresis: float = Field(0.06, ge=0, lt=0.5)
    """A track changes tier or expert only when it is past a bound by this share of it."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.w_skip <= self.w_medium <= self.w_resize:
            raise ValueError(
                f"the bounds must rise: w_skip {self.w_skip:g} <= w_medium {self.w_medium:g} <= "
                f"w_resize {self.w_resize:g}"
            )
        return self


_TIERS = tuple(Tier)


def tier_of(width: float, bounds: RoutingBounds, previous: Tier | None = None) -> Tier:
    """Width band of a face `width` pixels wide; `previous` is kept until a bound is passed by the hysteresis."""
    limits = (bounds.w_skip, bounds.w_medium, bounds.w_resize)
    if previous is None:
        return _TIERS[int(np.searchsorted(limits, width, side="right"))]
    at = _TIERS.index(previous)
    while at < len(limits) and width >= limits[at] * (1 + bounds.hysteresis):
        at += 1
    while at > 0 and width < limits[at - 1] * (1 - bounds.hysteresis):
        at -= 1
    return _TIERS[at]


def decide(tier: Tier, sharpness: float, bounds: RoutingBounds, previous: Decision | None = None) -> Decision:
    """What happens to a face of this tier and sharpness; `previous` is what happened to its track before."""
    if tier is Tier.TINY:
        return Decision.SKIP
    if tier is Tier.LARGE:
        return Decision.RESIZE
    if tier is Tier.SMALL:
        return Decision.EXPERT_T
    q_low = bounds.q_low
    if previous is Decision.EXPERT_F:
        q_low *= 1 - bounds.hysteresis
    elif previous is Decision.EXPERT_T:
        q_low *= 1 + bounds.hysteresis
    return Decision.EXPERT_F if sharpness >= q_low else Decision.EXPERT_T


def route_track(
    widths: Sequence[float], sharpnesses: Sequence[float], bounds: RoutingBounds
) -> list[tuple[Tier, Decision]]:
    """Tier and decision at each measurement of a track.

    At measurement k both follow from measurements k - MEMORY - WINDOW_RADIUS to k + WINDOW_RADIUS alone: the state
    machine is started MEMORY measurements back and run up to k on windowed medians. It starts in the lowest state of
    all these measurements, so that a face about a bound rises only when a measurement passes the bound by the
    hysteresis, or when all of them agree; started from a single measurement, it would hop whenever that one does.
    """
    width = windowed_median(widths)
    sharpness = windowed_median(sharpnesses)
    return [_route_at(k, width, sharpness, bounds) for k in range(len(width))]


def _route_at(k: int, width: np.ndarray, sharpness: np.ndarray, bounds: RoutingBounds) -> tuple[Tier, Decision]:
    known = slice(max(0, k - MEMORY), k + 1)
    tier = tier_of(float(width[known].min()), bounds)
    decision = decide(tier, float(sharpness[known].min()), bounds)
    for at_width, at_sharpness in zip(width[known], sharpness[known], strict=True):
        tier = tier_of(float(at_width), bounds, tier)
        decision = decide(tier, float(at_sharpness), bounds, decision)
    return tier, decision


def windowed_median(values: Sequence[float]) -> np.ndarray:
    """(N,) float64: median of the values at most WINDOW_RADIUS away, of a window that shrinks evenly at the ends."""
    given = np.asarray(values, dtype=np.float64)
    smoothed = np.empty_like(given)
    for k in range(len(given)):
        radius = min(WINDOW_RADIUS, k, len(given) - 1 - k)
        smoothed[k] = np.median(given[k - radius : k + radius + 1])
    return smoothed
