"""What an expert is asked to minimise: faithful losses, which reward the right pixels and invent nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from actors.experts.layers import haar_forward

CHARBONNIER_EPSILON = 1e-3


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


def faithful_loss_t(restored: Tensor, original: Tensor) -> Tensor:
    """Expert-T's loss: Charbonnier and a twentieth of the spectrum's distance. Scalar."""
    return charbonnier(restored, original) + 0.05 * spectrum_distance(restored, original)


def faithful_loss_f(restored: Tensor, original: Tensor) -> Tensor:
    """Expert-F's loss: Charbonnier and a fifth of the Haar detail bands' distance. Scalar."""
    return charbonnier(restored, original) + 0.2 * haar_distance(restored, original)
