"""What an expert is asked to minimise.

A pixel loss rewards the right pixels and invents nothing, so what cannot be known comes out soft, and a face less like
itself. The tuned losses add what people see: features of classifiers, and a face recogniser that says whether it is
still the same person.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from actors.experts.layers import bicubic_upscale, haar_forward
from flows.perception.lpips import Lpips
from flows.perception.sface import SFace, align
from flows.training.pairs import SCALE

CHARBONNIER_EPSILON = 1e-3

_ALEXNET_STRIDE = 4

TRUSTED = 0.016
"""Pixel loss of the bicubic enlargement up to which a patch counts as undamaged: the median of clean faces."""

VGG_WINDOW = 112
"""Side of what VGG-16 sees of a step on a CPU, px of the original."""

_IDENTITY_FLOOR = 1e-4
"""Keeps the gradient of a square root finite at zero."""


class Batch(NamedTuple):
    """Pairs to learn from.

    Attributes:
        degraded: (N, 3, P, P) RGB, float32 in [0, 1], or uint8 until :meth:`to`.
        original: (N, 3, S * P, S * P), likewise; S from 1 to 4.
        landmarks_xy: (N, 5, 2) in px of ``original``, on the CPU; NaN where a patch does not hold all five.
    """

    degraded: Tensor
    original: Tensor
    landmarks_xy: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same with its pictures on another device, float32 in [0, 1]."""
        return Batch(_levels(self.degraded, device), _levels(self.original, device), self.landmarks_xy)


def _levels(pictures: Tensor, device: torch.device) -> Tensor:
    there = pictures.to(device, non_blocking=True)
    return there.float().div_(255) if there.dtype == torch.uint8 else there


Loss = Callable[[Tensor, Batch], Tensor]
"""(restored (N, 3, S * P, S * P), batch) -> scalar."""

PixelLoss = Callable[[Tensor, Tensor], Tensor]
"""(restored, original), (N, 3, H, W) each -> (N,), above 0."""


def charbonnier(restored: Tensor, original: Tensor) -> Tensor:
    """Mean of sqrt(d^2 + eps^2) of each patch, (N,): an L1 that is smooth at zero (Lai et al., LapSRN, 2017)."""
    return torch.sqrt((restored - original) ** 2 + CHARBONNIER_EPSILON**2).mean((1, 2, 3))


def root_mean_square(restored: Tensor, original: Tensor) -> Tensor:
    """Root of each patch's mean squared error, (N,): what PSNR counts."""
    return ((restored - original).square().mean((1, 2, 3)) + CHARBONNIER_EPSILON**2).sqrt()


def spectrum_distance(restored: Tensor, original: Tensor) -> Tensor:
    """Mean modulus of the difference's orthonormal 2-D spectrum (Cho et al., MIMO-UNet, 2021), (N,)."""
    return torch.fft.rfft2(restored - original, norm="ortho").abs().mean((1, 2, 3))


def haar_distance(restored: Tensor, original: Tensor) -> Tensor:
    """Mean absolute difference of the detail bands of two Haar levels, the finest ones together, (N,)."""
    low, fine = haar_forward(restored - original)
    _, coarse = haar_forward(low)
    return fine.abs().mean((1, 2, 3)) + 0.5 * coarse.abs().mean((1, 2, 3))


def pixel_loss_t(restored: Tensor, original: Tensor) -> Tensor:
    """Expert-T's: Charbonnier and a twentieth of the spectrum's distance, (N,)."""
    return charbonnier(restored, original) + 0.05 * spectrum_distance(restored, original)


def pixel_loss_f(restored: Tensor, original: Tensor) -> Tensor:
    """Expert-F's: Charbonnier and a fifth of the Haar detail bands' distance, (N,)."""
    return charbonnier(restored, original) + 0.2 * haar_distance(restored, original)


@dataclass(frozen=True)
class MeanLoss:
    """The first stage: a pixel loss, averaged over the batch."""

    pixels: PixelLoss

    def __call__(self, restored: Tensor, batch: Batch) -> Tensor:
        """(N, 3, S * P, S * P) and its batch -> scalar."""
        return self.pixels(restored, batch.original).mean()


@dataclass(frozen=True)
class Perception:
    """The networks that the tuned losses ask, all frozen and on the training's device."""

    alex: Lpips
    vgg: Lpips
    sface: SFace


@dataclass(frozen=True)
class TunedWeights:
    """How much the terms of a tuned loss count.

    Attributes:
        pixels: of the pixel loss's logarithm.
        squared: of the root mean square error's logarithm, times 8.7 the decibels of PSNR.
        alex, vgg: of LPIPS with AlexNet, and with VGG-16, squared.
        identity: of SFace's distance and its square.
        trust: how much less pixels count on damaged patches: the power of :func:`trust` that weighs them; 0 for alike.
        near: LPIPS (AlexNet) below which a patch is left alone: it looks as it should, and pixels are worth more.
        nearer: the same as a share of its bicubic enlargement's LPIPS; whichever of the two is more.
    """

    pixels: float
    alex: float
    vgg: float
    identity: float
    squared: float = 0.0
    trust: float = 0.0
    near: float = 0.14
    nearer: float = 0.0


FAITHFUL = TunedWeights(pixels=0.0, squared=1.0, alex=0.6, vgg=0.0, identity=0.5, nearer=0.72)
NATURAL = TunedWeights(pixels=0.3, alex=5.0, vgg=3.0, identity=8.0, trust=5.0)


@dataclass(frozen=True)
class TunedLoss:
    """The later stages: the pixel loss, and what people see.

    The pixel loss, or the root mean square error, counts by its logarithm, so that a decibel is worth the same on a
    clean face as on a hard one.
    AlexNet's LPIPS is cheap and sees every patch whole, at a random offset within its stride, so that no pattern of
    that stride can please it. VGG-16's costs twenty times as much, so it may see a window of one patch of the batch.
    Patches that hold a whole face are compared by SFace.

    Attributes:
        pixels: the first stage's loss.
        perception: the networks.
        weights: of the terms.
        window: side of what VGG-16 sees, of one patch of the batch, px of the original; None for every patch whole.
        bfloat16: compute the classifiers in bfloat16, where the hardware is faster for it.
    """

    pixels: PixelLoss
    perception: Perception
    weights: TunedWeights
    window: int | None = VGG_WINDOW
    bfloat16: bool = False

    def __call__(self, restored: Tensor, batch: Batch) -> Tensor:
        """(N, 3, S * P, S * P) and its batch -> scalar."""
        total = 0 * restored.mean()  # a gradient, whatever is asked for
        if self.weights.pixels > 0:
            logarithms = self.pixels(restored, batch.original).log()
            if self.weights.trust > 0:
                logarithms = logarithms * trust(batch, self.pixels) ** self.weights.trust
            total = total + self.weights.pixels * logarithms.mean()
        if self.weights.squared > 0:
            total = total + self.weights.squared * root_mean_square(restored, batch.original).log().mean()
        with torch.autocast(restored.device.type, torch.bfloat16, enabled=self.bfloat16):
            if self.weights.alex > 0:
                total = total + self.weights.alex * self._alex(restored, batch).float()
            if self.weights.vgg > 0:
                total = total + self.weights.vgg * self._vgg(restored, batch.original).float().square().mean()
        if self.weights.identity > 0:
            distance = identity_distances(restored, batch, self.perception.sface)
            total = total + self.weights.identity * _mean(distance + distance.square())
        return total

    def _alex(self, restored: Tensor, batch: Batch) -> Tensor:
        dy, dx = (int(offset) for offset in torch.randint(_ALEXNET_STRIDE, (2,)))
        alex = self.perception.alex
        enough = torch.full((len(restored),), self.weights.near, device=restored.device)
        with torch.no_grad():
            wanted = alex.features(batch.original[..., dy:, dx:])
            if self.weights.nearer > 0:
                of_bicubic = alex.distance(alex.features(enlarged_to_originals(batch)[..., dy:, dx:]), wanted)
                enough = enough.maximum(self.weights.nearer * of_bicubic)
        return functional.relu(alex.distance(alex.features(restored[..., dy:, dx:]), wanted) - enough).mean()

    def _vgg(self, restored: Tensor, original: Tensor) -> Tensor:
        if self.window is None:
            return self.perception.vgg(restored, original)
        number = int(torch.randint(len(restored), ()))
        window = min(self.window, *restored.shape[-2:])
        top, left = (int(torch.randint(side - window + 1, ())) for side in restored.shape[-2:])
        part = (slice(number, number + 1), slice(None), slice(top, top + window), slice(left, left + window))
        return self.perception.vgg(restored[part], original[part])


def trust(batch: Batch, pixels: PixelLoss) -> Tensor:
    """How far the degraded patches can be believed, (N,), 0 to 1: 1 where enlarging them is as good as on a clean face.

    What a clean patch shows is right and must stay; what noise and a codec left of a face is not worth keeping to the
    pixel.
    """
    with torch.no_grad():
        return (TRUSTED / pixels(enlarged_to_originals(batch), batch.original)).clamp(max=1)


def enlarged_to_originals(batch: Batch) -> Tensor:
    """The degraded patches' bicubic enlargement at the originals' size, in [0, 1]."""
    return reduced(bicubic_upscale(batch.degraded, SCALE).clamp(0, 1), batch.original.shape[-1])


def reduced(pictures: Tensor, side: int) -> Tensor:
    """What the product does where it enlarges less than an expert: (N, C, H, H) -> (N, C, side, side), by area.

    The same as ``cv2.INTER_AREA``; the same pictures where they have that side. ``side`` is at most H.
    """
    if pictures.shape[-1] == side:
        return pictures
    shares = _area_shares(pictures.shape[-1], side).to(pictures)
    return shares @ pictures @ shares.T


@functools.cache
def _area_shares(side: int, reduced_side: int) -> Tensor:
    """How much of each of ``side`` pixels lies in each of ``reduced_side`` larger ones, (reduced_side, side)."""
    with torch.inference_mode(False):  # what is kept from inside that mode could not be learned through
        edges = torch.arange(reduced_side + 1, dtype=torch.float64) * side / reduced_side
        first = torch.arange(side, dtype=torch.float64)
        overlap = torch.minimum(edges[1:, None], first + 1) - torch.maximum(edges[:-1, None], first)
        return (overlap.clamp(min=0) * reduced_side / side).float()


def identity_distances(restored: Tensor, batch: Batch, sface: SFace) -> Tensor:
    """How far apart SFace's unit vectors of restored and original lie, (M,), for the M patches that hold a whole face.

    The distance is sqrt(2 - 2 cosine), 0 to 2. Unlike the cosine it does not flatten out near the original, so a clean
    face that loses a little of itself counts as well as a hard one that loses much.

    Half of the time, at random, the faces are averaged before they shrink to the recogniser's size, half of the time
    sampled: recognisers are used both ways, and who a face is must not depend on it.
    """
    whole = torch.nonzero(~batch.landmarks_xy.isnan().flatten(1).any(1))[:, 0]
    if not len(whole):
        return restored.new_zeros(0)
    points = batch.landmarks_xy[whole].double().numpy()
    averaged = bool(torch.rand(()) < 0.5)
    with torch.no_grad():
        wanted = sface(align(batch.original[whole], points, averaged=averaged))
    found = sface(align(restored[whole], points, averaged=averaged))
    return ((found - wanted).square().sum(1) + _IDENTITY_FLOOR).sqrt()


def _mean(values: Tensor) -> Tensor:
    """The mean, 0 of none."""
    return values.sum() / max(1, len(values))
