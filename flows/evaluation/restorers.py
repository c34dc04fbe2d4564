"""What is compared: enlargements that anybody has, the experts, and the router's choice among them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import cv2
import numpy as np
import torch

from actors.consistency import restore_agreeing
from actors.experts import Expert, load_expert
from actors.experts.expert import enlarge
from actors.geometry import Landmarks
from actors.routing import Decision, RoutingBounds, decide, tier_of
from flows.evaluation.samples import Image, Sample
from weights import DEFAULT_FIDELITY, find_model

BICUBIC, LANCZOS, EXPERT_T, EXPERT_F, ROUTED = "bicubic", "lanczos", "expert_t", "expert_f", "routed"
PLAIN = (BICUBIC, LANCZOS, EXPERT_T, EXPERT_F, ROUTED)
"""What is evaluated unless asked otherwise."""

_FIXED_LANDMARKS: Landmarks = ((10.0, 14.0), (22.0, 14.0), (16.0, 22.0), (11.0, 29.0), (21.0, 29.0))
"""Of the crop that tells code apart, for models that align it."""


@dataclass(frozen=True)
class Restored:
    """One restored crop.

    Attributes:
        image: (4H, 4W, 3) uint8 RGB.
        ms: time it took, milliseconds; a batch's time is shared evenly. None where it was taken elsewhere.
    """

    image: Image
    ms: float | None


class Restorer(Protocol):
    """Makes crops four times larger."""

    @property
    def identity(self) -> str:
        """Changes whenever its results may; figures are remembered by it."""

    @property
    def uses_landmarks(self) -> bool:
        """Whether its results depend on where the landmarks are."""

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        """Restore crops.

        Args:
            crops_rgb: (H, W, 3) uint8 RGB each.
            landmarks: each crop's, in its pixels.

        Returns:
            As many, in the same order.
        """


def timed(restore: Callable[[Image], Image], crop_rgb: Image) -> Restored:
    """Restore one crop and take the time."""
    started = time.perf_counter()
    image = restore(crop_rgb)
    return Restored(image, 1000 * (time.perf_counter() - started))


class Enlargement:
    """One of OpenCV's interpolations."""

    uses_landmarks = False

    def __init__(self, name: str, interpolation: int) -> None:
        self.identity = f"{name} OpenCV {cv2.__version__}"
        self._interpolation = interpolation

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        """Each crop enlarged."""
        return [timed(lambda crop: enlarge(crop, self._interpolation), crop_rgb) for crop_rgb in crops_rgb]


class ExpertRestorer:
    """One of facemill's experts, held to its source as in a job. On a CPU crops are timed one by one."""

    def __init__(self, expert: Expert, *, batched: bool) -> None:
        self._expert, self._batched = expert, batched
        self.uses_landmarks = expert.uses_landmarks
        # Its answer to a fixed crop tells code that computes differently from code that does not. It warms up, too.
        crop = np.random.default_rng(0).integers(0, 256, (40, 32, 3)).astype(np.uint8)
        answer = hashlib.sha256(self._restore_one(_FIXED_LANDMARKS, crop).tobytes()).hexdigest()
        self.identity = f"{expert.name} {expert.sha256} {answer}"

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        """Each crop restored by the expert."""
        if not self._batched:
            return [
                timed(partial(self._restore_one, places), crop_rgb)
                for crop_rgb, places in zip(crops_rgb, landmarks, strict=True)
            ]
        started = time.perf_counter()
        images = restore_agreeing(self._expert, crops_rgb, landmarks)
        ms = 1000 * (time.perf_counter() - started) / max(1, len(crops_rgb))
        return [Restored(image, ms) for image in images]

    def _restore_one(self, landmarks: Landmarks, crop_rgb: Image) -> Image:
        return restore_agreeing(self._expert, [crop_rgb], [landmarks])[0]


@dataclass(frozen=True)
class ExpertChoice:
    """Which weights the experts get.

    Attributes:
        device: torch device.
        fidelity: between their natural (0) and their faithful (1) set.
        weights_t, weights_f: files or registered names of models to use instead of their own sets.
    """

    device: str = "cpu"
    fidelity: float = DEFAULT_FIDELITY
    weights_t: str | None = None
    weights_f: str | None = None

    def load(self, name: str) -> ExpertRestorer:
        """Load expert_t or expert_f.

        Raises:
            weights.WeightsError: its weights cannot be used.
        """
        return ExpertRestorer(self._expert(name), batched=self.device != "cpu")

    def load_shuffled(self, name: str) -> ExpertRestorer:
        """An expert that is broken: each of its tensors of weights is shuffled, always in the same way.

        Raises:
            weights.WeightsError: its weights cannot be used.
        """
        expert = self._expert(name)
        order = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weights in expert.network.parameters():
                shuffled = weights.flatten()[torch.randperm(weights.numel(), generator=order).to(weights.device)]
                weights.copy_(shuffled.view_as(weights))
        return ExpertRestorer(expert, batched=self.device != "cpu")

    def _expert(self, name: str) -> Expert:
        model = self.weights_t if name == EXPERT_T else self.weights_f
        return load_expert(
            "expert_t" if name == EXPERT_T else "expert_f",
            device=self.device,
            fidelity=self.fidelity,
            weights_path=None if model is None else find_model(model),
        )


def route(sample: Sample, bounds: RoutingBounds) -> str:
    """The restorer that the product would choose for a degraded face; what it leaves alone is enlarged bicubically.

    The width asked for decides, not that of the box after rounding to whole pixels: 50 px is 50 px.
    """
    decision = decide(tier_of(sample.width, bounds), sample.sharpness, bounds)
    return {Decision.EXPERT_T: EXPERT_T, Decision.EXPERT_F: EXPERT_F}.get(decision, BICUBIC)
