"""A light adversary: a small network that learns to tell restored patches from originals, and pushes back."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from actors.experts.layers import RGB
from flows.training.losses import Batch, enlarged_to_originals


class PatchCritic(nn.Module):
    """How real each 8x8 px of a picture looks, given the degraded picture (Isola et al., pix2pix, 2017).

    Spectral norms keep it tame (Miyato et al., 2018). It sees the bicubic enlargement beside the picture: what does
    not follow from the input looks wrong to it, however sharp.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        widths = (2 * RGB, channels, 2 * channels, 4 * channels)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(inward, outward, 4, 2, 1)) for inward, outward in pairwise(widths)
        )
        self.judge = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, picture: Tensor, enlarged: Tensor) -> Tensor:
        """Two (N, 3, H, W) in [0, 1] -> (N, 1, H / 8, W / 8), above 0 where it looks real."""
        grid = torch.cat((picture, enlarged), 1) - 0.5
        for layer in self.down:
            grid = functional.leaky_relu(layer(grid), 0.2)
        return self.judge(grid)


class Adversary:
    """The critic in training, with the hinge loss (Lim and Ye, Geometric GAN, 2017).

    Args:
        critic: on the training's device.
        share: length of the critic's push, as a share of the length of all other losses' gradient. So it can neither
            take over nor fade, whatever the critic's scale.
        rate: Adam's learning rate.
        warm_up: steps in which the critic only learns: what an untrained one pushes towards is noise, and cost 0.9 dB
            within 70 steps when it was tried.
    """

    def __init__(self, critic: PatchCritic, *, share: float, rate: float, warm_up: int = 500) -> None:
        self.critic, self.share, self.warm_up = critic, share, warm_up
        self._optimizer = torch.optim.Adam(critic.parameters(), lr=rate, betas=(0.5, 0.9))

    def push(self, step: int, restored: Tensor, batch: Batch, gradient: Tensor) -> Tensor:
        """The critic's gradient at ``restored``, scaled to its share of ``gradient``; then the critic learns.

        Args:
            step: of the whole training, from 0; before ``warm_up`` the push is zero.
            restored: (N, 3, S * P, S * P) without history.
            batch: what it was restored from.
            gradient: of the other losses, same shape as ``restored``.
        """
        enlarged = enlarged_to_originals(batch)
        push = torch.zeros_like(restored)
        if step >= self.warm_up:
            shown = restored.detach().requires_grad_()
            (push,) = torch.autograd.grad(-self.critic(shown, enlarged).mean(), shown)
        self._learn(restored.detach(), batch.original, enlarged)
        return push * (self.share * gradient.norm() / push.norm().clamp_min(1e-12))

    def _learn(self, restored: Tensor, original: Tensor, enlarged: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss = functional.relu(1 - self.critic(original, enlarged)).mean()
        loss = loss + functional.relu(1 + self.critic(restored, enlarged)).mean()
        loss.backward()
        self._optimizer.step()
