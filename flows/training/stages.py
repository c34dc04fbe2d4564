"""What each expert is taught, and what each stage of it minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from actors.experts.frequency import FrequencyExpert
from actors.experts.transformer import TransformerExpert
from flows.perception.lpips import load_lpips
from flows.perception.sface import load_sface
from flows.torch_device import learns_in_bfloat16
from flows.training.critic import Adversary, PatchCritic
from flows.training.degradation import BLURRED_FACES, SHARPER_FACES
from flows.training.losses import (
    FAITHFUL,
    NATURAL,
    VGG_WINDOW,
    Loss,
    MeanLoss,
    Perception,
    PixelLoss,
    TunedLoss,
    TunedWeights,
    pixel_loss_f,
    pixel_loss_t,
)
from flows.training.pairs import PairRecipe
from weights import find_weights, verify_weights

Stage = Literal["pixels", "faithful", "natural"]


@dataclass(frozen=True)
class StageDefaults:
    """What the options of a stage are when they are not given; they mean what they mean in :func:`train`."""

    steps: int
    batch: int
    patch: int
    rate: float
    weights: TunedWeights | None


@dataclass(frozen=True)
class Curriculum:
    """What one expert is and what it is taught.

    Attributes:
        network: makes the untrained network.
        recipe: the faces and their degradations.
        pixels: what its first stage minimises.
        validation_width: of the degraded validation faces, px: the middle of what the router sends it.
    """

    network: Callable[[], nn.Module]
    recipe: PairRecipe
    pixels: PixelLoss
    validation_width: int


TRUTH_SCALES = (2, 3, 4)
"""Most portraits are too narrow for an original four times as large as what Expert-F gets: faces of 100 px and more."""

CURRICULA = {
    "t": Curriculum(TransformerExpert, PairRecipe(BLURRED_FACES, (50, 150), TRUTH_SCALES), pixel_loss_t, 64),
    "f": Curriculum(FrequencyExpert, PairRecipe(SHARPER_FACES, (80, 150), TRUTH_SCALES), pixel_loss_f, 110),
}

DEFAULTS: dict[Stage, StageDefaults] = {
    "pixels": StageDefaults(steps=20_000, batch=8, patch=32, rate=1e-3, weights=None),
    "faithful": StageDefaults(steps=4_000, batch=2, patch=80, rate=3e-4, weights=FAITHFUL),
    "natural": StageDefaults(steps=8_000, batch=2, patch=80, rate=3e-4, weights=NATURAL),
}


@dataclass(frozen=True)
class StageSetup:
    """What a stage minimises, over what pairs, and the networks that it asks."""

    loss: Loss
    recipe: PairRecipe
    perception: Perception | None = None
    adversary: Adversary | None = None


def from_scratch(curriculum: Curriculum) -> StageSetup:
    return StageSetup(MeanLoss(curriculum.pixels), curriculum.recipe)


def tuned(
    curriculum: Curriculum, weights: TunedWeights, adversary: float, rate: float, device: torch.device
) -> StageSetup:
    perception = load_perception(device)
    loss = TunedLoss(
        curriculum.pixels,
        perception,
        weights,
        window=None if device.type == "cuda" else VGG_WINDOW,
        bfloat16=learns_in_bfloat16(device),
    )
    # Views large enough for a whole face: the recogniser needs one.
    recipe = replace(curriculum.recipe, tile=96, patches_per_tile=2, whole_share=0.75, buffer=128)
    critic = Adversary(PatchCritic().to(device), share=adversary, rate=rate) if adversary > 0 else None
    return StageSetup(loss, recipe, perception, critic)


def load_perception(device: torch.device) -> Perception:
    """The networks that the tuned losses ask, as `facemill weights pull` fetched them.

    Raises:
        weights.WeightsError: one is not here, or is not what it should be.
    """
    paths = {name: verify_weights(find_weights(name)) for name in ("lpips_alex", "lpips_vgg", "sface")}
    return Perception(
        load_lpips("alex", paths["lpips_alex"]).to(device),
        load_lpips("vgg", paths["lpips_vgg"]).to(device),
        load_sface(paths["sface"]).to(device),
    )
