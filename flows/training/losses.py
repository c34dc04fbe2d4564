"""What an expert is asked to minimise.

The faithful losses reward the right pixels and invent nothing, so what cannot be known comes out soft. The natural
loss adds what people see: features of classifiers, and a face recogniser that says whether it is still the same person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from actors.experts.layers import haar_forward
from flows.perception.lpips import Lpips
from flows.perception.sface import SFace, align

CHARBONNIER_EPSILON = 1e-3

_ALEXNET_STRIDE = 4


class Batch(NamedTuple):
    """Pairs to learn from, RGB in [0, 1].

    Attributes:
        degraded: (N, 3, P, P).
        original: (N, 3, 4P, 4P).
        landmarks_xy: (N, 5, 2) in px of ``original``; NaN where a patch does not hold all five.
    """

    degraded: Tensor
    original: Tensor
    landmarks_xy: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(part.to(device, non_blocking=True) for part in self))


Loss = Callable[[Tensor, Batch], Tensor]
"""(restored (N, 3, 4P, 4P), batch) -> scalar."""


def charbonnier(restored: Tensor, original: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + eps^2): an L1 that is smooth at zero (Lai et al., LapSRN, 2017). Scalar."""
    return torch.sqrt((restored - original) ** 2 + CHARBONNIER_EPSILON**2).mean()


def spectrum_distance(restored: Tensor, original: Tensor) -> Tensor:
    """Mean modulus of the difference's orthonormal 2-D spectrum (Cho et al., MIMO-UNet, 2021). Scalar."""
    return torch.fft.rfft2(restored - original, norm="ortho").abs().mean()


def haar_distance(restored: Tensor, original: Tensor) -> Tensor:
    """Mean absolute difference of the detail bands of two Haar levels, the finest ones together. Scalar."""
    low, fine = haar_forward(restored - original)
    _, coarse = haar_forward(low)
    return fine.abs().mean() + 0.5 * coarse.abs().mean()


def faithful_loss_t(restored: Tensor, batch: Batch) -> Tensor:
    """Expert-T's first stage: Charbonnier and a twentieth of the spectrum's distance. Scalar."""
    return charbonnier(restored, batch.original) + 0.05 * spectrum_distance(restored, batch.original)


def faithful_loss_f(restored: Tensor, batch: Batch) -> Tensor:
    """Expert-F's first stage: Charbonnier and a fifth of the Haar detail bands' distance. Scalar."""
    return charbonnier(restored, batch.original) + 0.2 * haar_distance(restored, batch.original)


@dataclass(frozen=True)
class Perception:
    """The networks that the natural loss asks, all frozen and on the training's device."""

    alex: Lpips
    vgg: Lpips
    sface: SFace


@dataclass(frozen=True)
class NaturalWeights:
    """How much the natural loss's own terms count: LPIPS with AlexNet, with VGG-16, and SFace's distance."""

    alex: float = 0.8
    vgg: float = 0.15
    identity: float = 0.8


@dataclass(frozen=True)
class NaturalLoss:
    """The second stage: the faithful loss, kept, and what people see.

    AlexNet's LPIPS is cheap and sees every patch whole, at a random offset within its stride, so that no pattern of
    that stride can please it. VGG-16's costs twenty times as much, so it sees a window of one patch of the batch.
    Patches that hold a whole face are compared by SFace. A patch that is near its original is left to the faithful
    loss; who somebody is counts at every distance, and more the farther it got.

    Attributes:
        faithful: the first stage's loss.
        perception: the networks.
        weights: of the terms that they give.
        near: LPIPS (AlexNet) below which a patch is left alone.
        window: side of what VGG-16 sees, px of the original.
    """

    faithful: Loss
    perception: Perception
    weights: NaturalWeights = NaturalWeights()
    near: float = 0.16
    window: int = 112

    def __call__(self, restored: Tensor, batch: Batch) -> Tensor:
        """(N, 3, 4P, 4P) and its batch -> scalar."""
        dy, dx = (int(offset) for offset in torch.randint(_ALEXNET_STRIDE, (2,)))
        distances = self.perception.alex(restored[..., dy:, dx:], batch.original[..., dy:, dx:])
        total = self.faithful(restored, batch) + self.weights.alex * functional.relu(distances - self.near).mean()
        total = total + self.weights.vgg * self._vgg(restored, batch.original).square().mean()
        strangeness = identity_distances(restored, batch, self.perception.sface)
        return total + self.weights.identity * _mean(strangeness + strangeness.square())

    def _vgg(self, restored: Tensor, original: Tensor) -> Tensor:
        number = int(torch.randint(len(restored), ()))
        window = min(self.window, *restored.shape[-2:])
        top, left = (int(torch.randint(side - window + 1, ())) for side in restored.shape[-2:])
        part = (slice(number, number + 1), slice(None), slice(top, top + window), slice(left, left + window))
        return self.perception.vgg(restored[part], original[part])


def identity_distances(restored: Tensor, batch: Batch, sface: SFace) -> Tensor:
    """1 - cosine of SFace's vectors of restored and original, (M,), for the M patches that hold a whole face.

    Half of the time, at random, the faces are averaged before they shrink to the recogniser's size, half of the time
    sampled: recognisers are used both ways, and who a face is must not depend on it.
    """
    whole = ~batch.landmarks_xy.isnan().flatten(1).any(1)
    if not whole.any():
        return restored.new_zeros(0)
    points = batch.landmarks_xy[whole].double().cpu().numpy()
    averaged = bool(torch.rand(()) < 0.5)
    with torch.no_grad():
        wanted = sface(align(batch.original[whole], points, averaged=averaged))
    found = sface(align(restored[whole], points, averaged=averaged))
    return 1 - (found * wanted).sum(1)


def _mean(values: Tensor) -> Tensor:
    """The mean, 0 of none."""
    return values.sum() / max(1, len(values))
