"""How long an expert learns, and how fast at each moment."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast an expert learns.

    Attributes:
        steps: optimizer steps in all, earlier runs included; the cosine schedule ends there.
        minutes: if given, this run ends after so many, and what is left of the cosine is spread over them. The rates
            then depend on the machine's pace: for a machine that is only lent.
        batch: patches a step; where they do not fit into memory together, they are computed in parts.
        peak_rate: AdamW's learning rate after the warm-up.
        warm_up: steps over which the rate rises from zero.
        final_rate: share of ``peak_rate`` that is left at the end.
        weight_decay: AdamW's.
        clip: largest gradient norm.
        average_decay: of the exponential moving average of the weights.
        validate_every: minutes between validations.
        save_every: minutes between saved states.
        seed: of weights, data and noise.
        workers: processes that make pairs; 0 makes them between the steps.
    """

    steps: int
    minutes: float | None = None
    batch: int = 8
    peak_rate: float = 1e-3
    warm_up: int = 150
    final_rate: float = 0.01
    weight_decay: float = 1e-4
    clip: float = 1.0
    average_decay: float = 0.999
    validate_every: float = 12.0
    save_every: float = 3.0
    seed: int = 1
    workers: int = 0


@dataclass(frozen=True)
class Clock:
    """How much of a training is over, by its steps and, if it has a limit, by the minutes of this run.

    Attributes:
        first: the step that this run began at.
        settings: the planned steps and minutes.
        started: when it began, :func:`time.monotonic` seconds.
    """

    first: int
    settings: LoopSettings
    started: float

    def done(self, step: int) -> float:
        """The larger of the two shares, 0 to 1 or above."""
        by_steps = step / self.settings.steps
        if self.settings.minutes is None:
            return by_steps
        before = self.first / self.settings.steps
        by_time = before + (1 - before) * (time.monotonic() - self.started) / (60 * self.settings.minutes)
        return max(by_steps, by_time)


def learning_rate(step: int, done: float, settings: LoopSettings) -> float:
    """Linear warm-up times half a cosine down to ``final_rate``.

    Args:
        step: optimizer steps before this one, from 0.
        done: how much of the training is over, 0 to 1.
        settings: the peak, the warm-up and what is left at the end.
    """
    rise = min(1.0, (step + 1) / settings.warm_up)
    fall = settings.final_rate + (1 - settings.final_rate) * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return settings.peak_rate * rise * fall
